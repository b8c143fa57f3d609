//! Changing the learning rate or the batch size in the middle of a training: figures 3 to 5 of the paper.
//!
//! Each intervention is compared with a training that had the new value from the start. What you see: after a
//! decrease of η and after an increase of the batch size, mini-batch sharpness rises to the edge again, while
//! full-batch sharpness remembers where it was; after an increase of η both spike and settle lower.
//!
//! `cargo run --release --example intervene`, and `-- --help` for the options.

#[path = "support/experiment/mod.rs"]
mod experiment;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use burn_sharpness::estimator::Estimate;
use burn_sharpness::observe::{History, Measure};
use burn_sharpness::plot::{Chart, Look, Series};
use clap::Parser;

use experiment::images::{Architecture, ImageOptions, Images, LossName};
use experiment::plateau::{level, plateau};
use experiment::schedule::{Schedule, Stage};
use experiment::training::Training;
use experiment::update::Optimizer;
use experiment::verdict::Verdicts;
use support::error::{ExampleError, Result};

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Decrease η, increase η, and increase the batch size in the middle of a training.
///
/// Without options this takes about two minutes on the built-in digits; with --path it is the paper's MLP on
/// CIFAR-10. A run that was stopped goes on when it is started again.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: ImageOptions,

    /// Steps before the intervention: the training must not be over yet [default: 1000; CIFAR-10: 15000]
    #[arg(long, value_name = "N")]
    before: Option<usize>,

    /// Steps after it [default: 5000; CIFAR-10: 30000]
    #[arg(long, value_name = "N")]
    after: Option<usize>,

    /// The larger of the two step sizes; the smaller one is half of it [default: 0.25; CIFAR-10: 0.02]
    #[arg(long, value_name = "ETA")]
    lr: Option<f64>,

    /// The smaller batch size; the larger one is eight times that [default: 8; CIFAR-10: 16]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
}

/// One of the three interventions.
struct Intervention {
    name: &'static str,
    title: &'static str,
    before: Stage,
    after: Stage,
}

/// The run with the intervention, and the one that had the new value from the start.
struct Pair {
    changed: History,
    reference: History,
    /// The step of the intervention.
    at: usize,
}

fn main() -> ExitCode {
    support::error::report(run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let quick = options.images.is_quick();
    let before = options.before.unwrap_or(if quick { 1000 } else { 15_000 });
    let after = options.after.unwrap_or(if quick { 5000 } else { 30_000 });
    let lr = options.lr.unwrap_or(if quick { 0.25 } else { 0.02 });
    let batch_size = options.batch_size.unwrap_or(if quick { 8 } else { 16 });
    let hidden = vec![if quick { 64 } else { 512 }; 2];
    let architecture = Architecture::Mlp { hidden };
    let device = options.images.device.open()?.autodiff();
    let data = options.images.data(&architecture, &device)?;
    check(before, after, lr, batch_size, data.n)?;
    let folder = options.images.folder("intervene");

    let (large, small, wide) = ((lr, batch_size), (lr / 2.0, batch_size), (lr, 8 * batch_size));
    let all = [
        ("lr_decrease", "η halved", large, small),
        ("lr_increase", "η doubled", small, large),
        ("batch_increase", "batches eight times as large", large, wide),
    ];
    let mut verdicts = Verdicts::default();
    for (name, title, first, second) in all {
        let stage = |steps, (lr, batch_size)| Stage { steps, lr, batch_size };
        let (before, after) = (stage(before, first), stage(after, second));
        let intervention = Intervention { name, title, before, after };
        let pair = match intervention.run(options, &architecture, &data, &folder) {
            Ok(pair) => pair,
            // A result too, and the others are worth having.
            Err(error @ ExampleError::Diverged { .. }) => {
                verdicts.add(&format!("{title}: training goes on"), [false], error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        intervention.draw(&pair, &data, &folder)?;
        match name {
            "lr_decrease" => judge_decrease(&mut verdicts, &pair),
            "lr_increase" => judge_increase(&mut verdicts, &pair, 2.0 / second.0),
            _ => judge_batch(&mut verdicts, &pair),
        }
    }
    println!("Pictures: {}/*.svg", folder.display());
    verdicts.finish(&folder)
}

fn check(before: usize, after: usize, lr: f64, batch_size: usize, n_samples: usize) -> Result<()> {
    let fails =
        |option, value: String, expected| Err(ExampleError::Option { option, value, expected });
    if before < 100 {
        return fails("before", before.to_string(), "at least 100");
    }
    // The end is the last fifth of all steps.
    if after < before / 4 + 1 {
        return fails("after", after.to_string(), "more than a quarter of --before");
    }
    if !(lr.is_finite() && lr > 0.0) {
        return fails("lr", lr.to_string(), "a number above 0");
    }
    if batch_size == 0 || batch_size > n_samples / 8 {
        let expected =
            "from 1 to an eighth of the samples: the larger batches have eight times as many";
        return fails("batch-size", batch_size.to_string(), expected);
    }
    Ok(())
}

impl Intervention {
    fn run(
        &self,
        options: &Options,
        architecture: &Architecture,
        data: &Images,
        folder: &Path,
    ) -> Result<Pair> {
        let at = self.before.steps;
        let train = |stages: Vec<Stage>, ending: &str| {
            let (rows, num_batches) = if options.images.is_quick() { (120, 16) } else { (90, 8) };
            let every = ((at + self.after.steps) / rows).max(1);
            let schedule = Schedule {
                every,
                full_every: if options.images.is_quick() { every } else { 2 * every },
                num_batches,
                ..Schedule::of(self.before, rows)
            };
            let training = Training {
                architecture: architecture.clone(),
                loss: LossName::Mse,
                init_scale: 0.2,
                optimizer: Optimizer::Sgd,
                schedule: Schedule { stages, ..schedule },
            };
            let path = folder.join(format!("{}_{ending}", self.name));
            training.run(&options.images, data, &path).map(|done| done.history)
        };
        let changed = train(vec![self.before, self.after], "changed")?;
        let from_start = Stage { steps: at + self.after.steps, ..self.after };
        Ok(Pair { changed, reference: train(vec![from_start], "reference")?, at })
    }

    fn draw(&self, pair: &Pair, data: &Images, folder: &Path) -> Result<()> {
        let points = |history: &History, measure: &Measure| -> Vec<(f64, f64)> {
            history.series(measure).map(|(step, value)| (step as f64, value.mean)).collect()
        };
        let mut series = Vec::new();
        for (style, (measure, name)) in
            [(MINI, "mini-batch sharpness"), (FULL, "full-batch sharpness")].into_iter().enumerate()
        {
            for (run, look, history) in [
                ("changed", Look::Line, &pair.changed),
                ("from the start", Look::Thin, &pair.reference),
            ] {
                let label = format!("{name}, {run}");
                series.push(Series::curve(label, style, look, &points(history, &measure)));
            }
        }
        let (at, end) = (pair.at as f64, (pair.at + self.after.steps) as f64);
        let edges =
            [(0.0, 2.0 / self.before.lr), (at, 2.0 / self.before.lr), (at, 2.0 / self.after.lr)];
        let edges = [&edges[..], &[(end, 2.0 / self.after.lr)]].concat();
        series.push(Series::curve("2/η", 0, Look::Reference, &edges));
        let chart = Chart {
            title: format!("{}: {} at step {}", data.name(), self.title, pair.at),
            x_name: "training step".into(),
            y_name: "sharpness".into(),
            is_logarithmic: false,
            series,
        };
        chart.picture()?.save(folder, self.name)?;
        Ok(())
    }
}

const MINI: Measure = Measure::MiniBatchSharpness;
const FULL: Measure = Measure::FullBatchSharpness;

/// Steps after an intervention that show what it does at once, before training has answered to it.
const AT_ONCE: usize = 64;

/// A spike is more than this many standard deviations of the measurements before above their mean.
const SPIKE: f64 = 4.0;

/// Where a quantity was over the last fifth of the steps until the intervention, just after it, at the end, and at
/// the end of the run that had the new value from the start.
struct Levels {
    before: Estimate,
    at_once: Estimate,
    end: Estimate,
    reference: Estimate,
}

impl Pair {
    fn levels(&self, measure: &Measure) -> Option<Levels> {
        // The row at the step of the intervention is at weights that were trained with the old value. Where η
        // changes it belongs to those before; where b does, it has batches of the new size, and is left out.
        let (from, to) = (self.at - self.at / 5, self.at - 1);
        Some(Levels {
            before: level(&self.changed, measure, from, to)?,
            at_once: level(&self.changed, measure, self.at + 1, self.at + AT_ONCE)?,
            end: plateau(&self.changed, measure)?,
            reference: plateau(&self.reference, measure)?,
        })
    }

    /// The largest value in as many steps after the intervention as a fifth of those before it, and what it has to
    /// exceed to be a spike: `SPIKE` standard deviations above the mean over as many steps before it.
    fn spike(&self, measure: &Measure) -> Option<(f64, f64)> {
        let within = self.at / 5;
        let rows = || self.changed.series(measure).map(|(step, value)| (step, value.mean));
        let inside = |from: usize, to: usize| -> Vec<f64> {
            rows().filter(|row| (from..=to).contains(&row.0)).map(|row| row.1).collect()
        };
        let before = inside(self.at - within, self.at);
        let rows = Estimate::of(&before).filter(|rows| rows.count > 2)?;
        let deviation = rows.standard_error * (rows.count as f64).sqrt();
        let highest = inside(self.at + 1, self.at + within).into_iter().reduce(f64::max)?;
        Some((highest, rows.mean + SPIKE * deviation))
    }
}

fn judge_decrease(verdicts: &mut Verdicts, pair: &Pair) {
    let statement = "claim 9: after a decrease of η mini-batch sharpness rises to the level (within 10%) of a run with \
                     the new η from the start; full-batch sharpness rises, too, but ends below that run's";
    let (Some(mini), Some(full)) = (pair.levels(&MINI), pair.levels(&FULL)) else {
        return verdicts.add(statement, [None], String::new());
    };
    let parts = [
        mini.end.mean > 1.1 * mini.before.mean,
        (mini.end.mean / mini.reference.mean - 1.0).abs() < 0.1,
        full.end.mean > 1.02 * full.before.mean,
        full.end.mean < full.reference.mean,
    ];
    verdicts.add(statement, parts, words(&mini, &full));
}

fn judge_increase(verdicts: &mut Verdicts, pair: &Pair, edge: f64) {
    let statement = "claim 10: after an increase of η both spike (one value is more than four standard deviations of \
                     those before above their mean), then settle below where they were, although full-batch sharpness \
                     was below the new 2/η";
    let (Some(mini), Some(full)) = (pair.levels(&MINI), pair.levels(&FULL)) else {
        return verdicts.add(statement, [None], String::new());
    };
    let spikes = [MINI, FULL].map(|measure| pair.spike(&measure));
    let spiked = spikes.map(|spike| spike.map(|(highest, needed)| highest > needed));
    let spike_words = |name: &str, spike: Option<(f64, f64)>| match spike {
        Some((highest, needed)) => {
            format!("highest {name} value after it {highest:.2}, a spike above {needed:.2}")
        }
        None => format!("too few {name} values"),
    };
    let settled = [&mini, &full].map(|levels| Some(levels.end.mean < levels.before.mean));
    let far_above = Some(full.before.mean < edge);
    verdicts.add(
        statement,
        [spiked[0], spiked[1], settled[0], settled[1], far_above],
        format!(
            "{}; {}; {}; new 2/η {edge:.2}",
            words(&mini, &full),
            spike_words("mini-batch", spikes[0]),
            spike_words("full-batch", spikes[1])
        ),
    );
}

fn judge_batch(verdicts: &mut Verdicts, pair: &Pair) {
    let statement = "claim 11: at an increase of the batch size full-batch sharpness stays (within 10%, over the 64 \
                     steps after it), mini-batch sharpness drops at once (by more than 10%); then both rise (by more \
                     than 10%) until mini-batch sharpness is back (within 10%)";
    let (Some(mini), Some(full)) = (pair.levels(&MINI), pair.levels(&FULL)) else {
        return verdicts.add(statement, [None], String::new());
    };
    let parts = [
        (full.at_once.mean / full.before.mean - 1.0).abs() < 0.1,
        mini.at_once.mean < 0.9 * mini.before.mean,
        full.end.mean > 1.1 * full.at_once.mean,
        mini.end.mean > 1.1 * mini.at_once.mean,
        (mini.end.mean / mini.before.mean - 1.0).abs() < 0.1,
    ];
    verdicts.add(statement, parts, words(&mini, &full));
}

/// All levels with their standard errors.
fn words(mini: &Levels, full: &Levels) -> String {
    let level = |level: &Estimate| match level.standard_error {
        error if error.is_finite() => format!("{:.2} ± {error:.2}", level.mean),
        _ => format!("{:.2}", level.mean),
    };
    let all = |Levels { before, at_once, end, reference }: &Levels| {
        format!(
            "{} before, {} in the {AT_ONCE} steps after, {} at the end, {} with the new value from the start",
            level(before),
            level(at_once),
            level(end),
            level(reference)
        )
    };
    format!("mini-batch: {}; full-batch: {}", all(mini), all(full))
}
