//! One test binary: it links once.

mod closed_forms;
mod common;
mod references;
mod rules;
mod solvers;
