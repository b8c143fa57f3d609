//! Training a part of a network: frozen layers, and low-rank adapters.
//!
//! The Hessian of such a model is that of its trainable parameters; the frozen ones are constants.

use burn::module::{Lora, Module};

use super::resnet::CifarResNet;

/// Trains the last stage and the head only.
///
/// [`freeze`](Module::freeze) fixes parameters and also batch normalization, which then uses its
/// running statistics; [`no_grad`](Module::no_grad), here for the stem, fixes parameters only.
pub fn freeze_first_stages(mut model: CifarResNet) -> CifarResNet {
    model.stem = model.stem.no_grad();
    let last = model.stages.split_off(model.stages.len() - 1);
    model.stages = model.stages.freeze();
    model.stages.extend(last);
    model
}

/// Trains adapters of rank `rank` beside every matrix of `model` and freezes everything else
/// (Hu et al. 2021): W + (α/rank)·A·B, where B begins at zero.
pub fn with_adapters<M: Module>(model: M, rank: usize, alpha: f64) -> M {
    model.apply_lora(Lora::new(rank, alpha))
}
