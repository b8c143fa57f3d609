//! Checkpoints: folders named by the next step, complete or not there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::error::{ExampleError, Result};

const PREFIX: &str = "checkpoint-";

/// The state of a run before a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The step that comes next.
    pub step: usize,
    pub path: PathBuf,
}

/// All complete checkpoints in `folder`, the latest first.
fn all(folder: &Path) -> Result<Vec<Checkpoint>> {
    let unreadable = |source| ExampleError::Read { path: folder.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(Ok(step)) = name.strip_prefix(PREFIX).map(str::parse) {
            found.push(Checkpoint { step, path });
        }
    }
    found.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.step));
    Ok(found)
}

/// The checkpoint to go on from.
pub fn latest(folder: &Path) -> Result<Option<Checkpoint>> {
    Ok(all(folder)?.into_iter().next())
}

/// Writes a checkpoint by `save`, which gets an empty folder, and deletes the earlier ones.
pub fn write(folder: &Path, step: usize, save: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let path = folder.join(format!("{PREFIX}{step}"));
    if path.exists() {
        return Ok(()); // it is that of the same state
    }
    let part = folder.join("checkpoint.part");
    let failed = |e| ExampleError::write(&path, e);
    if part.exists() {
        fs::remove_dir_all(&part).map_err(failed)?;
    }
    fs::create_dir_all(&part).map_err(failed)?;
    save(&part)?;
    fs::rename(&part, &path).map_err(failed)?;
    for old in all(folder)?.into_iter().filter(|old| old.step != step) {
        fs::remove_dir_all(&old.path).map_err(|e| ExampleError::write(&old.path, e))?;
    }
    Ok(())
}
