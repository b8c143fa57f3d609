//! Monitored models in burn-train's supervised training.

mod criteria;
mod devices;
#[path = "../support/folder.rs"]
mod folder;
mod metrics;
#[path = "../../examples/supervised/plain.rs"]
mod plain;
mod readme;
mod records;
mod resume;
mod setup;
#[path = "../support/timeless.rs"]
mod timeless;
mod unchanged;
mod updates;
