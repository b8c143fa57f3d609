//! The trained gap: a run per batch size, each at its own edge.

use std::fs;
use std::path::Path;

use burn_sharpness::estimator::{PowerLaw, PowerLawPoint};
use burn_sharpness::observe::{History, Measure};
use burn_sharpness::plot::{Chart, Look, Point, Series, rounded};

use crate::experiment::folder::read_json;
use crate::experiment::images::{Architecture, Images, LossName};
use crate::experiment::plateau::plateau;
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::training::Training;
use crate::experiment::update::Optimizer;
use crate::experiment::verdict::Verdicts;
use crate::support::error::{ExampleError, Result};
use crate::{Options, Sizes, decided, exponent};

/// A run per batch size, and the gap where it ends.
pub fn run(
    options: &Options,
    architecture: &Architecture,
    sizes: &Sizes,
    folder: &Path,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let device = options.images.device.open()?.autodiff();
    let data = options.images.data(architecture, &device)?;
    let runs = match &options.runs {
        Some(folder) => read_runs(folder, &data.description, options.lr)?,
        None => train_runs(options, architecture, &data, sizes, folder)?,
    };
    let mut ends: Vec<End> =
        runs.iter().filter_map(|(stage, history)| End::of(*stage, history)).collect();
    ends.sort_by_key(|end| end.stage.batch_size);
    println!("\nRuns at their own edges:");
    println!(
        "{:>8}{:>6}{:>14}{:>14}{:>12}{:>10}{:>8}",
        "η", "b", "mini-batch", "full batch", "gap", "± s.e.", "2/η"
    );
    for End { stage, mini, full, gap, standard_error, .. } in &ends {
        let Stage { lr, batch_size, .. } = stage;
        println!(
            "{lr:>8}{batch_size:>6}{mini:>14.3}{full:>14.3}{gap:>12.3}{standard_error:>10.3}{:>8}",
            rounded(2.0 / lr)
        );
    }
    judge_trained(&ends, data.n, verdicts);
    draw_trained(&ends, &data, folder)
}

fn train_runs(
    options: &Options,
    architecture: &Architecture,
    data: &Images,
    sizes: &Sizes,
    folder: &Path,
) -> Result<Vec<(Stage, History)>> {
    let mut runs = Vec::new();
    for &batch_size in sizes.trained.iter().filter(|b| **b <= data.n) {
        let stage = Stage { steps: sizes.steps, lr: sizes.lr, batch_size };
        let training = Training {
            architecture: architecture.clone(),
            loss: LossName::Mse,
            init_scale: 0.2,
            optimizer: Optimizer::Sgd,
            schedule: Schedule { num_batches: 16, ..Schedule::of(stage, 50) },
        };
        let path = folder.join(format!("trained_b{batch_size}"));
        match training.run(&options.images, data, &path) {
            Ok(done) => runs.push((stage, done.history)),
            // The others are worth having.
            Err(error @ ExampleError::Diverged { .. }) => println!("{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(runs)
}

/// The runs in the folders of a folder that came to their end: on these data, with squared error, and with the same
/// network and step size.
fn read_runs(folder: &Path, data: &str, lr: Option<f64>) -> Result<Vec<(Stage, History)>> {
    let unreadable = |source| ExampleError::Read { path: folder.to_path_buf(), source };
    let (mut runs, mut kinds) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let file = path.join("setting.json");
        let Some(setting) = read_json(&file)? else { continue };
        let stage = serde_json::from_value(setting["schedule"]["stages"][0].clone());
        let stage: Stage =
            stage.map_err(|e| ExampleError::Read { path: file, source: e.into() })?;
        let is_finished = path.join("finished.json").exists();
        let is_of_kind = setting["data"] == data && setting["loss"] == "mse";
        if is_finished && is_of_kind && lr.is_none_or(|lr| lr == stage.lr) {
            kinds.push(format!("η = {}, {}", stage.lr, setting["architecture"]));
            runs.push((stage, History::read(&path.join("history.jsonl"))?));
        }
    }
    match kinds.iter().find(|kind| **kind != kinds[0]) {
        Some(other) => Err(ExampleError::Option {
            option: "runs",
            value: format!("a folder of runs with {} and with {other}", kinds[0]),
            expected: "one of runs of the same network and step size: choose the latter by --lr",
        }),
        None => Ok(runs),
    }
}

/// Levels of a run at its own edge.
struct End {
    stage: Stage,
    mini: f64,
    full: f64,
    gap: f64,
    /// Of `gap`.
    standard_error: f64,
}

impl End {
    fn of(stage: Stage, history: &History) -> Option<Self> {
        let mini = plateau(history, &Measure::MiniBatchSharpness)?;
        let full = plateau(history, &Measure::FullBatchSharpness)?;
        let gap = mini.mean - full.mean;
        let standard_error = mini.standard_error.hypot(full.standard_error);
        let (mini, full) = (mini.mean, full.mean);
        Some(Self { stage, mini, full, gap, standard_error })
    }

    fn x(&self) -> f64 {
        self.stage.batch_size as f64
    }
}

/// Run by run a level may differ by this much: one seed does not tell less. A power law that goes past the points by
/// more is none.
const SCATTER: f64 = 0.1;

fn judge_trained(ends: &[End], n: usize, verdicts: &mut Verdicts) {
    judge_gap(ends, n, verdicts);
    let words = |value: fn(&End) -> f64| {
        let all: Vec<_> =
            ends.iter().map(|end| format!("{:.3} ({})", value(end), end.x())).collect();
        all.join(", ")
    };
    let highest = ends.iter().map(|end| end.full).fold(0.0, f64::max);
    let scatters = [
        scatter(ends, |end| end.full),
        scatter(ends, |end| highest - end.full),
        scatter(ends, |end| end.gap),
    ];
    let [full, distance, gap] =
        scatters.map(|s| s.map_or("too few sizes".into(), |s| format!("{:.0}%", 100.0 * s)));
    verdicts.add(
        "claim 8: full-batch sharpness, and its distance from the highest, are no powers of b (the best one is off by \
         more than 10%)",
        [scatters[0], scatters[1]].map(|s| s.map(|s| s > SCATTER)),
        format!(
            "{}; off by {full}, the distance by {distance}, the gap between mini-batch and full-batch sharpness by {gap}",
            words(|end| end.full)
        ),
    );
}

/// How far the values are from the best power of b, as a fraction: the residual standard deviation of ln y.
fn scatter(ends: &[End], value: impl Fn(&End) -> f64) -> Option<f64> {
    // Equal weights, and zeros (the highest value itself) left out.
    let point = |end: &End| PowerLawPoint {
        x: end.x(),
        y: value(end),
        standard_error: SCATTER * value(end),
    };
    let law = PowerLaw::fit(&ends.iter().map(point).collect::<Vec<_>>())?;
    (law.n_points > 2).then(|| SCATTER * law.reduced_chi_squared.sqrt())
}

fn judge_gap(ends: &[End], n: usize, verdicts: &mut Verdicts) {
    let fit = |from: usize, to: usize, x: &dyn Fn(f64) -> f64| {
        let inside = ends.iter().filter(|end| (from..=to).contains(&end.stage.batch_size));
        let point = |end: &End| PowerLawPoint {
            x: x(end.x()),
            y: end.gap,
            standard_error: end.standard_error,
        };
        // Two points lie on a power law always.
        PowerLaw::fit(&inside.map(point).collect::<Vec<_>>()).filter(|law| law.n_points > 2)
    };
    let words = |law: &Option<PowerLaw>| {
        law.as_ref().map_or("fewer than three batch sizes".into(), exponent)
    };
    for (from, to, expected) in [(10, 100, 0.7), (100, n.min(1000), 1.0)] {
        let law = fit(from, to, &|b| 1.0 / b);
        let of_size = fit(from, to, &|b| 1.0 / b - 1.0 / n as f64);
        verdicts.add(
            &format!(
                "claim 7: the gap where training ends is a power {expected} ± 0.15 of 1/b for b from {from} to {to} (and \
                 is none if the interval excludes that)"
            ),
            [law.as_ref().and_then(|law| decided(law, expected, 0.15))],
            format!("of 1/b: {}; of 1/b − 1/n: {}", words(&law), words(&of_size)),
        );
    }
    let small: Vec<f64> =
        ends.iter().filter(|end| end.stage.batch_size < 10).map(|end| end.gap).collect();
    let [low, high] = [f64::min, f64::max].map(|of| small.iter().copied().reduce(of));
    let ratio = high.zip(low).map(|(high, low)| high / low).filter(|_| small.len() > 1);
    verdicts.add(
        "claim 7: it is the same (within a quarter) for b below 10",
        [ratio.map(|ratio| (1.0..=1.25).contains(&ratio))],
        ratio.map_or("fewer than two such batch sizes".into(), |r| {
            format!("largest over smallest {r:.2}")
        }),
    );
}

fn draw_trained(ends: &[End], data: &Images, folder: &Path) -> Result<()> {
    if ends.is_empty() {
        return Ok(());
    }
    let points = |value: fn(&End) -> f64, has_error: bool| -> Vec<Point> {
        let point = |end: &End| {
            let (x, y) = (end.x(), value(end));
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
    let highest = ends.iter().map(|end| end.full).fold(0.0, f64::max);
    let below: Vec<_> = ends.iter().filter(|end| end.full < highest).collect();
    let distances = below.iter().map(|end| {
        let (x, y) = (end.x(), highest - end.full);
        Point { x, y, interval: None, name: String::new() }
    });
    let distances = distances.collect();
    let edge: Vec<_> = ends.iter().map(|end| (end.x(), 2.0 / end.stage.lr)).collect();
    let chart = Chart {
        title: format!("{}: where runs at their own edges end", data.name()),
        x_name: "batch size b".into(),
        y_name: "sharpness".into(),
        is_logarithmic: true,
        series: vec![
            of("gap", 2, points(|end| end.gap, true)),
            of("mini-batch sharpness", 0, points(|end| end.mini, false)),
            of("full-batch sharpness", 1, points(|end| end.full, false)),
            of("highest full-batch sharpness minus it", 3, distances),
            Series::curve("2/η", 0, Look::Reference, &edge),
        ],
    };
    chart.picture()?.save(folder, "trained")?;
    Ok(())
}
