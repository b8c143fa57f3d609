//! Monitors, histories and their files.

mod budget;
mod events;
mod files;
#[path = "../support/folder.rs"]
mod folder;
mod learning_rate;
mod monitor;
mod noise;
mod resume;
#[path = "../support/timeless.rs"]
mod timeless;
mod training;
