//! Which layer is sharp: λ_max of the Hessian and of the Gauss-Newton matrix, each restricted to one layer,
//! next to those of the whole network, over all samples of digits after some steps of SGD.
//!
//! A network with ReLU is linear in each of its layers nearly everywhere, so within a layer both matrices agree;
//! they differ between layers, and less the better the network fits. A second picture has the Hessian of each
//! layer over the steps.
//!
//! `cargo run --release --example layers`, and `-- --help` for the options.

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;

use burn::optim::SgdConfig;
use burn::tensor::Tensor;
use burn_sharpness::observe::{Budget, Cadence, History, Measure};
use burn_sharpness::operator::{GaussNewtonOperator, OperatorExt, ParamGroup};
use burn_sharpness::plot::{self, Bars};
use burn_sharpness::prelude::*;
use clap::Parser;

use support::device::Common;
use support::digits;
use support::error::Result;
use support::mlp::{Batch, Mlp, Training, loss, squared_error};

/// Sharpness of each layer of a network trained on digits.
#[derive(Parser)]
struct Options {
    /// SGD steps before the measurement.
    #[arg(long, default_value_t = 400)]
    steps: usize,
    /// Step size η.
    #[arg(long, default_value_t = 0.1)]
    lr: f64,
    /// Samples per training batch.
    #[arg(long, default_value_t = 16)]
    batch_size: usize,
    #[command(flatten)]
    common: Common,
    /// Folder of the picture.
    #[arg(long, default_value = "out/layers")]
    out: PathBuf,
}

/// λ_max on one group of parameters, of both matrices.
struct Row {
    name: String,
    n_params: usize,
    hessian: f64,
    gauss_newton: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let device = options.common.device.open()?.autodiff();
    let data = digits::load(None)?;
    let (widths, n_samples) = ([data.n_features, 64, 48, 32, data.n_classes], data.len());
    let data = data.tensors(&device);
    let model = Mlp::new(&widths, 0.5, options.common.seed, &device);
    let sizes = (n_samples, options.batch_size);
    let training = Training::new(&SgdConfig::new(), options.lr, sizes, options.common.seed)?;
    let (model, history) = train(&options, training, model, &data, widths.len() - 1)?;

    let rows = measure(&options, &model, &data)?;
    let value = loss(&model, data).into_scalar::<f64>();
    println!("digits, {n_samples} samples, step {}: loss {value:.4}\n", options.steps);
    println!(
        "{:<16}{:>10}{:>12}{:>14}{:>14}",
        "group", "parameters", "Hessian", "Gauss-Newton", "of the whole"
    );
    for row in &rows {
        let share = 100.0 * row.hessian / rows[0].hessian;
        println!(
            "{:<16}{:>10}{:>12.3}{:>14.3}{share:>12.0} %",
            row.name, row.n_params, row.hessian, row.gauss_newton
        );
    }
    let title = format!(
        "digits, layers {}, squared error, {} steps of SGD, η = {}, batches of {}",
        widths.map(|w| w.to_string()).join("–"),
        options.steps,
        options.lr,
        options.batch_size
    );
    plot::groups(&history)?.with_title(title.as_str()).save(&options.out, "layers_over_time")?;
    let bars = Bars {
        title,
        x_name: "λmax over all samples (curvature of the loss)".into(),
        kinds: vec!["Hessian".into(), "Gauss-Newton matrix".into()],
        groups: rows.into_iter().map(|r| (r.name, vec![r.hessian, r.gauss_newton])).collect(),
    };
    bars.picture()?.save(&options.out, "layers")?;
    println!("\nIn {}: layers.svg, layers_over_time.svg, and .png", options.out.display());
    Ok(())
}

/// Measurements of each layer during the training.
const N_ROWS: usize = 25;

/// Trains and measures the Hessian on each layer, whose path in the model is `layers` and its number.
fn train(
    options: &Options,
    mut training: Training,
    mut model: Mlp,
    data: &Batch,
    n_layers: usize,
) -> Result<(Mlp, History)> {
    let every = (options.steps / N_ROWS).max(1);
    let layers = (0..n_layers).map(|layer| Measure::Group(format!("layers.{layer}")));
    let mut monitor = SharpnessMonitorConfig::new(options.batch_size)
        .with_measures(layers.collect())
        .with_cadence(Cadence::Every(every))
        .with_budget(Budget::Unlimited)
        .with_seed(options.common.seed)
        .init(loss)?;
    for step in (0..=options.steps).step_by(every) {
        monitor.observe(step, &model, data)?;
        model = training.run(model, data, every.min(options.steps - step))?;
    }
    Ok((model, monitor.history().clone()))
}

/// The whole network first, then its layers.
fn measure(options: &Options, model: &Mlp, data: &Batch) -> Result<Vec<Row>> {
    let hessian = model.hessian(data.clone(), loss)?;
    let outputs = |model: &Mlp, (x, _): Batch| model.forward(x);
    let of_outputs = |f: Tensor<2>, (_, y): Batch| squared_error(f, y);
    let gauss_newton = GaussNewtonOperator::new(model, data.clone(), outputs, of_outputs)?;
    let solver = LanczosConfig::new().with_seed(options.common.seed).init();
    let top = |operator: &dyn LinearOperator| -> Result<f64> {
        let found = solver.solve(operator, None)?;
        if !found.first().converged {
            eprintln!("not converged: a λmax is a lower bound");
        }
        Ok(found.first().value)
    };
    let mut rows = vec![Row {
        name: "whole network".into(),
        n_params: hessian.dim(),
        hessian: top(&hessian)?,
        gauss_newton: top(&gauss_newton)?,
    }];
    // A layer is what comes before the last dot of its parameters' names.
    let layer = |name: &str| name.rsplit_once('.').map_or(name, |(layer, _)| layer).to_string();
    let mut layers: Vec<String> =
        hessian.space().entries().iter().map(|e| layer(&e.name)).collect();
    layers.dedup();
    for name in layers {
        let group = ParamGroup::by_prefix(hessian.space(), &name)?;
        let n_params = group.n_params();
        let of_hessian = top(&(&hessian).restricted(group.clone())?)?;
        let of_gauss_newton = top(&(&gauss_newton).restricted(group)?)?;
        rows.push(Row { name, n_params, hessian: of_hessian, gauss_newton: of_gauss_newton });
    }
    Ok(rows)
}
