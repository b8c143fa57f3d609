//! The static gap: frozen weights, every batch size.

use std::path::Path;

use burn_sharpness::estimator::{
    Estimate, GapAtBatchSize, PowerLaw, PowerLawPoint, SharpnessGapConfig, SharpnessGapMeasurement,
};
use burn_sharpness::plot;

use crate::experiment::checkpoint;
use crate::experiment::folder::write_json;
use crate::experiment::images::{Architecture, Images, LossName, Network, check_batch_size};
use crate::experiment::run::{Stream, load_model};
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::training::Training;
use crate::experiment::update::Optimizer;
use crate::experiment::verdict::Verdicts;
use crate::support::error::{ExampleError, Result};
use crate::support::mlp::Batch;
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
    sizes.frozen.iter().try_for_each(|b| check_batch_size(*b, data.n))?;
    let scale = if matches!(architecture, Architecture::Cnn { .. }) { 0.5 } else { 0.2 };
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
