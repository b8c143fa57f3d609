//! One test binary: it links once.

mod common;
mod references;
mod rules;
