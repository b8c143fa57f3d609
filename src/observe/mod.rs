//! Beside a training loop: what to measure when, at which cost, and where the rows go.

mod budget;
mod cadence;
mod csv;
mod file;
mod history;
mod instruments;
mod json_lines;
#[cfg(feature = "live")]
mod live;
mod measure;
mod monitor;
mod row;
mod sink;
#[cfg(feature = "tracing")]
mod spans;
mod state;
mod warm_start;

pub use budget::{Budget, MIN_BATCHES};
pub use cadence::Cadence;
pub use file::{HistoryFile, Recovered};
pub use history::History;
#[cfg(feature = "live")]
pub use live::Live;
pub use measure::Measure;
#[cfg(feature = "train")]
pub(crate) use monitor::{Measured, Update};
pub use monitor::{SharpnessMonitor, SharpnessMonitorConfig, TrainingStep};
pub use row::{Cost, PhaseName, Row, RowPhase, Spectrum, Value};
pub use sink::Observe;
#[cfg(feature = "tracing")]
pub use spans::TracingEvents;
