//! Two models whose edge of stability is known in closed form, measured and simulated.
//!
//! **Two disjoint samples** (Appendix F of the paper, with diagonal parameters): f(x) = Σ aᵢbᵢxᵢ, samples
//! ((1,0), 1) and ((0,1), −1), loss ½(f − y)². At a minimum sample i has the curvature λᵢ = aᵢ² + bᵢ² ≥ 2 and
//! nothing in common with the other, so full-batch sharpness is max(λ₁, λ₂)/2 and mini-batch sharpness, with
//! single samples, (λ₁ + λ₂)/2. Gradient descent leaves a minimum with max λ > 2·2/η, SGD one with max λ > 2/η:
//! half as sharp.
//!
//! **n orthogonal samples** of curvature h: mini-batch and batch sharpness are h/b, full-batch sharpness h/n,
//! and SGD with heavy-ball momentum β is stable in mean square iff ηh/b < 2(1−β²)/((1+β) − 2β/q), q = n/b.
//!
//! What you see: measured sharpness against the closed form, where training from sharp minima ends, and the growth
//! of the distance to the minimum a little below and above the threshold for several β and q.
//!
//! `cargo run --release --example toy`, in seconds: there is nothing to stop and to resume.

#[path = "support/experiment/mod.rs"]
mod experiment;
#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;

use burn::module::{Module, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_sharpness::plot::{Chart, Look, Series};
use burn_sharpness::prelude::*;
use burn_sharpness::stability::Batching;
use clap::Parser;
use experiment::verdict::Verdicts;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::index;
use rand::{RngExt, SeedableRng};

/// The two models.
#[derive(Parser)]
struct Options {
    /// Taken as by the other experiments: this one is always quick
    #[arg(long)]
    quick: bool,
    /// Seed of starts and batches.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the picture.
    #[arg(long, default_value = "out/toy")]
    out: PathBuf,
}

type Error = Box<dyn std::error::Error>;
type Batch = (Tensor<2>, Tensor<1>);

fn main() -> Result<(), Error> {
    let options = Options::parse();
    let mut verdicts = Verdicts::default();
    let worst = closed_form(options.seed)?;
    verdicts.add(
        "measured sharpness is the closed form of appendix F, to 1e-6",
        [worst < 1e-6],
        format!("largest difference at 20 minima {worst:.1e}"),
    );
    let ends = ends(&options)?;
    let numbers: Vec<String> = ends.iter().map(End::to_string).collect();
    verdicts.add(
        "gradient descent ends with max λ ≤ 4/η, SGD with max λ ≤ 2/η, and flatter minima are kept",
        ends.iter().map(End::is_as_expected),
        numbers.join(", "),
    );
    let growths = growths(options.seed)?;
    let highest = growths.iter().map(|(below, _)| *below).fold(0.0, f64::max);
    let lowest = growths.iter().map(|(_, above)| *above).fold(f64::INFINITY, f64::min);
    verdicts.add(
        "SGD on orthogonal samples shrinks 10% below the threshold of every β and q, and grows 10% above",
        growths.iter().map(|(below, above)| *below < 1.0 && *above > 1.0),
        format!("largest growth below it {highest:.4}, smallest above {lowest:.4}"),
    );
    Ok(verdicts.finish(&options.out)?)
}

fn tensor<const D: usize>(values: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F64))
}

/// f(x) = Σ aᵢbᵢxᵢ.
#[derive(Module, Debug)]
struct Diagonal {
    a: Param<Tensor<1>>,
    b: Param<Tensor<1>>,
}

impl Diagonal {
    /// The minimum with these a: a₁b₁ = 1, a₂b₂ = −1.
    fn minimum(a: [f64; 2], device: &Device) -> Self {
        let param = |values: [f64; 2]| Param::from_tensor(tensor(&values, [2], device));
        Self { a: param(a), b: param([1.0 / a[0], -1.0 / a[1]]) }
    }

    /// aᵢ² + bᵢ².
    fn curvatures(&self) -> [f64; 2] {
        let sum = self.a.val().powi_scalar(2) + self.b.val().powi_scalar(2);
        let values: Vec<f64> = sum.into_data().iter().collect();
        [values[0], values[1]]
    }
}

fn half_squared_error(model: &Diagonal, (x, y): Batch) -> Tensor<1> {
    let weights = (model.a.val() * model.b.val()).unsqueeze_dim::<2>(1);
    let residual = x.matmul(weights).squeeze_dim::<1>(1) - y;
    residual.powi_scalar(2).mean().mul_scalar(0.5)
}

fn two_samples(device: &Device) -> Batch {
    (tensor(&[1.0, 0.0, 0.0, 1.0], [2, 2], device), tensor(&[1.0, -1.0], [2], device))
}

/// The largest difference to it.
fn closed_form(seed: u64) -> Result<f64, Error> {
    let device = Device::flex();
    let data = two_samples(&device);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    println!("Two disjoint samples, at minima: measured − closed form");
    println!("{:>8}{:>8}{:>16}{:>16}", "λ1", "λ2", "full batch", "mini-batch");
    let mut worst = 0.0f64;
    for trial in 0..20 {
        let a: [f64; 2] = match trial {
            0 => [2.0, 1.0], // the paper's: 4.25 and 2
            _ => std::array::from_fn(|_| rng.random_range(0.4..2.5)),
        };
        let model = Diagonal::minimum(a, &device);
        let [l1, l2] = model.curvatures();
        let single = |i| (data.0.clone().narrow(0, i, 1), data.1.clone().narrow(0, i, 1));
        let full = model.sharpness(data.clone(), half_squared_error)?.value;
        let of = |i| model.sharpness(single(i), half_squared_error);
        let mini = 0.5 * (of(0)?.value + of(1)?.value);
        let errors = [full - l1.max(l2) / 2.0, mini - (l1 + l2) / 2.0];
        worst = errors.iter().fold(worst, |worst, error| worst.max(error.abs()));
        if trial < 4 {
            println!("{l1:>8.3}{l2:>8.3}{:>16.1e}{:>16.1e}", errors[0], errors[1]);
        }
    }
    println!();
    Ok(worst)
}

/// Steps from a sharp minimum, disturbed a little.
const STEPS: usize = 4000;
const ETA: f64 = 0.25;

/// Where training from a sharp minimum ended, as max(λ1, λ2).
struct End {
    name: &'static str,
    edge: f64,
    start: f64,
    end: f64,
}

impl End {
    /// Below the edge; and where it was from the start if that was below it.
    fn is_as_expected(&self) -> bool {
        self.end <= self.edge && (self.start > self.edge || self.end > 0.99 * self.start)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, edge, start, end } = self;
        write!(f, "{name} from {start:.2} to {end:.2} (edge {edge})")
    }
}

fn ends(options: &Options) -> Result<Vec<End>, Error> {
    let device = Device::flex().autodiff();
    let (bound, mut ends) = (2.0 / ETA, Vec::new());
    println!(
        "Training from sharp minima with η = {ETA}: max λ may be 2/η = {bound} for SGD, twice that for GD"
    );
    println!(
        "{:<6}{:>12}{:>12}{:>14}{:>14}",
        "", "max λ start", "max λ end", "full batch", "mini-batch"
    );
    let mut series = Vec::new();
    for (style, (name, batch_size)) in [("GD", 2), ("SGD", 1)].into_iter().enumerate() {
        let mut longest = Vec::new();
        let edge = bound * batch_size as f64;
        for factor in [1.6, 1.2, 0.8] {
            // a² + 1/a² = λ. Much sharper than this, training diverges.
            let start: f64 = factor * edge;
            let a = ((start + (start * start - 4.0).sqrt()) / 2.0).sqrt();
            let mut model = Diagonal::minimum([a, 0.8], &device);
            let before = model.curvatures();
            model.a = model.a.map(|a| (a * 1.01).detach().require_grad());
            let seed = options.seed.wrapping_add(start.to_bits());
            let mut points = Vec::new();
            model = descend(model, batch_size, seed, &mut points);
            let [l1, l2] = model.curvatures();
            let top = l1.max(l2);
            ends.push(End { name, edge, start, end: top });
            println!(
                "{name:<6}{:>12.2}{top:>12.2}{:>14.2}{:>14.2}",
                before[0].max(before[1]),
                top / 2.0,
                (l1 + l2) / 2.0
            );
            if longest.is_empty() {
                longest = points;
            }
        }
        let ratios: Vec<_> = longest.iter().map(|(step, top)| (*step, top / edge)).collect();
        let label = format!("{name}, edge at max λ = {edge}");
        series.push(Series::curve(label, style, Look::Line, &ratios));
    }
    println!();
    let line = [(0.0, 1.0), (SHOWN as f64, 1.0)];
    series.push(Series::curve("edge of stability", 0, Look::Reference, &line));
    let chart = Chart {
        title: format!("two disjoint samples, η = {ETA}: the sharper sample's curvature"),
        x_name: "training step".into(),
        y_name: "max(λ1, λ2) / edge (1 = edge)".into(),
        is_logarithmic: false,
        series,
    };
    chart.picture()?.save(&options.out, "toy")?;
    Ok(ends)
}

/// Steps of the picture.
const SHOWN: usize = 120;

fn descend(
    mut model: Diagonal,
    batch_size: usize,
    seed: u64,
    points: &mut Vec<(f64, f64)>,
) -> Diagonal {
    let data = two_samples(&Device::flex().autodiff());
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut optimizer = SgdConfig::new().init();
    for step in 0..STEPS {
        if step <= SHOWN {
            let [l1, l2] = model.curvatures();
            points.push((step as f64, l1.max(l2)));
        }
        let batch = match batch_size {
            2 => data.clone(),
            _ => {
                let i = rng.random_range(0..2);
                (data.0.clone().narrow(0, i, 1), data.1.clone().narrow(0, i, 1))
            }
        };
        let gradients = half_squared_error(&model, batch).backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(ETA, model, gradients);
    }
    model
}

/// Samples and copies of each: as many independent runs in one.
const SAMPLES: usize = 64;

/// The growth of the mean square 10% below and above each threshold.
fn growths(seed: u64) -> Result<Vec<(f64, f64)>, Error> {
    println!(
        "{SAMPLES} orthogonal samples: growth of the mean square per step, with momentum β and q batches in an"
    );
    println!("epoch, around the threshold of η times the curvature of a batch");
    println!("{:>6}{:>6}{:>12}{:>14}{:>14}", "β", "q", "threshold", "at 0.9 of it", "at 1.1 of it");
    let mut growths = Vec::new();
    for beta in [0.0, 0.5, 0.9] {
        for batch_size in [64, 16, 4] {
            let batching = Batching::Of { batch_size, n_samples: SAMPLES };
            let edge = SgdStabilityConfig::new(1.0).with_momentum(beta).with_batching(batching);
            let threshold = edge.init()?.threshold(); // of h/b at η = 1
            let growth = |factor| growth(factor * threshold, beta, batch_size, seed);
            let (below, above) = (growth(0.9), growth(1.1));
            growths.push((below, above));
            let q = SAMPLES / batch_size;
            println!("{beta:>6}{q:>6}{threshold:>12.4}{below:>14.4}{above:>14.4}");
        }
    }
    println!();
    Ok(growths)
}

/// The factor by which E‖w‖² changes per step at η·h/b = `curvature`, η = 1: the slope of log Σ‖w‖², over runs that
/// are pulled back to norm 1 together whenever they have moved far.
fn growth(curvature: f64, beta: f64, batch_size: usize, seed: u64) -> f64 {
    // Each sample moves its own coordinate: with g = h·w/b in a batch, zero out of it.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    const RUNS: usize = 400;
    const LENGTH: usize = 60;
    let mut totals = [0.0; LENGTH + 1];
    for _ in 0..RUNS {
        let mut w = vec![1.0f64; SAMPLES];
        let mut v = vec![0.0f64; SAMPLES];
        totals[0] += SAMPLES as f64;
        for total in &mut totals[1..] {
            v.iter_mut().for_each(|v| *v *= beta);
            for i in index::sample(&mut rng, SAMPLES, batch_size) {
                v[i] += curvature * w[i];
            }
            w.iter_mut().zip(&v).for_each(|(w, v)| *w -= v);
            // With the velocity, as an oscillation passes through w = 0.
            *total += w.iter().zip(&v).map(|(w, v)| w * w + v * v).sum::<f64>();
        }
    }
    // The slope of the later half: the start is a mixture of modes.
    let half = LENGTH / 2;
    (totals[LENGTH] / totals[half]).powf(1.0 / (LENGTH - half) as f64)
}
