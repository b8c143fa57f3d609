//! Hessian-vector products in units of a gradient: `cargo bench --bench ratios`.
//!
//! On a shared machine the same code takes 10 ms now and 20 ms a minute later. So every round runs
//! each part once, one after the other: the parts see the same load, and ratios hold.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use burn_sharpness::{LinearOperator, ParamVector};
use clap::Parser;
use serde::Serialize;
use support::clock::{median, minimum, threads, time};
use support::{BATCH_SIZES, Case, Loss};

/// Times gradient, primal pass, tangent pass and graph preparation in turn.
#[derive(Parser)]
struct Options {
    /// Rounds per batch size and loss.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Batch sizes, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = BATCH_SIZES)]
    batches: Vec<usize>,
    /// Also writes every measured time to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Passed by `cargo bench`; without it (`cargo test --benches`) one short round runs.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The parts, in the order in which a round runs them.
const PARTS: [&str; 5] = ["gradient", "primal", "tangent", "preparation", "recording"];

/// Times of one batch size and loss in milliseconds, one list per part.
#[derive(Serialize)]
struct Measured {
    loss: &'static str,
    batch: usize,
    /// L, ‖∇L‖ and ‖Hv‖: equal to those of other programs that measure the same.
    check: [f64; 3],
    times_ms: BTreeMap<&'static str, Vec<f64>>,
}

#[derive(Serialize)]
struct Report {
    framework: &'static str,
    version: &'static str,
    threads: usize,
    cases: Vec<Measured>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::parse();
    if !options.bench {
        (options.rounds, options.batches) = (1, vec![8]);
    }
    let threads = threads();
    println!("threads: {threads}, rounds: {}, times in ms: median (minimum)", options.rounds);
    println!("{}", header());
    let mut cases = Vec::new();
    for loss in Loss::ALL {
        for &batch in &options.batches {
            let measured = measure(loss, batch, options.rounds);
            println!("{}", row(&measured));
            cases.push(measured);
        }
    }
    if let Some(path) = options.json {
        let (framework, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let report = Report { framework, version, threads, cases };
        std::fs::write(path, serde_json::to_string(&report)?)?;
    }
    Ok(())
}

fn measure(loss: Loss, batch: usize, rounds: usize) -> Measured {
    let case = Case::new(loss, batch);
    let operator = case.primal();
    let v = case.direction(&operator);
    let norm = |x: &ParamVector| x.norm().expect("the device works");
    let product = norm(&operator.apply(&v).expect("the vector fits"));
    let check = [operator.loss(), norm(operator.gradient()), product];
    let mut times_ms = BTreeMap::new();
    // Not counted: the first rounds fill caches and the allocator's pools.
    let warm_up = rounds.div_ceil(10);
    for round in 0..warm_up + rounds {
        let times = [
            time(|| case.gradient()),
            time(|| case.primal()),
            time(|| case.tangent(&operator, &v)),
            time(|| case.prepare()),
            time(|| case.record()),
        ];
        if round >= warm_up {
            for (part, time) in PARTS.into_iter().zip(times) {
                times_ms.entry(part).or_insert_with(Vec::new).push(time);
            }
        }
    }
    Measured { loss: loss.name(), batch, check, times_ms }
}

fn header() -> String {
    let parts: String = PARTS.iter().map(|part| format!(" {part:>15}")).collect();
    format!("{:>13} {:>5}{parts} {:>16} {:>7}", "loss", "batch", "tangent/gradient", "HVP/s")
}

fn row(measured: &Measured) -> String {
    let part = |name: &str| (median(&measured.times_ms[name]), minimum(&measured.times_ms[name]));
    let times: String = PARTS
        .iter()
        .map(|name| {
            let (median, minimum) = part(name);
            format!(" {:>15}", format!("{median:.2} ({minimum:.2})"))
        })
        .collect();
    let (gradient, tangent) = (part("gradient"), part("tangent"));
    let ratio = format!("{:.2} ({:.2})", tangent.0 / gradient.0, tangent.1 / gradient.1);
    let per_second = 1e3 / tangent.0;
    format!("{:>13} {:>5}{times} {ratio:>16} {per_second:>7.0}", measured.loss, measured.batch)
}
