//! Hessian-vector products in units of a gradient: `cargo bench --bench ratios`.
//!
//! On a shared machine the same code takes 10 ms now and 20 ms a minute later. So every round runs
//! each part once, one after the other: the parts see the same load, and ratios hold.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use burn_sharpness::LinearOperator;
use clap::Parser;
use serde::Serialize;
use support::clock::{median, minimum, threads, time};
use support::{BATCH_SIZES, Case, Loss, report, row_space_product};

/// Times gradient, primal pass, tangent pass, row-space product and graph preparation in turn.
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
const PARTS: [&str; 6] =
    ["gradient", "primal", "tangent", "row-space product", "preparation", "recording"];

/// Of ‖Hv‖ by a dense product and by row-space vectors, relative. Both are sums in f32 of at most
/// 3072 terms by level, whose rounding grows like a random walk: √3072 · 2⁻²⁴ is 3·10⁻⁶ a level, with
/// six matrix products on the way. A wrong product is off by far more.
const PRODUCTS_AGREE: f64 = 1e-4;

/// Times of one batch size and loss in milliseconds, one list per part.
#[derive(Serialize)]
struct Measured {
    loss: &'static str,
    batch: usize,
    /// L, ‖∇L‖ and ‖Hv‖: equal to those of other programs that measure the same.
    check: [f64; 3],
    times_ms: BTreeMap<&'static str, Vec<f64>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::parse();
    if !options.bench {
        (options.rounds, options.batches) = (1, vec![8]);
    }
    let (threads, rounds) = (threads(), options.rounds);
    println!("threads: {threads}, rounds: {rounds}, times in ms: median (minimum)");
    println!("{}", header());
    let mut cases = Vec::new();
    for loss in Loss::ALL {
        for &batch in &options.batches {
            let measured = measure(loss, batch, rounds)?;
            println!("{}", row(&measured));
            cases.push(measured);
        }
    }
    if let Some(path) = options.json {
        report::write(&path, &cases)?;
    }
    Ok(())
}

fn measure(loss: Loss, batch: usize, rounds: usize) -> Result<Measured, Box<dyn Error>> {
    let case = Case::new(loss, batch);
    let operator = case.primal();
    let v = case.direction(&operator);
    let lanes = operator.lanes()?.ok_or("row-space vectors pay at every batch size")?;
    let images = lanes.images_of(&v)?;
    let product = operator.apply(&v)?.norm()?;
    let check = [operator.loss(), operator.gradient().norm()?, product];
    let squared = row_space_product(lanes, &images).squared_norms().into_scalar::<f64>();
    if (squared.sqrt() / product - 1.0).abs() > PRODUCTS_AGREE {
        let problem = format!("{}, batch {batch}", loss.name());
        return Err(format!("{problem}: ‖Hv‖ is {product}, in row space {}", squared.sqrt()).into());
    }
    let mut times_ms = BTreeMap::new();
    // Not counted: the first rounds fill caches and the allocator's pools.
    let warm_up = rounds.div_ceil(10);
    for round in 0..warm_up + rounds {
        let times = [
            time(|| case.gradient()),
            time(|| case.primal()),
            time(|| case.tangent(&operator, &v)),
            time(|| row_space_product(lanes, &images)),
            time(|| case.prepare()),
            time(|| case.record()),
        ];
        if round >= warm_up {
            for (part, time) in PARTS.into_iter().zip(times) {
                times_ms.entry(part).or_insert_with(Vec::new).push(time);
            }
        }
    }
    Ok(Measured { loss: loss.name(), batch, check, times_ms })
}

fn header() -> String {
    let parts: String = PARTS.iter().map(|part| format!(" {part:>17}")).collect();
    format!("{:>13} {:>5}{parts} {:>16} {:>7}", "loss", "batch", "tangent/gradient", "HVP/s")
}

fn row(measured: &Measured) -> String {
    let part = |name: &str| (median(&measured.times_ms[name]), minimum(&measured.times_ms[name]));
    let times: String = PARTS
        .iter()
        .map(|name| {
            let (median, minimum) = part(name);
            format!(" {:>17}", format!("{median:.2} ({minimum:.2})"))
        })
        .collect();
    let (gradient, tangent) = (part("gradient"), part("tangent"));
    let ratio = format!("{:.2} ({:.2})", tangent.0 / gradient.0, tangent.1 / gradient.1);
    let per_second = 1e3 / tangent.0;
    format!("{:>13} {:>5}{times} {ratio:>16} {per_second:>7.0}", measured.loss, measured.batch)
}
