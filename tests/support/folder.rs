//! A folder for the files of a test.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder that is taken away at the end.
pub struct Folder(PathBuf);

#[allow(dead_code)] // not every test binary uses everything
impl Folder {
    pub fn new(name: &str) -> Self {
        let folder = format!("burn-sharpness-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
