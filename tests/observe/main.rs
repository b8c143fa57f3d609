//! Monitors, histories and their files.

mod budget;
mod events;
mod files;
mod monitor;
mod resume;
mod training;
