//! Monitors, histories and their files.

mod budget;
mod files;
mod monitor;
mod resume;
mod training;
