//! The figures of this crate in one run, as lines `name batch value`: `cargo bench --bench figures`.
//!
//! Every value is a ratio of two things that ran in turn in the same rounds (or, for memory, in two
//! fresh processes), so it holds on a machine whose speed drifts. A few minutes; `--quick` for a
//! look.

mod convolutions;
mod memory;
#[path = "../../examples/support/networks/mod.rs"]
mod networks;
mod products;
#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use memory::{Network, What};

/// Prints ratios to one gradient of burn: times of products and of mini-batch sharpness, memory.
#[derive(Parser)]
struct Options {
    /// Rounds at the smallest batch; larger ones take fewer, networks a tenth.
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Few rounds and small batches only.
    #[arg(long)]
    quick: bool,
    /// Only the lines whose group is named: products, sharpness, matmul, networks, memory.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Batch sizes of the networks, separated by commas; without them 64, and 8 with --quick.
    #[arg(long, value_delimiter = ',')]
    batches: Vec<usize>,
    /// Also writes the times of the networks to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What a fresh process of this program does to report its memory.
    #[arg(long, hide = true, requires = "network")]
    memory_of: Option<What>,
    #[arg(long, hide = true)]
    network: Option<Network>,
    #[arg(long, hide = true, default_value_t = 8)]
    batch: usize,
    /// Passed by `cargo bench`; without it (`cargo test --benches`) one short round runs.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Full,
    Quick,
    Test,
}

impl Extent {
    /// Of batch sizes in ascending order, those that are measured.
    fn batches(self, all: &[usize]) -> &[usize] {
        match self {
            Self::Full => all,
            Self::Quick => &all[..all.len().min(2)],
            Self::Test => &all[..1],
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let (Some(what), Some(network)) = (options.memory_of, options.network) {
        return memory::report(what, network, options.batch);
    }
    let (extent, rounds) = match options {
        Options { bench: false, .. } => (Extent::Test, 1),
        Options { quick: true, .. } => (Extent::Quick, 3),
        Options { rounds, .. } => (Extent::Full, rounds),
    };
    let wanted = |group: &str| options.only.is_empty() || options.only.iter().any(|g| g == group);
    if options.json.is_some() && !wanted("networks") {
        return Err("--json holds the times of the networks: name them in --only".into());
    }
    if wanted("products") {
        products::products(extent, rounds)?;
    }
    if wanted("sharpness") {
        products::sharpness(extent, rounds)?;
    }
    if wanted("matmul") {
        products::rate_of_matmul(extent, rounds);
    }
    if wanted("networks") && extent != Extent::Test {
        let cases = convolutions::products(extent, &options.batches, (rounds / 10).max(1))?;
        if let Some(path) = &options.json {
            support::report::write(path, &cases)?;
        }
    }
    if wanted("memory") {
        memory::figures(extent)?;
    }
    Ok(())
}

/// One line of the output.
fn line(name: &str, batch: usize, value: f64) {
    println!("{name} {batch} {value:.3}");
}

/// Rounds at a batch size, given those at batch 8: a product of batch 1024 takes thirty times as
/// long.
fn rounds_at(batch: usize, rounds: usize) -> usize {
    (rounds * 8 / batch.max(8)).clamp(rounds.min(9), rounds)
}
