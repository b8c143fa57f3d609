//! One test binary: it links once.

mod cache;
mod closed_forms;
mod common;
mod device;
mod errors;
mod estimators;
mod grouped_conv1d;
mod models;
mod modes;
#[path = "../../examples/support/networks/mod.rs"]
mod networks;
mod op_support;
mod operators;
mod paper;
mod params;
mod references;
mod rules;
mod samples;
mod solvers;
mod spectrum;
mod stability;
mod stages;
