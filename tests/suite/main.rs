//! One test binary: it links once.

mod backends;
mod cache;
mod closed_forms;
mod common;
mod errors;
mod estimators;
mod op_support;
mod params;
mod references;
mod rules;
mod solvers;
mod stages;
