//! Products that a solve needs, as a Markdown table: `cargo bench --bench solvers`.
//!
//! Lanczos and power iteration, to a residual of 1% and of 0.1%, from several starts: a random
//! vector; the eigenvector of the same batch five training steps earlier, alone and in the sum with
//! the gradient and a random vector that the estimators use; for a mini-batch the eigenvector of
//! the full batch. At initialization, and at the edge of stability, to which gradient descent on a
//! small set brings the network first (about a minute). Counts, not times: load does not matter.
//!
//! Then all solvers on the Hessians of three trained networks: products, and errors against a tight
//! solve.

#[allow(unused_imports)] // of its tests, which a benchmark has no harness for
#[path = "../examples/support/mod.rs"]
mod example;
#[path = "solvers/real_spectra.rs"]
mod real_spectra;
mod support;

use std::time::Instant;

use burn::tensor::Device;
use burn_sharpness::solver::{EigenPair, EigenSolver, LanczosConfig, PowerIterationConfig};
use burn_sharpness::{HessianOperator, ParamBlock, ParamVector, Result};
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use real_spectra::{Spectrum, WANTED};
use support::learnable::{samples, select, train};
use support::{Batch, Loss, Mlp};

/// Counts the products of Lanczos and power iteration.
#[derive(Parser)]
struct Options {
    /// Samples of the small set, which is the full batch.
    #[arg(long, default_value_t = 128)]
    samples: usize,
    /// Learning rate of gradient descent.
    #[arg(long, default_value_t = 0.05)]
    lr: f64,
    /// The most steps to the edge of stability.
    #[arg(long, default_value_t = 2000)]
    steps: usize,
    /// Samples of a mini-batch.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Mini-batches over which counts are averaged.
    #[arg(long, default_value_t = 4)]
    batches: usize,
    /// Random starts of every solver on the spectra of trained networks.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Passed by `cargo bench`; without it (`cargo test --benches`) a tiny run is made.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Squared error: cross-entropy leaves the edge again as soon as the set is learnt.
const LOSS: Loss = Loss::Mse;
/// Training steps between a batch's earlier eigenvector and its solve.
const APART: usize = 5;
const TOLERANCES: [f64; 2] = [1e-2, 1e-3];
const MAX_APPLIES: usize = 300;
/// Steps of SGD of the CNN.
const CNN_STEPS: usize = 200;

/// A start vector: its name, and how to make it.
#[derive(Clone, Copy)]
enum Start {
    Random,
    Earlier,
    EarlierAndOthers,
    FullBatch,
}

impl Start {
    fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Earlier => "eigenvector 5 steps earlier",
            Self::EarlierAndOthers => "... + gradient + random",
            Self::FullBatch => "full-batch eigenvector",
        }
    }
}

/// The methods, one column each per tolerance.
#[derive(Clone, Copy)]
enum Method {
    Lanczos,
    /// May stop before the eighth step.
    LanczosAtOnce,
    Power,
}

impl Method {
    const ALL: [Self; 3] = [Self::Lanczos, Self::LanczosAtOnce, Self::Power];

    fn name(self) -> &'static str {
        match self {
            Self::Lanczos => "Lanczos",
            Self::LanczosAtOnce => "Lanczos, `min_steps` 1",
            Self::Power => "power iteration",
        }
    }

    fn solver(self, rel_tol: f64, seed: u64) -> Box<dyn EigenSolver> {
        let lanczos = LanczosConfig::new()
            .with_rel_tol(rel_tol)
            .with_max_applies(MAX_APPLIES)
            .with_seed(seed);
        match self {
            Self::Lanczos => Box::new(lanczos.init()),
            Self::LanczosAtOnce => Box::new(lanczos.with_min_steps(1).init()),
            Self::Power => {
                let config = PowerIterationConfig::new().with_rel_tol(rel_tol);
                Box::new(config.with_max_applies(MAX_APPLIES).with_seed(seed).init())
            }
        }
    }
}

/// One Hessian to solve, with what earlier solves left.
struct Problem {
    hessian: HessianOperator,
    /// λ_max to a residual of 10⁻⁵.
    exact: f64,
    earlier: ParamVector,
    full_batch: ParamVector,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        options = Options { samples: 16, batches: 0, ..options };
    }
    let device = Device::flex().autodiff();
    let data = samples(options.samples, &device);
    println!("{}", header());
    let initial = Mlp::new(&device);
    table("initialization", &options, &data, initial.clone(), 0)?;
    if !options.bench {
        return all_solvers(&options, &data, &initial, &device);
    }
    let (edge, step) = to_the_edge(&options, &data, initial)?;
    table("edge of stability", &options, &data, edge.clone(), step)?;
    println!(
        "\nMean over {} mini-batches of {} samples, or one full batch of {}. `!`: a value off by more \
         than the tolerance; `>`: not converged after {MAX_APPLIES} products.",
        options.batches, options.batch, options.samples
    );
    all_solvers(&options, &data, &edge, &device)
}

/// The tables of all solvers: the MLP on the first mini-batch and on the full batch, and a CNN.
fn all_solvers(options: &Options, data: &Batch, model: &Mlp, device: &Device) -> Result<()> {
    let (wanted, most) = if options.bench { (&WANTED[..], 500) } else { (&WANTED[..1], 30) };
    let start = Instant::now();
    println!("\nThe six largest eigenvalues of each spectrum, by a tight solve:\n");
    let hessian = |batch| HessianOperator::new(model, batch, LOSS.function());
    let first: Vec<usize> = (0..options.batch.min(options.samples)).collect();
    let mut spectra = vec![Spectrum::new("mini-batch", hessian(select(data, &first))?, 4 * most)?];
    if options.bench {
        spectra.push(Spectrum::new("full batch", hessian(data.clone())?, 4 * most)?);
        spectra.push(Spectrum::new("CNN", real_spectra::cnn(CNN_STEPS, device)?, 4 * most)?);
    }
    real_spectra::tables(&spectra, wanted, most, options.seeds)?;
    eprintln!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Gradient descent until λ_max reaches 2/η (or the steps are spent), and as many steps as to get
/// there again halfway, to settle.
fn to_the_edge(options: &Options, data: &Batch, mut model: Mlp) -> Result<(Mlp, usize)> {
    const BETWEEN_LOOKS: usize = 25;
    let edge = 2.0 / options.lr;
    let (mut step, mut end) = (0, options.steps);
    while step < end {
        let next = (step + BETWEEN_LOOKS).min(end);
        model = descend(options, data, model, step..next);
        step = next;
        let found = top(&HessianOperator::new(&model, data.clone(), LOSS.function())?, 1e-2)?;
        if found.value >= edge && end == options.steps {
            end = (step + step / 2).min(options.steps);
        }
        eprintln!("step {step}: λ_max {:.2}, 2/η {edge:.2}", found.value);
    }
    Ok((model, step))
}

fn descend(options: &Options, data: &Batch, model: Mlp, steps: std::ops::Range<usize>) -> Mlp {
    train(model, data, LOSS, options.samples, options.lr, steps)
}

fn top(hessian: &HessianOperator, rel_tol: f64) -> Result<EigenPair> {
    let solver = LanczosConfig::new().with_rel_tol(rel_tol).with_max_applies(MAX_APPLIES).init();
    Ok(solver.solve(hessian, None)?.first().clone())
}

/// The rows of one state of training: `earlier`, and `APART` steps on.
fn table(state: &str, options: &Options, data: &Batch, earlier: Mlp, step: usize) -> Result<()> {
    let later = descend(options, data, earlier.clone(), step..step + APART);
    let hessian = |model: &Mlp, batch: Batch| HessianOperator::new(model, batch, LOSS.function());
    let vector = |model, batch| Ok(top(&hessian(model, batch)?, 1e-4)?.vector);
    let full_batch = vector(&later, data.clone())?;
    let problem = |batch: Batch| {
        let earlier = vector(&earlier, batch.clone())?;
        let hessian = hessian(&later, batch)?;
        let exact = top(&hessian, 1e-5)?.value;
        Ok(Problem { hessian, exact, earlier, full_batch: full_batch.clone() })
    };
    let full = vec![problem(data.clone())?];
    let indices = |i: usize| (i * options.batch..(i + 1) * options.batch).collect::<Vec<_>>();
    let mini = (0..options.batches).map(|i| problem(select(data, &indices(i))));
    let mini = mini.collect::<Result<Vec<_>>>()?;
    let starts = [Start::Random, Start::Earlier, Start::EarlierAndOthers, Start::FullBatch];
    if mini.is_empty() {
        return rows(state, "full batch", &full, &starts[..1]);
    }
    rows(state, "full batch", &full, &starts[..3])?;
    rows(state, "mini-batch", &mini, &starts)
}

fn header() -> String {
    let mut names = vec!["weights".to_owned(), "λ_max".into(), "start".into()];
    for method in Method::ALL {
        names.extend(TOLERANCES.map(|tol| format!("{} {}%", method.name(), 100.0 * tol)));
    }
    format!("| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()))
}

fn rows(state: &str, kind: &str, problems: &[Problem], starts: &[Start]) -> Result<()> {
    let mean = problems.iter().map(|p| p.exact).sum::<f64>() / problems.len() as f64;
    for &start in starts {
        let mut cells = vec![state.to_owned(), format!("{kind}: {mean:.3}"), start.name().into()];
        for method in Method::ALL {
            for tolerance in TOLERANCES {
                cells.push(cell(problems, start, method, tolerance)?);
            }
        }
        println!("| {} |", cells.join(" | "));
    }
    Ok(())
}

/// Mean number of products, marked where a value is wrong or not converged.
fn cell(problems: &[Problem], start: Start, method: Method, tolerance: f64) -> Result<String> {
    let (mut products, mut wrong, mut unconverged) = (0, false, false);
    for (seed, problem) in problems.iter().enumerate() {
        let start = problem.start(start, seed as u64)?;
        let result =
            method.solver(tolerance, seed as u64).solve(&problem.hessian, start.as_ref())?;
        products += result.n_applies;
        unconverged |= !result.converged();
        wrong |= (result.first().value / problem.exact - 1.0).abs() > tolerance;
    }
    let marks = [(unconverged, ">"), (wrong, "!")].map(|(is, mark)| if is { mark } else { "" });
    let mean = products as f64 / problems.len() as f64;
    Ok(format!("{}{mean:.1}{}", marks[0], marks[1]))
}

impl Problem {
    /// `None` is a solver's own random start.
    fn start(&self, start: Start, seed: u64) -> Result<Option<ParamBlock>> {
        let vector = match start {
            Start::Random => return Ok(None),
            Start::Earlier => self.earlier.clone(),
            Start::FullBatch => self.full_batch.clone(),
            Start::EarlierAndOthers => {
                let space = self.earlier.space();
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(100 + seed);
                let (random, _) = space.random(&mut rng).normalized()?;
                let (gradient, _) = self.hessian.gradient().normalized()?;
                self.earlier.axpy(1.0, &random)?.axpy(1.0, &gradient)?
            }
        };
        Ok(Some(ParamBlock::from_vectors(&[vector])?))
    }
}
