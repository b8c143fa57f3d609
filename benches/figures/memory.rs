//! Memory: the bytes that one operator and one product allocate at the peak, beyond model and data,
//! over those of one gradient, each in a fresh process of this program.

use std::env;
use std::error::Error;
use std::process::Command;

use burn::module::Module;
use burn::tensor::Tensor;
use burn_sharpness::operator::{HessianLanes, LaneVectors, Lanes};
use burn_sharpness::{Batch, HessianOperator, LinearOperator};
use clap::ValueEnum;

use crate::convolutions::{device, images};
use crate::networks::cnn::{PaperCnn, PaperCnnConfig};
use crate::support::allocator::peak_bytes;
use crate::support::{Case, Loss};
use crate::{Extent, line};

/// What is measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum What {
    /// One gradient by burn.
    Gradient,
    /// One operator and one product in row-space vectors, as solvers work.
    RowSpace,
    /// One operator and one product of a vector of parameter space.
    Dense,
    /// The same at the first use of a loss, with the check of its gradient against burn's.
    First,
}

/// On which network.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Network {
    Mlp,
    Cnn,
}

type Failure = Box<dyn Error>;

/// Prints `memory_over_gradient`, `dense_memory_over_gradient` and `first_memory_over_gradient` for the
/// MLP, and the same with `cnn_` in front.
pub fn figures(extent: Extent) -> Result<(), Failure> {
    let all = [("", Network::Mlp, 64), ("", Network::Mlp, 1024), ("cnn_", Network::Cnn, 64)];
    let of = [(What::RowSpace, ""), (What::Dense, "dense_"), (What::First, "first_")];
    let few = if extent == Extent::Full { all.len() } else { 1 };
    for (prefix, network, batch) in all.into_iter().take(few) {
        for (what, kind) in of {
            let name = format!("{prefix}{kind}memory_over_gradient");
            let product = measure(what, network, batch)?;
            line(&name, batch, product / measure(What::Gradient, network, batch)?);
        }
    }
    Ok(())
}

/// Bytes at the peak, by a fresh process.
fn measure(what: What, network: Network, batch: usize) -> Result<f64, Failure> {
    let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    };
    let output = Command::new(env::current_exe()?)
        .args(["--memory-of", &name(&|| what.to_possible_value())])
        .args(["--network", &name(&|| network.to_possible_value())])
        .args(["--batch", &batch.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// What the fresh process does: prints the bytes that the peak adds to model and data.
pub fn report(what: What, network: Network, batch: usize) -> Result<(), Failure> {
    let added = match network {
        Network::Mlp => {
            let case = Case::new(Loss::CrossEntropy, batch);
            added(what, &case.model, &case.batch, case.loss.function())?
        }
        Network::Cnn => {
            let device = device();
            let model = PaperCnnConfig::new().init(&device);
            // Burn draws a parameter at its first use: now, so that it counts as the model.
            let model = model.clone().fork(&device);
            added(what, &model, &images(batch, &device), PaperCnn::loss)?
        }
    };
    println!("{added}");
    Ok(())
}

fn added<M: Module, B: Batch>(
    what: What,
    model: &M,
    batch: &B,
    loss: impl Fn(&M, B) -> Tensor<1>,
) -> Result<usize, Failure> {
    if matches!(what, What::RowSpace | What::Dense) {
        // Compiles and checks the loss.
        drop(HessianLanes::new(model, std::slice::from_ref(batch), &loss)?);
    }
    let (bytes, done) = peak_bytes(|| run(what, model, batch, loss));
    done.map(|()| bytes)
}

fn run<M: Module, B: Batch>(
    what: What,
    model: &M,
    batch: &B,
    loss: impl Fn(&M, B) -> Tensor<1>,
) -> Result<(), Failure> {
    match what {
        What::Gradient => drop(loss(model, batch.clone()).backward()),
        What::RowSpace => {
            let lanes = HessianLanes::new(model, std::slice::from_ref(batch), &loss)?;
            let gradient = LaneVectors::new(&lanes, lanes.gradients())?;
            drop(LaneVectors::new(&lanes, lanes.apply(&gradient.images)?)?);
        }
        What::Dense | What::First => {
            let operator = HessianOperator::new(model, batch.clone(), &loss)?;
            drop(operator.apply(operator.gradient())?);
        }
    }
    Ok(())
}
