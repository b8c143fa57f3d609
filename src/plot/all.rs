//! Every picture that a history has data for.

use std::path::{Path, PathBuf};

use super::{Picture, gap_law, groups, spectrum, training};
use crate::error::{Error, Result};
use crate::observe::History;

type Draw = fn(&History) -> Result<Picture>;

const PICTURES: [(&str, Draw); 4] =
    [("training", training), ("groups", groups), ("gap_law", gap_law), ("spectrum", spectrum)];

/// Writes every picture that a history has data for, as `training`, `groups`, `gap_law` and `spectrum`, each
/// .svg and .png, into `folder`. Says which files these are.
///
/// # Errors
/// [`Error::NothingToDraw`] for a history with data for none, [`Error::File`].
pub fn save_all(history: &History, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (stem, draw) in PICTURES {
        match draw(history) {
            Ok(picture) => files.extend(picture.save(&folder, stem)?),
            Err(Error::NothingToDraw { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if files.is_empty() {
        let missing =
            "rows with quantities, losses or spectra; measure at least once before drawing";
        return Err(Error::NothingToDraw { picture: "picture", missing });
    }
    Ok(files)
}

/// [`save_all`] of a history in a file, `.jsonl` or `.csv`.
///
/// # Errors
/// Those of [`History::read`] and of [`save_all`].
pub fn save_all_of_file(path: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    save_all(&History::read(path.as_ref())?, folder)
}
