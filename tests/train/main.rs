//! Monitored models in burn-train's supervised training.

mod criteria;
mod devices;
mod metrics;
mod readme;
mod records;
mod resume;
mod setup;
mod unchanged;
mod updates;
