//! The rows of a run in order, and their files.

use std::collections::BTreeSet;
use std::path::Path;

use super::file::{self, Recovered};
use super::{Measure, Row, Value};
use crate::error::{Error, Result};

/// What was measured during a run: rows in the order of their steps.
///
/// ```
/// use burn_sharpness::observe::{History, Measure, Row, Value};
///
/// let mut row = Row::at(100);
/// row.values.insert(Measure::FullBatchSharpness, Value::of(12.5));
/// let mut history = History::default();
/// history.push(row)?;
/// let path = std::env::temp_dir().join("history-of-a-doc-test.jsonl");
/// history.write(&path)?;
/// assert_eq!(History::read(&path)?, history);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    rows: Vec<Row>,
}

impl History {
    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a step that does not come after the last one, [`Error::NonFinite`]
    /// for a number that is NaN or infinite.
    pub fn push(&mut self, row: Row) -> Result<()> {
        row.check()?;
        if self.rows.last().is_some_and(|last| row.step <= last.step) {
            let (setting, value) = ("step", row.step.to_string());
            let expected = "greater than that of the row before; start a new history for a new run, \
                            or `before(step)` to repeat a part of this one";
            return Err(Error::InvalidSetting { setting, value, expected });
        }
        self.rows.push(row);
        Ok(())
    }

    /// The rows of the steps before `step`: what stays of a run that is continued from there.
    pub fn before(&self, step: usize) -> Self {
        Self { rows: self.rows.iter().filter(|row| row.step < step).cloned().collect() }
    }

    /// The quantities that any row has.
    pub fn measures(&self) -> BTreeSet<Measure> {
        self.rows.iter().flat_map(|row| row.values.keys().cloned()).collect()
    }

    /// Steps and values of a quantity.
    pub fn series<'a>(
        &'a self,
        measure: &'a Measure,
    ) -> impl Iterator<Item = (usize, &'a Value)> + 'a {
        self.rows.iter().filter_map(move |row| Some((row.step, row.value(measure)?)))
    }

    /// Time of all measurements over the time of training without them.
    pub fn overhead(&self) -> Option<f64> {
        self.rows.last().and_then(|row| row.cost.overhead)
    }

    /// Writes all rows, by the ending of the path: `.jsonl` as JSON lines, `.csv` as a table. The file is
    /// replaced in one piece.
    ///
    /// # Errors
    /// [`Error::File`], for another ending too.
    pub fn write(&self, path: &Path) -> Result<()> {
        file::write(path, &self.rows)
    }

    /// Reads a file of [`write`](Self::write) or of a [`HistoryFile`](super::HistoryFile). A last line that
    /// was half written when its run was killed is left out; [`recover`](Self::recover) tells.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read or another ending; [`Error::MalformedHistory`] with
    /// the line.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::recover(path)?.history)
    }

    /// As [`read`](Self::read), with the half-written last line if there is one.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn recover(path: &Path) -> Result<Recovered> {
        file::read(path)
    }
}
