//! The static gap: frozen weights, every batch size.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use burn_sharpness::estimator::{Estimate, PowerLaw, PowerLawPoint, SharpnessGapConfig};
use burn_sharpness::plot::{Chart, Look, Point, Series};

use crate::experiment::checkpoint;
use crate::experiment::images::{Architecture, Images, LossName, Network, check_batch_size};
use crate::experiment::progress::Progress;
use crate::experiment::run::{Stream, load_model};
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::training::Training;
use crate::experiment::update::Optimizer;
use crate::experiment::verdict::Verdicts;
use crate::record::{self, Full, Gap, Record, Setting};
use crate::support::error::{ExampleError, Result};
use crate::{Options, Sizes, decided, exponent};

/// The static gap, at initial weights and at trained ones.
pub fn run(
    options: &Options,
    architecture: &Architecture,
    sizes: &Sizes,
    name: &str,
    folder: &Path,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let device = options.images.device.open()?.autodiff();
    let data = options.images.data(architecture, &device)?;
    sizes.frozen.iter().try_for_each(|b| check_batch_size("sizes", *b, data.n))?;
    // The scales of `eoss_mlp` and `eoss_cnn`.
    let scale = match architecture {
        Architecture::Cnn { .. } if options.images.is_quick() => 0.5,
        Architecture::Cnn { .. } => 0.3,
        _ => 0.2,
    };
    // At burn's scale and above, so that the start has curvature to measure.
    let initial = architecture.init(&data, 1.0, options.images.seed, &device);
    measure_frozen(options, &initial, &data, sizes, (name, "at the start"), folder, verdicts)?;
    let model = match &options.weights {
        Some(run) => match checkpoint::latest(run)? {
            Some(checkpoint) => load_model(initial, &checkpoint.path)?,
            None => return Err(ExampleError::checkpoint(run, "there is none")),
        },
        None => train(options, architecture, &data, sizes, scale, &folder.join(name))?,
    };
    measure_frozen(options, &model, &data, sizes, (name, "trained"), folder, verdicts)
}

/// Trained with large batches until little is left of the loss.
fn train(
    options: &Options,
    architecture: &Architecture,
    data: &Images,
    sizes: &Sizes,
    init_scale: f64,
    folder: &Path,
) -> Result<Network> {
    let (batch_size, steps) = sizes.convergence;
    let stage = Stage { steps, lr: sizes.lr, batch_size };
    let training = Training {
        architecture: architecture.clone(),
        loss: LossName::Mse,
        init_scale,
        optimizer: Optimizer::Sgd,
        schedule: Schedule { full_every: steps, num_batches: 8, ..Schedule::of(stage, 4) },
    };
    Ok(training.run(&options.images, data, folder)?.model)
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
    let stem = format!("static_{name}_{}", when.replace(' ', "_"));
    let setting = Setting {
        data: data.description.clone(),
        network: name.into(),
        weights: record::hash_of(model),
        batch_sizes: sizes.frozen.clone(),
        num_batches: sizes.num_batches,
        seed: options.images.seed,
    };
    let path = folder.join(format!("{stem}.json"));
    let title = format!("{}, {name}, {when}", data.name());
    let mut record = Record::open(&path, setting)?;
    if !record.left().is_empty() {
        measure(model, data, &mut record, &title, &path)?;
    }
    let Some(full) = record.full_batch.clone() else {
        return Err(ExampleError::checkpoint(&path, "it lacks the full batch"));
    };
    print_gaps(&format!("{name}, {when}"), &record, &full);
    draw(&record, data, &title, &path)?;
    judge_law(&record, data.n, (name, when), verdicts);
    judge_order(&record, &full, (name, when), verdicts);
    judge_slope(&record, data.n, (name, when), verdicts);
    judge_scatter(&record, data.n, (name, when), verdicts);
    Ok(())
}

/// Measures the batch sizes that are left, with a bar. Each is written as it comes.
fn measure(
    model: &Network,
    data: &Images,
    record: &mut Record,
    title: &str,
    path: &Path,
) -> Result<()> {
    let Setting { batch_sizes, num_batches, seed, .. } = &record.setting;
    // The same seed everywhere: at every weights the same batches.
    let config = SharpnessGapConfig::new(record.left())
        .with_num_batches(*num_batches)
        .with_seed(Stream::Measurements.seed(*seed));
    let mut estimator = config.init(LossName::Mse.closure());
    let mut progress = Progress::new(title, record.gaps.len(), batch_sizes.len());
    let mut written = Ok(());
    let measured = estimator.measure_each(model, &data.batch, |gap| {
        record.gaps.push(gap.into());
        let note = format!("b = {}: gap {}", gap.batch_size, gap.best());
        progress.counted(record.gaps.len(), &note);
        if written.is_ok() {
            written = record.write(path);
        }
    });
    progress.finish();
    written?;
    record.finish(&measured?);
    record.write(path)
}

/// The gaps and the law through those that are judged. `plot::gap_law_of` draws one measurement; these may come from
/// several, where the program was stopped.
fn draw(record: &Record, data: &Images, title: &str, path: &Path) -> Result<()> {
    let x = |batch_size: usize| 1.0 / batch_size as f64 - 1.0 / data.n as f64;
    let point = |gap: &Gap| {
        let half = gap.standard_error.map(|error| 1.96 * error);
        let interval = half.map(|half| (gap.gap - half, gap.gap + half));
        let name = gap.batch_size.to_string();
        Point { x: x(gap.batch_size), y: gap.gap, interval, name }
    };
    let points = record.gaps.iter().rev().map(point).collect();
    let mut series =
        vec![Series { label: "gap, by batch size".into(), style: 0, look: Look::Points, points }];
    if let Some(law) = PowerLaw::fit(&points_in(record, LAW, x)) {
        let label = format!("power {:.3} of 1/b − 1/n, b from 16 to 1024", law.exponent);
        let curve = record.gaps.iter().rev().map(|gap| x(gap.batch_size));
        let curve: Vec<_> = curve.map(|x| (x, law.prefactor * x.powf(law.exponent))).collect();
        series.push(Series::curve(label, 1, Look::Line, &curve));
    }
    let chart = Chart {
        title: format!("{title}: sharpness gap on frozen weights"),
        x_name: "1/b − 1/n".into(),
        y_name: "mini-batch minus full-batch sharpness".into(),
        is_logarithmic: true,
        series,
    };
    let (folder, name) = (path.parent().unwrap_or(path), path.file_stem().unwrap_or_default());
    chart.picture()?.save(folder, &name.to_string_lossy())?;
    Ok(())
}

/// Batch sizes that the law of claim 5 is judged by.
const LAW: RangeInclusive<usize> = 16..=1024;

fn judge_law(record: &Record, n: usize, (name, when): (&str, &str), verdicts: &mut Verdicts) {
    let fit = |x: &dyn Fn(usize) -> f64| PowerLaw::fit(&points_in(record, LAW, x));
    let inverse = |batch_size: usize| 1.0 / batch_size as f64;
    let of_size = fit(&|b| inverse(b) - inverse(n));
    let words = |law: &Option<PowerLaw>| {
        law.as_ref().map_or("too few gaps above their errors".into(), exponent)
    };
    verdicts.add(
        &format!(
            "claim 5, {name} {when}: the static gap is a power 1 ± 0.1 of 1/b − 1/n for 16 ≤ b ≤ 1024"
        ),
        [of_size.as_ref().and_then(|law| decided(law, 1.0, 0.1))],
        format!("of 1/b − 1/n: {}; of 1/b: {}", words(&of_size), words(&fit(&inverse))),
    );
}

fn judge_order(record: &Record, full: &Full, (name, when): (&str, &str), verdicts: &mut Verdicts) {
    let values: Vec<f64> = record.gaps.iter().map(|gap| gap.minibatch_sharpness).collect();
    let values = [&values[..], &[full.sharpness]].concat();
    let text =
        record.gaps.iter().map(|g| format!("{:.3} ({})", g.minibatch_sharpness, g.batch_size));
    verdicts.add(
        &format!("claim 14, {name} {when}: mini-batch sharpness falls with b, down to full-batch sharpness"),
        values.windows(2).map(|w| w[0] > w[1]),
        format!(
            "{}, full batch {:.3}",
            text.collect::<Vec<_>>().join(", "),
            full.sharpness
        ),
    );
}

/// Close to n the slope against b steepens, by the finite population: −n/(n − b).
fn judge_slope(record: &Record, n: usize, (name, when): (&str, &str), verdicts: &mut Verdicts) {
    let beyond = |b: usize| -> Option<Slope> {
        let large: Vec<_> = record.gaps.iter().filter(|gap| gap.batch_size >= b).collect();
        let [first, .., last] = large[..] else { return None };
        Slope::between(first, last)
    };
    let paper = beyond(1000);
    verdicts.add(
        &format!(
            "claim 6, {name} {when}: for b > 1000 the gap falls with the slope −1.1 (within 0.1 or two standard errors)"
        ),
        [paper.as_ref().filter(|slope| slope.is_known()).map(|slope| slope.is(-1.1, 0.1))],
        paper.as_ref().map_or("no two such batch sizes".into(), Slope::to_string),
    );
    let Some(slope) = beyond(n.div_ceil(8)) else { return };
    let (n, [a, b]) = (n as f64, slope.sizes);
    let predicted = ((n - b) * a / ((n - a) * b)).ln() / (b / a).ln();
    let known = |holds: bool| slope.is_known().then_some(holds);
    verdicts.add(
        &format!(
            "finite population, {name} {when}: for b ≥ n/8 the gap falls faster than 1/b, as 1/b − 1/n (within two \
             standard errors)"
        ),
        [known(slope.value < -1.0), known(slope.is(predicted, 0.0))],
        format!("{slope}, that of 1/b − 1/n {predicted:.3}"),
    );
}

/// d ln gap/d ln b between two batch sizes.
struct Slope {
    sizes: [f64; 2],
    value: f64,
    standard_error: f64,
}

impl Slope {
    fn between(first: &Gap, last: &Gap) -> Option<Self> {
        let sizes = [first, last].map(|gap| gap.batch_size as f64);
        let span = (sizes[1] / sizes[0]).ln();
        let value = (last.gap / first.gap).ln() / span;
        let relative = |gap: &Gap| Some(gap.standard_error? / gap.gap);
        let standard_error = relative(first)?.hypot(relative(last)?) / span;
        (value.is_finite() && standard_error.is_finite()).then_some(Self {
            sizes,
            value,
            standard_error,
        })
    }

    /// Whether it says anything: the laws in question have slopes 0.1 to 0.2 apart.
    fn is_known(&self) -> bool {
        self.standard_error <= 0.1
    }

    fn is(&self, value: f64, within: f64) -> bool {
        (self.value - value).abs() <= within.max(2.0 * self.standard_error)
    }
}

impl fmt::Display for Slope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sizes: [a, b], value, standard_error } = self;
        write!(f, "slope {value:.3} ± {standard_error:.3} from b = {a} to {b}")
    }
}

/// Single batches scatter by the root of what the gap is proportional to.
fn judge_scatter(record: &Record, n: usize, (name, when): (&str, &str), verdicts: &mut Verdicts) {
    let n = n as f64;
    let point = |gap: &Gap| {
        let b = gap.batch_size as f64;
        let m = gap.tops.len() as f64;
        let y = Estimate::of(&gap.tops)?.standard_error * m.sqrt();
        // Of the deviation of m normal values.
        let standard_error = y / (2.0 * (m - 1.0)).sqrt();
        Some(PowerLawPoint { x: (n - b) / (b * (n - 1.0)), y, standard_error })
    };
    let large = record.gaps.iter().filter(|gap| gap.batch_size >= 64);
    let law = PowerLaw::fit(&large.filter_map(point).collect::<Vec<_>>());
    verdicts.add(
        &format!(
            "random matrices, {name} {when}: λmax of single batches of 64 and more scatters as 1/√b (a power \
             0.5 ± 0.1 of 1/b − 1/n)"
        ),
        [law.as_ref().and_then(|law| decided(law, 0.5, 0.1))],
        law.as_ref().map_or(String::new(), exponent),
    );
}

/// Gaps of the batch sizes in a range, against a function of the size.
fn points_in(
    record: &Record,
    range: RangeInclusive<usize>,
    x: impl Fn(usize) -> f64,
) -> Vec<PowerLawPoint> {
    let inside = record.gaps.iter().filter(|gap| range.contains(&gap.batch_size));
    let point = |gap: &Gap| PowerLawPoint {
        x: x(gap.batch_size),
        y: gap.gap,
        standard_error: gap.standard_error.unwrap_or(f64::NAN),
    };
    inside.map(point).collect()
}

fn print_gaps(title: &str, record: &Record, full: &Full) {
    println!("\n{title}: loss {:.4}, λmax(H) = {:.4}", full.loss, full.sharpness);
    println!("{:>6}{:>18}{:>12}{:>12}{:>8}", "b", "mini-batch λmax", "gap", "± s.e.", "gain");
    for gap in &record.gaps {
        println!(
            "{:>6}{:>18.4}{:>12.5}{:>12.5}{:>7.1}×",
            gap.batch_size,
            gap.minibatch_sharpness,
            gap.gap,
            gap.standard_error.unwrap_or(f64::NAN),
            gap.gain.unwrap_or(f64::NAN)
        );
    }
}
