//! Beside a training loop: what to measure when, at which cost, and where the rows go.

mod budget;
mod cadence;
mod config;
mod csv;
mod file;
mod history;
mod instruments;
mod json_lines;
mod learning_rate;
#[cfg(feature = "live")]
mod live;
mod measure;
mod monitor;
mod row;
mod sink;
#[cfg(feature = "tracing")]
mod spans;
mod state;
mod stopwatch;
mod training_step;
mod warm_start;

pub use budget::{Budget, MIN_BATCHES};
pub use cadence::Cadence;
pub use config::SharpnessMonitorConfig;
pub use file::{HistoryFile, Recovered};
pub use history::History;
pub use learning_rate::{LargestLearningRate, LearningRateFinder, LearningRateFinderConfig};
#[cfg(feature = "live")]
pub use live::Live;
pub use measure::Measure;
pub use monitor::SharpnessMonitor;
#[cfg(feature = "train")]
pub(crate) use monitor::{Measured, Update};
pub use row::{Cost, PhaseName, Row, RowPhase, Spectrum, Value};
pub use sink::Observe;
#[cfg(feature = "tracing")]
pub use spans::TracingEvents;
pub use training_step::TrainingStep;
