//! A finished picture and its files.

use std::fs;
use std::path::{Path, PathBuf};

use super::header::TITLE;
use super::panel::LEFT;
use super::raster::save_png;
use super::scene::{Anchor, Scene, fitted, text_width};
use super::svg::svg;
use crate::error::{Error, Result};

/// Something to look at, with a title.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    title: String,
    scene: Scene,
}

impl Picture {
    pub(super) fn new(title: String, scene: Scene) -> Self {
        Self { title, scene }
    }

    /// With another title.
    pub fn with_title(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }

    /// The picture as the text of an SVG file.
    pub fn svg(&self) -> String {
        svg(&self.titled(), &self.title)
    }

    /// Writes `stem`.svg and `stem`.png into `folder`, which is made if need be, and says where they are.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, folder: impl AsRef<Path>, stem: &str) -> Result<[PathBuf; 2]> {
        let folder = folder.as_ref();
        let failed = |path: &Path, message: String| Error::File {
            path: path.to_path_buf(),
            message: format!("{message}; choose a folder that can be written"),
        };
        fs::create_dir_all(folder).map_err(|e| failed(folder, e.to_string()))?;
        let [vectors, pixels] = ["svg", "png"].map(|end| folder.join(format!("{stem}.{end}")));
        fs::write(&vectors, self.svg()).map_err(|e| failed(&vectors, e.to_string()))?;
        save_png(&pixels, &self.titled()).map_err(|message| failed(&pixels, message))?;
        Ok([vectors, pixels])
    }

    /// The title is smaller where it would not fit.
    fn titled(&self) -> Scene {
        let (mut scene, room) = (self.scene.clone(), self.scene.size.0 - LEFT - 16.0);
        let size = (TITLE * room / text_width(&self.title, TITLE).max(1.0)).clamp(11.0, TITLE);
        scene.words(fitted(&self.title, size, room), (LEFT, 22.0), size, Anchor::Start);
        scene
    }
}
