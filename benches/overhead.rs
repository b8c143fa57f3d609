//! What a monitor at its defaults adds to training: `cargo bench --bench overhead`.
//!
//! Two trainings from the same weights, one of them with a monitor, go on in turn, a hundredth of their
//! steps at a time and in changing order, so that both see the same load. The line `overhead digits 1.032` is
//! the ratio of their wall times, the median over the rounds. That weights are bit-identical is checked, too.

#[allow(unused_imports)] // by the tests of the examples, which a bench without a harness leaves out
#[path = "../examples/support/mod.rs"]
mod examples;
mod support;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::SgdConfig;
use burn::tensor::{Device, Tensor};
use burn_sharpness::observe::{Budget, TrainingStep};
use burn_sharpness::prelude::*;
use clap::Parser;
use examples::mlp::{Batch, Mlp, Training, loss};
use examples::{cifar10, digits};
use support::clock::{median, threads};

/// Trains with and without a monitor.
#[derive(Parser)]
struct Options {
    /// Rounds per network.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Folder or file of CIFAR-10 binary records; without it its network trains on noise, at the same speed.
    #[arg(long)]
    path: Option<PathBuf>,
    /// Fraction of the training time that the monitor may take; its default without this.
    #[arg(long)]
    budget: Option<f64>,
    /// One of the networks, `digits` or `cifar10`, instead of both.
    #[arg(long)]
    only: Option<String>,
    /// Passed by `cargo bench`; without it (`cargo test --benches`) a few steps are trained.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A network, its data and its training.
struct Case {
    name: &'static str,
    model: Mlp,
    data: Batch,
    batch_size: usize,
    eta: f64,
    steps: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::parse();
    if !options.bench {
        options.rounds = 1;
    }
    println!("threads: {}, rounds: {}", threads(), options.rounds);
    for mut case in [of_digits()?, of_cifar10(&options)?] {
        if options.only.as_ref().is_some_and(|only| only != case.name) {
            continue;
        }
        if !options.bench {
            case.steps = 20;
        }
        let (mut ratios, mut last) = (Vec::new(), String::new());
        for _ in 0..options.rounds {
            let mut runs = [Run::new(&case, None)?, Run::new(&case, Some(&options))?];
            for turn in 0..TURNS {
                let steps = case.steps * turn / TURNS..case.steps * (turn + 1) / TURNS;
                for which in [turn % 2, 1 - turn % 2] {
                    runs[which].go_on(&case, steps.clone())?;
                }
            }
            let [without, with] = runs;
            if bits(&without.model) != bits(&with.model) {
                return Err(format!("{}: the monitor changed the training", case.name).into());
            }
            ratios.push(with.seconds / without.seconds);
            last = with.report();
        }
        println!("{}: {} steps, batches of {}: {last}", case.name, case.steps, case.batch_size);
        let all: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
        println!("overhead {} {:.3} (rounds: {})", case.name, median(&ratios), all.join(" "));
    }
    Ok(())
}

/// Parts in which trainings go on in turn.
const TURNS: usize = 100;

type Loss = fn(&Mlp, Batch) -> Tensor<1>;

/// A training, with or without a monitor.
struct Run {
    model: Mlp,
    training: Training,
    monitor: Option<SharpnessMonitor<Loss>>,
    seconds: f64,
}

impl Run {
    /// With a monitor if there are options for it.
    fn new(case: &Case, options: Option<&Options>) -> Result<Self, Box<dyn Error>> {
        let sizes = (case.data.0.dims()[0], case.batch_size);
        let training = Training::new(&SgdConfig::new(), case.eta, sizes, 0)?;
        let monitor = |options: &Options| {
            let mut config = SharpnessMonitorConfig::new(case.batch_size);
            if let Some(budget) = options.budget {
                config = config.with_budget(Budget::Time(budget));
            }
            config.init(loss as Loss)
        };
        let monitor = options.map(monitor).transpose()?;
        Ok(Self { model: case.model.clone(), training, monitor, seconds: 0.0 })
    }

    fn go_on(&mut self, case: &Case, steps: std::ops::Range<usize>) -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        for step in steps {
            if let Some(monitor) = &mut self.monitor {
                let at = TrainingStep::new(step).with_learning_rate(case.eta);
                monitor.observe(at, &self.model, &case.data)?;
            }
            self.model = self.training.run(self.model.clone(), &case.data, 1)?;
        }
        self.seconds += began.elapsed().as_secs_f64();
        // The turn of the other one is no training of this one.
        self.monitor.iter_mut().for_each(SharpnessMonitor::pause);
        Ok(())
    }

    /// What the monitor says of itself.
    fn report(&self) -> String {
        let Some(monitor) = &self.monitor else { return String::new() };
        let rows = monitor.history().rows();
        let ratio = rows.iter().rev().find_map(|row| row.ratio()).unwrap_or(f64::NAN);
        let overhead = 100.0 * monitor.overhead().unwrap_or(f64::NAN);
        format!("{} rows, last ratio {ratio:.3}, {overhead:.2}% by its own clock", rows.len())
    }
}

/// All weights, bit by bit.
fn bits(model: &Mlp) -> Vec<u32> {
    struct Collect(Vec<u32>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().iter::<f32>().map(f32::to_bits));
        }
    }
    let mut collect = Collect(Vec::new());
    model.visit(&mut collect);
    collect.0
}

fn of_digits() -> Result<Case, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let data = digits::load(None)?;
    let widths = [data.n_features, 64, 48, data.n_classes];
    Ok(Case {
        name: "digits",
        model: Mlp::new(&widths, 0.3, 0, &device),
        data: data.tensors(&device),
        batch_size: 16,
        eta: 0.1,
        steps: 20_000,
    })
}

fn of_cifar10(options: &Options) -> Result<Case, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let data = match &options.path {
        Some(path) => cifar10::load(path, 4096)?.tensors(&device),
        None => {
            let noise = burn::tensor::Distribution::Normal(0.0, 1.0);
            let classes = Tensor::<2>::random([4096, 10], noise, &device);
            let highest = classes.clone().max_dim(1).repeat_dim(1, 10);
            let x = Tensor::random([4096, 3072], noise, &device);
            (x, classes.equal(highest).float())
        }
    };
    Ok(Case {
        name: "cifar10",
        model: Mlp::new(&[3072, 512, 512, 10], 0.2, 0, &device),
        data,
        batch_size: 16,
        eta: 0.01,
        steps: 3000,
    })
}
