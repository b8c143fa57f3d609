//! Where rows go while training runs: files, terminals, and whatever a user has.

use super::Row;
use super::file::HistoryFile;
use crate::error::Result;

/// Sees every row of a monitor as soon as it is measured.
///
/// Implemented for closures and for [`HistoryFile`]; implement it for a sink of your own, such as a
/// dashboard or a tracker of experiments.
///
/// ```
/// use burn_sharpness::observe::{Observe, Row};
///
/// struct Alarm;
/// impl Observe for Alarm {
///     fn on_row(&mut self, row: &Row) -> Result<(), burn_sharpness::Error> {
///         if row.ratio().is_some_and(|ratio| ratio > 1.5) {
///             eprintln!("step {}: beyond the edge of stability", row.step);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Observe: Send {
    /// A row was measured.
    ///
    /// # Errors
    /// Whatever the sink has to report. The row is in the history all the same, the other sinks see it,
    /// and the first error is what the measurement returns.
    fn on_row(&mut self, row: &Row) -> Result<()>;
}

impl<F: FnMut(&Row) -> Result<()> + Send> Observe for F {
    fn on_row(&mut self, row: &Row) -> Result<()> {
        self(row)
    }
}

impl Observe for HistoryFile {
    fn on_row(&mut self, row: &Row) -> Result<()> {
        self.append(row)
    }
}
