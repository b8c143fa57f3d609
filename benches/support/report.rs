//! The report of a benchmark: every measured time, as JSON, in the format of the peers' scripts.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::clock::threads;

#[derive(Serialize)]
struct Report<'a, C> {
    framework: &'static str,
    version: &'static str,
    threads: usize,
    cases: &'a [C],
}

/// Writes what was measured to a file.
pub fn write<C: Serialize>(path: &Path, cases: &[C]) -> io::Result<()> {
    let (framework, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let report = Report { framework, version, threads: threads(), cases };
    std::fs::write(path, serde_json::to_string(&report)?)
}
