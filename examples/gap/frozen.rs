//! The static gap: frozen weights, every batch size.

use std::path::Path;

use burn_sharpness::estimator::{
    Estimate, PowerLaw, PowerLawPoint, SharpnessGapConfig, SharpnessGapMeasurement,
};
use burn_sharpness::plot;

use crate::experiment::checkpoint;
use crate::experiment::images::{Architecture, Images, LossName, Network, check_batch_size};
use crate::experiment::progress::Progress;
use crate::experiment::run::{Stream, load_model};
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::training::Training;
use crate::experiment::update::Optimizer;
use crate::experiment::verdict::Verdicts;
use crate::record::{self, Gap, Lines, Record, Setting};
use crate::support::error::{ExampleError, Result};
use crate::{Options, Sizes, exponent};

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
    let record = match Record::read(&path, &setting)? {
        Some(record) => record,
        None => {
            let title = format!("{}, {name}, {when}", data.name());
            let measured = measure(model, data, &setting, &title, &folder.join(&stem))?;
            let record = Record::new(setting, &measured);
            record.write(&path)?;
            record
        }
    };
    print_gaps(&format!("{name}, {when}"), &record);
    judge_law(&record, data.n, (name, when), verdicts);
    judge_order(&record, (name, when), verdicts);
    judge_large(&record, data.n, (name, when), verdicts);
    judge_scatter(&record, data.n, (name, when), verdicts);
    Ok(())
}

/// Measures, with a bar, and draws the picture. Each batch size is written as it comes.
fn measure(
    model: &Network,
    data: &Images,
    setting: &Setting,
    title: &str,
    stem: &Path,
) -> Result<SharpnessGapMeasurement> {
    // The same seed everywhere: at every weights the same batches.
    let config = SharpnessGapConfig::new(setting.batch_sizes.clone())
        .with_num_batches(setting.num_batches)
        .with_seed(Stream::Measurements.seed(setting.seed));
    let mut estimator = config.init(LossName::Mse.closure());
    let mut progress = Progress::new(title, 0, setting.batch_sizes.len());
    let mut lines = Lines::new(stem.with_extension("jsonl"));
    let (mut done, mut written) = (0, Ok(()));
    let measured = estimator.measure_each(model, &data.batch, |gap| {
        done += 1;
        progress.counted(done, &format!("b = {}: gap {}", gap.batch_size, gap.best()));
        if written.is_ok() {
            written = lines.push(&gap.into());
        }
    });
    progress.finish();
    written?;
    let measured = measured?;
    let title = format!("{title}: sharpness gap on frozen weights");
    let picture = plot::gap_law_of(&measured, Some(data.n))?.with_title(title);
    let (folder, name) = (stem.parent().unwrap_or(stem), stem.file_name().unwrap_or_default());
    picture.save(folder, &name.to_string_lossy())?;
    Ok(measured)
}

fn judge_law(record: &Record, n: usize, (name, when): (&str, &str), verdicts: &mut Verdicts) {
    let (holds, numbers) = match PowerLaw::fit(&points(record, n, 16..=1024)) {
        Some(law) => (vec![(law.exponent - 1.0).abs() <= 0.1], exponent(&law)),
        None => (vec![], "too few gaps above their errors".into()),
    };
    verdicts.add(
        &format!(
            "claim 5, {name} {when}: the static gap is a power 1 ± 0.1 of 1/b − 1/n for 16 ≤ b ≤ 1024"
        ),
        holds,
        numbers,
    );
}

fn judge_order(record: &Record, (name, when): (&str, &str), verdicts: &mut Verdicts) {
    let values: Vec<f64> = record.gaps.iter().map(|gap| gap.minibatch_sharpness).collect();
    let values = [&values[..], &[record.full_batch_sharpness]].concat();
    let text =
        record.gaps.iter().map(|g| format!("{:.3} ({})", g.minibatch_sharpness, g.batch_size));
    verdicts.add(
        &format!("claim 14, {name} {when}: mini-batch sharpness falls with b, down to full-batch sharpness"),
        values.windows(2).map(|w| w[0] > w[1]),
        format!(
            "{}, full batch {:.3}",
            text.collect::<Vec<_>>().join(", "),
            record.full_batch_sharpness
        ),
    );
}

/// Close to n the slope against b steepens, by the finite population: −n/(n − b).
fn judge_large(record: &Record, n: usize, (name, when): (&str, &str), verdicts: &mut Verdicts) {
    let large: Vec<_> = record.gaps.iter().filter(|g| g.batch_size * 8 >= n).collect();
    let [first, .., last] = large[..] else { return };
    let slope =
        (last.gap / first.gap).ln() / (last.batch_size as f64 / first.batch_size as f64).ln();
    let (n, a, b) = (n as f64, first.batch_size as f64, last.batch_size as f64);
    let predicted = ((n - b) * a / ((n - a) * b)).ln() / (b / a).ln();
    verdicts.add(
        &format!(
            "claim 6, {name} {when}: for b ≥ n/8 the gap falls faster than 1/b, as fast as 1/b − 1/n (slopes \
             agree within 0.15)"
        ),
        [slope < -1.0, (slope - predicted).abs() < 0.15],
        format!("slope {slope:.3} from b = {a} to {b}, that of 1/b − 1/n {predicted:.3}"),
    );
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
        law.iter().map(|law| (law.exponent - 0.5).abs() <= 0.1),
        law.as_ref().map_or(String::new(), exponent),
    );
}

/// Gaps of the batch sizes in a range, against 1/b − 1/n.
fn points(record: &Record, n: usize, range: std::ops::RangeInclusive<usize>) -> Vec<PowerLawPoint> {
    let inside = record.gaps.iter().filter(|gap| range.contains(&gap.batch_size));
    let point = |gap: &Gap| PowerLawPoint {
        x: 1.0 / gap.batch_size as f64 - 1.0 / n as f64,
        y: gap.gap,
        standard_error: gap.standard_error.unwrap_or(f64::NAN),
    };
    inside.map(point).collect()
}

fn print_gaps(title: &str, record: &Record) {
    let Record { full_batch_sharpness, loss, .. } = record;
    println!("\n{title}: loss {loss:.4}, λmax(H) = {full_batch_sharpness:.4}");
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
