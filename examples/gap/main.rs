//! The gap between mini-batch and full-batch sharpness: figures 6 to 9 and 11 to 16 of the paper.
//!
//! *Static*: on frozen weights (at the start, and trained with large batches) the gap is a power of the batch
//! size. *Trained*: one run per batch size, each at its own edge, and the gap where it ends.
//!
//! `cargo run --release --example gap`, and `-- --help` for the options. `gap_law` is the smaller program for the
//! static law alone.

#[path = "../support/experiment/mod.rs"]
mod experiment;
mod frozen;
mod record;
#[path = "../support/mod.rs"]
mod support;
mod trained;

use std::path::PathBuf;
use std::process::ExitCode;

use burn_sharpness::estimator::PowerLaw;
use clap::Parser;

use experiment::images::{Architecture, ImageOptions};
use experiment::verdict::Verdicts;
use support::error::Result;

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure the gap between mini-batch and full-batch sharpness over batch sizes.
///
/// Without options this takes about two minutes on the built-in digits; with --path it is the paper's MLP (and CNN, for
/// the static gap) on CIFAR-10. A run that was stopped goes on when it is started again.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: ImageOptions,

    /// Leave out the static gap
    #[arg(long)]
    no_frozen: bool,

    /// Leave out the CNN, whose products are costly
    #[arg(long)]
    no_cnn: bool,

    /// Leave out the runs at their own edges
    #[arg(long)]
    no_trained: bool,

    /// Take the runs at their own edges from this folder of `eoss_mlp` instead of training them
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,

    /// Take the trained weights of the static gap from this run of `eoss_mlp` instead of training them with batches
    /// of 256; the CNN has to be left out
    #[arg(long, value_name = "DIR", requires = "no_cnn")]
    weights: Option<PathBuf>,

    /// Batch sizes of the static gap, separated by commas
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    sizes: Option<Vec<usize>>,

    /// Steps of each run at its own edge
    #[arg(long, value_name = "N")]
    steps: Option<usize>,

    /// Step size η of all runs [default: 0.25; CIFAR-10: 0.02]; of those of --runs the one that is taken [default: theirs, if it
    /// is one]
    #[arg(long, value_name = "ETA")]
    lr: Option<f64>,
}

/// Sizes that are not the paper's but fit the data at hand.
struct Sizes {
    /// Batch sizes of the static gap, up to near n.
    frozen: Vec<usize>,
    /// Batch sizes of the runs.
    trained: Vec<usize>,
    steps: usize,
    lr: f64,
    /// Mini-batches per batch size of the static gap.
    num_batches: usize,
    /// The batch size that the weights are trained with before they are frozen, and the steps.
    convergence: (usize, usize),
}

fn main() -> ExitCode {
    support::error::report(run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let quick = options.images.is_quick();
    let mut sizes = match quick {
        true => Sizes {
            frozen: vec![8, 16, 32, 64, 128, 256, 512],
            trained: vec![8, 16, 32, 64, 128],
            steps: 3000,
            lr: 0.25,
            num_batches: 24,
            convergence: (64, 600),
        },
        false => Sizes {
            frozen: vec![8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
            trained: vec![4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048],
            steps: 50_000,
            lr: 0.02,
            num_batches: 48,
            convergence: (256, 20_000),
        },
    };
    // As many as the data have, where nothing is asked for.
    let n = options.images.samples.unwrap_or(if quick { 1797 } else { 8192 });
    sizes.frozen.retain(|b| *b <= n);
    sizes.convergence.0 = sizes.convergence.0.min(n);
    sizes.frozen = options.sizes.clone().unwrap_or(sizes.frozen);
    sizes.steps = options.steps.unwrap_or(sizes.steps);
    sizes.lr = options.lr.unwrap_or(sizes.lr);
    let mlp = Architecture::Mlp { hidden: vec![if quick { 64 } else { 512 }; 2] };
    let cnn = match quick {
        true => Architecture::Cnn { channels: [8, 16], hidden: 64 },
        false => Architecture::Cnn { channels: [64, 128], hidden: 512 },
    };
    let folder = options.images.folder("gap");
    let mut verdicts = Verdicts::default();
    if !options.no_frozen {
        frozen::run(options, &mlp, &sizes, "mlp", &folder, &mut verdicts)?;
    }
    if !options.no_frozen && !options.no_cnn {
        frozen::run(options, &cnn, &sizes, "cnn", &folder, &mut verdicts)?;
    }
    if !options.no_trained {
        trained::run(options, &mlp, &sizes, &folder, &mut verdicts)?;
    }
    verdicts.finish(&folder)
}

/// An exponent with its error, in words.
fn exponent(law: &PowerLaw) -> String {
    let (low, high) = law.interval;
    format!(
        "exponent {:.3}, 95% interval {low:.3} to {high:.3}, {} points, χ²/ν = {:.2}",
        law.exponent, law.n_points, law.reduced_chi_squared
    )
}

/// Whether an exponent is within `tolerance` of what is expected; `None` where it is too little known to say.
fn decided(law: &PowerLaw, expected: f64, tolerance: f64) -> Option<bool> {
    let (low, high) = law.interval;
    let is_inside = (law.exponent - expected).abs() <= tolerance;
    match () {
        () if low > expected + tolerance || high < expected - tolerance => Some(false),
        () if is_inside && high - low <= 4.0 * tolerance => Some(true),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use burn_sharpness::estimator::PowerLawPoint;

    use super::*;

    #[test]
    fn what_is_hardly_known_is_not_decided() {
        // y = x^α at three points, to a relative error: the interval's half width is twice that.
        let law = |exponent: f64, relative: f64| {
            let point = |x: f64| {
                let y = x.powf(exponent);
                PowerLawPoint { x, y, standard_error: relative * y }
            };
            PowerLaw::fit(&[0.25, 0.5, 1.0].map(point)).unwrap()
        };
        for (exponent, relative, expected) in
            [(1.05, 0.01, Some(true)), (1.2, 0.01, Some(false)), (1.2, 0.1, None), (1.0, 0.2, None)]
        {
            let law = law(exponent, relative);
            assert_eq!(decided(&law, 1.0, 0.1), expected, "{law:?}");
        }
    }
}
