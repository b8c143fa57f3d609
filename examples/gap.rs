//! The gap between mini-batch and full-batch sharpness: figures 6 to 9 and 11 to 16 of the paper.
//!
//! *Static*: on frozen weights (at the start, and trained with large batches) the gap is a power of the batch
//! size. *Trained*: one run per batch size, each at its own edge, and the gap where it ends.
//!
//! `cargo run --release --example gap`, and `-- --help` for the options. `gap_law` is the smaller program for the
//! static law alone.

#[path = "support/experiment/mod.rs"]
mod experiment;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use burn_sharpness::estimator::{
    Estimate, GapAtBatchSize, PowerLaw, PowerLawPoint, SharpnessGapConfig, SharpnessGapMeasurement,
};
use burn_sharpness::observe::Measure;
use burn_sharpness::plot::{self, Chart, Look, Point, Series};
use clap::Parser;

use experiment::folder::write_json;
use experiment::images::{Architecture, ImageOptions, Images, LossName, Network, check_batch_size};
use experiment::plateau::plateau;
use experiment::run::Stream;
use experiment::schedule::{Schedule, Stage};
use experiment::training::Training;
use experiment::update::Optimizer;
use experiment::verdict::Verdicts;
use support::error::{ExampleError, Result};
use support::mlp::Batch;

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

    /// Leave out the CNN, whose products are costly
    #[arg(long)]
    no_cnn: bool,

    /// Leave out the runs at their own edges
    #[arg(long)]
    no_trained: bool,

    /// Steps of each run at its own edge
    #[arg(long, value_name = "N")]
    steps: Option<usize>,

    /// Step size η of all runs [default: 0.25; CIFAR-10: 0.02]
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
            frozen: vec![8, 16, 32, 64, 128, 256, 512, 1024],
            trained: vec![4, 8, 16, 32, 64, 128, 256],
            steps: 5000,
            lr: 0.25,
            num_batches: 48,
            convergence: (256, 3000),
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
    sizes.steps = options.steps.unwrap_or(sizes.steps);
    sizes.lr = options.lr.unwrap_or(sizes.lr);
    let mlp = Architecture::Mlp { hidden: vec![if quick { 64 } else { 512 }; 2] };
    let cnn = match quick {
        true => Architecture::Cnn { channels: [8, 16], hidden: 64 },
        false => Architecture::Cnn { channels: [64, 128], hidden: 512 },
    };
    let folder = options.images.folder("gap");
    let mut verdicts = Verdicts::default();
    frozen(options, &mlp, &sizes, "mlp", &folder, &mut verdicts)?;
    if !options.no_cnn {
        frozen(options, &cnn, &sizes, "cnn", &folder, &mut verdicts)?;
    }
    if !options.no_trained {
        trained(options, &mlp, &sizes, &folder, &mut verdicts)?;
    }
    verdicts.finish(&folder)
}

/// The static gap, at initial weights and at trained ones.
fn frozen(
    options: &Options,
    architecture: &Architecture,
    sizes: &Sizes,
    name: &str,
    folder: &Path,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let device = options.images.device.open()?.autodiff();
    let data = options.images.data(architecture, &device)?;
    sizes.frozen.iter().try_for_each(|b| check_batch_size(*b, data.n))?;
    let scale = if matches!(architecture, Architecture::Cnn { .. }) { 0.5 } else { 0.2 };
    // At burn's scale and above, so that the start has curvature to measure.
    let initial = architecture.init(&data, 1.0, options.images.seed, &device);
    measure_frozen(options, &initial, &data, sizes, (name, "at the start"), folder, verdicts)?;
    let (batch_size, steps) = sizes.convergence;
    let stage = Stage { steps, lr: sizes.lr, batch_size };
    let training = Training {
        architecture: architecture.clone(),
        loss: LossName::Mse,
        init_scale: scale,
        optimizer: Optimizer::Sgd,
        schedule: Schedule { full_every: steps, num_batches: 8, ..Schedule::of(stage, 4) },
    };
    let path = folder.join(format!("{name}_b{batch_size}"));
    let model = training.run(&options.images, &data, &path)?.model;
    measure_frozen(options, &model, &data, sizes, (name, "trained"), folder, verdicts)
}

fn measure_frozen(
    options: &Options,
    model: &Network,
    data: &Images,
    sizes: &Sizes,
    (name, when): (&str, &str),
    folder: &Path,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let loss = |model: &Network, batch: Batch| LossName::Mse.of(model, batch);
    // The same seed everywhere: at every weights the same batches.
    let config = SharpnessGapConfig::new(sizes.frozen.clone())
        .with_num_batches(sizes.num_batches)
        .with_seed(Stream::Measurements.seed(options.images.seed));
    let measured = config.init(loss).measure(model, &data.batch)?;
    print_gaps(&format!("{name}, {when}"), &measured);
    let stem = format!("static_{name}_{}", when.replace(' ', "_"));
    let title = format!("{}, {name}, {when}: sharpness gap on frozen weights", data.name());
    plot::gap_law_of(&measured, Some(data.n))?.with_title(title).save(folder, &stem)?;
    record(&measured, &folder.join(format!("{stem}.json")))?;

    judge_law(&measured, data.n, (name, when), verdicts);
    judge_order(&measured, (name, when), verdicts);
    judge_large(&measured, data.n, (name, when), verdicts);
    judge_scatter(&measured, data.n, (name, when), verdicts);
    Ok(())
}

fn judge_law(
    measured: &SharpnessGapMeasurement,
    n: usize,
    (name, when): (&str, &str),
    verdicts: &mut Verdicts,
) {
    let (holds, numbers) = match PowerLaw::fit(&points(measured, n, 16..=1024)) {
        Some(law) => (vec![(law.exponent - 1.0).abs() <= 0.1], exponent(&law)),
        None => (vec![], "too few gaps above their errors".into()),
    };
    verdicts.add(
        &format!(
            "claim 5, {name} {when}: the static gap is a power 1 ± 0.1 of 1/b − 1/n for 16 ≤ b ≤ 1024"
        ),
        &holds,
        numbers,
    );
}

fn judge_order(
    measured: &SharpnessGapMeasurement,
    (name, when): (&str, &str),
    verdicts: &mut Verdicts,
) {
    let values: Vec<f64> = measured.gaps.iter().map(|gap| gap.minibatch_sharpness).collect();
    let values = [&values[..], &[measured.full_batch.value]].concat();
    let text =
        measured.gaps.iter().map(|g| format!("{:.3} ({})", g.minibatch_sharpness, g.batch_size));
    verdicts.add(
        &format!("claim 14, {name} {when}: mini-batch sharpness falls with b, down to full-batch sharpness"),
        &values.windows(2).map(|w| w[0] > w[1]).collect::<Vec<_>>(),
        format!(
            "{}, full batch {:.3}",
            text.collect::<Vec<_>>().join(", "),
            measured.full_batch.value
        ),
    );
}

/// Close to n the slope against b steepens, by the finite population: −n/(n − b).
fn judge_large(
    measured: &SharpnessGapMeasurement,
    n: usize,
    (name, when): (&str, &str),
    verdicts: &mut Verdicts,
) {
    let large: Vec<_> = measured.gaps.iter().filter(|g| g.batch_size * 8 >= n).collect();
    let [first, .., last] = large[..] else { return };
    let slope = (last.best().mean / first.best().mean).ln()
        / (last.batch_size as f64 / first.batch_size as f64).ln();
    let (n, a, b) = (n as f64, first.batch_size as f64, last.batch_size as f64);
    let predicted = ((n - b) * a / ((n - a) * b)).ln() / (b / a).ln();
    verdicts.add(
        &format!(
            "claim 6, {name} {when}: for b ≥ n/8 the gap falls faster than 1/b, as fast as 1/b − 1/n (slopes \
             agree within 0.15)"
        ),
        &[slope < -1.0, (slope - predicted).abs() < 0.15],
        format!("slope {slope:.3} from b = {a} to {b}, that of 1/b − 1/n {predicted:.3}"),
    );
}

/// Single batches scatter by the root of what the gap is proportional to.
fn judge_scatter(
    measured: &SharpnessGapMeasurement,
    n: usize,
    (name, when): (&str, &str),
    verdicts: &mut Verdicts,
) {
    let n = n as f64;
    let point = |gap: &GapAtBatchSize| {
        let b = gap.batch_size as f64;
        let each: Vec<f64> = gap.values.iter().map(|(top, _)| *top).collect();
        let m = each.len() as f64;
        let y = Estimate::of(&each)?.standard_error * m.sqrt();
        // Of the deviation of m normal values.
        let standard_error = y / (2.0 * (m - 1.0)).sqrt();
        Some(PowerLawPoint { x: (n - b) / (b * (n - 1.0)), y, standard_error })
    };
    let large = measured.gaps.iter().filter(|gap| gap.batch_size >= 64);
    let law = PowerLaw::fit(&large.filter_map(point).collect::<Vec<_>>());
    verdicts.add(
        &format!(
            "random matrices, {name} {when}: λmax of single batches of 64 and more scatters as 1/√b (a power \
             0.5 ± 0.1 of 1/b − 1/n)"
        ),
        &law.iter().map(|law| (law.exponent - 0.5).abs() <= 0.1).collect::<Vec<_>>(),
        law.as_ref().map_or(String::new(), exponent),
    );
}

/// Gaps of the batch sizes in a range, against 1/b − 1/n.
fn points(
    measured: &SharpnessGapMeasurement,
    n: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Vec<PowerLawPoint> {
    let inside = measured.gaps.iter().filter(|gap| range.contains(&gap.batch_size));
    let point = |gap: &GapAtBatchSize| PowerLawPoint {
        x: 1.0 / gap.batch_size as f64 - 1.0 / n as f64,
        y: gap.best().mean,
        standard_error: gap.best().standard_error,
    };
    inside.map(point).collect()
}

fn exponent(law: &PowerLaw) -> String {
    let (low, high) = law.interval;
    format!(
        "exponent {:.3}, 95% interval {low:.3} to {high:.3}, {} points, χ²/ν = {:.2}",
        law.exponent, law.n_points, law.reduced_chi_squared
    )
}

fn print_gaps(title: &str, measured: &SharpnessGapMeasurement) {
    let full = &measured.full_batch;
    println!("\n{title}: loss {:.4}, λmax(H) = {:.4}", full.loss, full.value);
    println!("{:>6}{:>18}{:>12}{:>12}{:>8}", "b", "mini-batch λmax", "gap", "± s.e.", "gain");
    for gap in &measured.gaps {
        let best = gap.best();
        println!(
            "{:>6}{:>18.4}{:>12.5}{:>12.5}{:>7.1}×",
            gap.batch_size, gap.minibatch_sharpness, best.mean, best.standard_error, gap.gain
        );
    }
}

/// The numbers behind a picture.
fn record(measured: &SharpnessGapMeasurement, path: &Path) -> Result<()> {
    let gaps = measured.gaps.iter().map(|gap| {
        serde_json::json!({
            "batch_size": gap.batch_size,
            "minibatch_sharpness": gap.minibatch_sharpness,
            "gap": gap.best().mean,
            "standard_error": gap.best().standard_error,
            "batches": gap.values.len(),
            "unconverged": gap.n_unconverged,
        })
    });
    let full = &measured.full_batch;
    let all = serde_json::json!({
        "full_batch_sharpness": full.value,
        "residual_norm": full.residual_norm,
        "loss": full.loss,
        "seconds": measured.elapsed.as_secs_f64(),
        "gaps": gaps.collect::<Vec<_>>(),
    });
    write_json(path, &all)
}

/// Levels of a run at its own edge.
struct End {
    batch_size: usize,
    mini: f64,
    full: f64,
    gap: f64,
    standard_error: f64,
}

/// A run per batch size, and the gap where it ends.
fn trained(
    options: &Options,
    architecture: &Architecture,
    sizes: &Sizes,
    folder: &Path,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let device = options.images.device.open()?.autodiff();
    let data = options.images.data(architecture, &device)?;
    println!("\nRuns at their own edges, η = {}, 2/η = {}", sizes.lr, 2.0 / sizes.lr);
    let mut ends = Vec::new();
    for &batch_size in sizes.trained.iter().filter(|b| **b <= data.n) {
        let path = folder.join(format!("trained_b{batch_size}"));
        match end_of(options, architecture, &data, sizes, batch_size, &path) {
            Ok(Some(end)) => ends.push(end),
            Ok(None) => {}
            Err(error @ ExampleError::Diverged { .. }) => println!("{error}"),
            Err(error) => return Err(error),
        }
    }
    println!("{:>6}{:>14}{:>14}{:>12}{:>10}", "b", "mini-batch", "full batch", "gap", "± s.e.");
    for end in &ends {
        let End { batch_size, mini, full, gap, standard_error } = end;
        println!("{batch_size:>6}{mini:>14.3}{full:>14.3}{gap:>12.3}{standard_error:>10.3}");
    }
    judge_trained(&ends, data.n, verdicts);
    draw_trained(&ends, &data, sizes, folder)
}

fn end_of(
    options: &Options,
    architecture: &Architecture,
    data: &Images,
    sizes: &Sizes,
    batch_size: usize,
    path: &Path,
) -> Result<Option<End>> {
    let stage = Stage { steps: sizes.steps, lr: sizes.lr, batch_size };
    let training = Training {
        architecture: architecture.clone(),
        loss: LossName::Mse,
        init_scale: 0.2,
        optimizer: Optimizer::Sgd,
        schedule: Schedule { num_batches: 16, ..Schedule::of(stage, 50) },
    };
    let history = training.run(&options.images, data, path)?.history;
    let level = |measure| plateau(&history, &measure);
    let both = level(Measure::MiniBatchSharpness).zip(level(Measure::FullBatchSharpness));
    Ok(both.map(|(mini, full)| End {
        batch_size,
        mini: mini.mean,
        full: full.mean,
        gap: mini.mean - full.mean,
        standard_error: mini.standard_error.hypot(full.standard_error),
    }))
}

fn judge_trained(ends: &[End], n: usize, verdicts: &mut Verdicts) {
    let fit = |from: usize, to: usize| {
        let inside = ends.iter().filter(|end| (from..=to).contains(&end.batch_size));
        let point = |end: &End| PowerLawPoint {
            x: 1.0 / end.batch_size as f64,
            y: end.gap,
            standard_error: end.standard_error,
        };
        PowerLaw::fit(&inside.map(point).collect::<Vec<_>>())
    };
    let parts = [(10, 100, 0.7), (100, n.min(1000), 1.0)];
    let (mut holds, mut numbers) = (Vec::new(), Vec::new());
    for (from, to, expected) in parts {
        if let Some(law) = fit(from, to) {
            holds.push((law.exponent - expected).abs() <= 0.15);
            numbers.push(format!("{from} to {to}: {}", exponent(&law)));
        }
    }
    verdicts.add(
        "claim 7: the gap where training ends is a power 0.7 ± 0.15 of 1/b for b from 10 to 100, and 1 ± 0.15 from \
         100 to 1000",
        &holds,
        numbers.join("; "),
    );
    let full: Vec<_> =
        ends.iter().map(|end| format!("{:.3} ({})", end.full, end.batch_size)).collect();
    let point = |end: &End| PowerLawPoint {
        x: end.batch_size as f64,
        y: end.full,
        standard_error: end.standard_error,
    };
    let law = PowerLaw::fit(&ends.iter().map(point).collect::<Vec<_>>());
    // The 99% quantile of χ²/ν is below 4 for 4 degrees of freedom and more.
    verdicts.add(
        "claim 8: full-batch sharpness by itself is no power of b (a single one is rejected, χ²/ν > 4)",
        &law.iter().map(|law| law.reduced_chi_squared > 4.0).collect::<Vec<_>>(),
        format!("{}; {}", full.join(", "), law.as_ref().map_or(String::new(), exponent)),
    );
}

fn draw_trained(ends: &[End], data: &Images, sizes: &Sizes, folder: &Path) -> Result<()> {
    if ends.is_empty() {
        return Ok(());
    }
    let points = |value: fn(&End) -> f64, has_error: bool| -> Vec<Point> {
        let point = |end: &End| {
            let (x, y) = (end.batch_size as f64, value(end));
            let half = 1.96 * end.standard_error;
            let interval = (has_error && half.is_finite()).then_some((y - half, y + half));
            Point { x, y, interval, name: String::new() }
        };
        ends.iter().map(point).collect()
    };
    let of = |label: &str, style, points| Series {
        label: label.into(),
        style,
        look: Look::Points,
        points,
    };
    let ends_of = [ends[0].batch_size as f64, ends[ends.len() - 1].batch_size as f64];
    let edge = ends_of.map(|b| (b, 2.0 / sizes.lr));
    let chart = Chart {
        title: format!("{}: where runs with η = {} end", data.name(), sizes.lr),
        x_name: "batch size b".into(),
        y_name: "sharpness".into(),
        is_logarithmic: true,
        series: vec![
            of("gap", 2, points(|end| end.gap, true)),
            of("mini-batch sharpness", 0, points(|end| end.mini, false)),
            of("full-batch sharpness", 1, points(|end| end.full, false)),
            Series::curve("2/η", 0, Look::Reference, &edge),
        ],
    };
    chart.picture()?.save(folder, "trained")?;
    Ok(())
}
