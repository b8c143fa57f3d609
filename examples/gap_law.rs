//! How much sharper mini-batches are than the whole: E[λ_max(H_B)] − λ_max(H) on frozen weights over batch
//! sizes, with error bars, its power law in 1/b − 1/n, and what second-order perturbation theory predicts.
//!
//! The theory is for batches whose scatter is small against λ₁ − λ₂. Digits have ten classes and about as many
//! eigenvalues close to the top, so that it holds near b = n only, where the control variate gains most, too.
//!
//! `cargo run --release --example gap_law`, and `-- --help` for the options.

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;

use burn::optim::SgdConfig;
use burn_sharpness::estimator::{PowerLaw, SharpnessGapConfig};
use burn_sharpness::plot;
use clap::Parser;

use support::device::Common;
use support::digits;
use support::error::Result;
use support::mlp::{Mlp, Training, loss};

/// The gap between mini-batch and full-batch sharpness as a law of the batch size.
#[derive(Parser)]
struct Options {
    /// Batch sizes, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "8,16,32,64,128,256,512,1024,1536,1700")]
    sizes: Vec<usize>,
    /// Mini-batches per batch size.
    #[arg(long, default_value_t = 48)]
    num_batches: usize,
    /// Eigenpairs of the whole for the prediction: more of them bring its ends together.
    #[arg(long, default_value_t = 20)]
    eigenvalues: usize,
    /// SGD steps before the weights are frozen.
    #[arg(long, default_value_t = 400)]
    steps: usize,
    /// Step size η.
    #[arg(long, default_value_t = 0.1)]
    lr: f64,
    #[command(flatten)]
    common: Common,
    /// Folder of the picture.
    #[arg(long, default_value = "out/gap_law")]
    out: PathBuf,
}

const TRAINING_BATCH: usize = 16;

fn main() -> Result<()> {
    let options = Options::parse();
    let device = options.common.device.open()?.autodiff();
    let data = digits::load(None)?;
    let (n, widths) = (data.len(), [data.n_features, 64, 48, data.n_classes]);
    let data = data.tensors(&device);
    let Options { steps, lr, num_batches, .. } = options;
    let model = Mlp::new(&widths, 0.5, options.common.seed, &device);
    let seed = options.common.seed;
    let mut training = Training::new(&SgdConfig::new(), lr, (n, TRAINING_BATCH), seed)?;
    let model = training.run(model, &data, steps)?;

    let config = SharpnessGapConfig::new(options.sizes.clone())
        .with_num_batches(num_batches)
        .with_num_eigenvalues(options.eigenvalues)
        .with_seed(options.common.seed);
    let measured = config.init(loss).measure(&model, &data)?;
    let full = &measured.full_batch;
    println!(
        "digits, {n} samples, step {steps}: loss {:.4}, λmax(H) = {:.3}\n",
        full.loss, full.value
    );
    println!(
        "{:>6}{:>16}{:>11}{:>11}{:>8}{:>22}",
        "b", "mini-batch λmax", "gap", "± s.e.", "gain", "theory: from … to"
    );
    for gap in &measured.gaps {
        let best = gap.best();
        let (from, to) = gap.predicted.map_or((f64::NAN, f64::NAN), |p| (p.leading, p.upper));
        println!(
            "{:>6}{:>16.3}{:>11.4}{:>11.4}{:>7.1}×{from:>13.4} … {to:.4}",
            gap.batch_size, gap.minibatch_sharpness, best.mean, best.standard_error, gap.gain
        );
    }
    println!("\ngain: standard error without the control variate v₁ᵀH_Bv₁ over that with it");
    if let Some(law) = &measured.against_inverse_size {
        print_law(law);
    }
    let title = format!(
        "digits, {n} samples, after {steps} steps of SGD (η = {lr}, b = {TRAINING_BATCH}), {num_batches} batches per size"
    );
    let picture = plot::gap_law_of(&measured, Some(n))?.with_title(title);
    picture.save(&options.out, "gap_law")?;
    println!("Picture: {}", options.out.join("gap_law.svg").display());
    Ok(())
}

fn print_law(law: &PowerLaw) {
    let (low, high) = law.interval;
    println!(
        "gap = {:.2}·(1/b − 1/n)^{:.3}, 95% interval of the exponent {low:.3} to {high:.3}, χ²/ν = {:.2}",
        law.prefactor, law.exponent, law.reduced_chi_squared
    );
    if let Some(c) = law.crossover {
        let (low, high) = (c.exponent_below, c.exponent_above);
        println!("two powers fit better: {low:.3} below 1/b − 1/n = {:.4}, {high:.3} above", c.x);
    }
}
