//! Curvature of eleven networks at initialization, on random data, in the three modes:
//! `cargo run --release --example networks` (a minute on two cores; `--device` as for eoss_mlp).
//!
//! What you see: λ_max of one batch of eight, in training (batch statistics, no noise), in
//! evaluation (running statistics) and with fixed dropout masks; then what one product costs in
//! units of the primal pass (about one gradient).

#[path = "support/mod.rs"]
mod support;

use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_sharpness::Batch;
use burn_sharpness::Mode;
use burn_sharpness::prelude::*;
use clap::Parser;

use support::device::DeviceName;
use support::networks::Labelled;
use support::networks::cnn::{PaperCnn, PaperCnnConfig};
use support::networks::fine_tuning::with_adapters;
use support::networks::language_model::{LanguageModel, LanguageModelConfig};
use support::networks::recurrent::{GruClassifier, LstmClassifier, RecurrentConfig};
use support::networks::resnet::{CifarResNet, CifarResNetConfig};
use support::networks::sentences::{SentenceClassifier, SentenceClassifierConfig, Sentences};
use support::networks::swiglu::{GatedMlp, GatedMlpConfig};
use support::networks::unet::{UNet, UNetConfig};
use support::networks::vit::{VisionTransformer, VisionTransformerConfig};

/// λ_max of networks at initialization.
#[derive(Parser)]
struct Options {
    /// Where to compute; others than flex need the feature of the same name.
    #[arg(long, value_enum, default_value = "flex")]
    device: DeviceName,
    /// Seed of parameters and data.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

const SAMPLES: usize = 8;
const CLASSES: usize = 10;

fn main() -> support::error::Result<()> {
    let options = Options::parse();
    let device = &options.device.open()?;
    device.seed(options.seed);
    println!(
        "{:<18}{:>10}  {:>10}{:>10}{:>10}  {:>9}{:>16}",
        "network", "parameters", "training", "eval", "noise", "products", "product/primal"
    );

    let images = labelled([SAMPLES, 3, 32, 32], device);
    row("paper CNN", &PaperCnnConfig::new().init(device), &images, PaperCnn::loss)?;
    let resnet = CifarResNetConfig::new([2, 2, 2]);
    row("ResNet-14", &resnet.init(device), &images, CifarResNet::loss)?;
    let plain = resnet.with_batch_norm(false).init(device);
    row("... without norm", &plain, &images, CifarResNet::loss)?;
    let vit = VisionTransformerConfig::new().init(device);
    row("ViT", &vit, &images, VisionTransformer::loss)?;
    row("... with LoRA", &with_adapters(vit, 4, 8.0), &images, VisionTransformer::loss)?;
    let pixels =
        (images.0.clone(), classes(SAMPLES * 32 * 32, 2, device).reshape([SAMPLES, 32, 32]));
    row("U-Net", &UNetConfig::new().init(device), &pixels, UNet::loss)?;
    let tokens = classes(SAMPLES * 32, 65, device).reshape([SAMPLES, 32]);
    let language_model = LanguageModelConfig::new(65, 32).init(device);
    row("language model", &language_model, &tokens, LanguageModel::loss)?;
    let reader = SentenceClassifierConfig::new(65, CLASSES).init(device);
    row("padded sentences", &reader, &sentences(device), SentenceClassifier::loss)?;
    let sequences = labelled([SAMPLES, 16, 12], device);
    let recurrent = RecurrentConfig::new(12, 48, CLASSES);
    row("LSTM", &recurrent.init_lstm(device), &sequences, LstmClassifier::loss)?;
    row("GRU", &recurrent.init_gru(device), &sequences, GruClassifier::loss)?;
    let vectors = labelled([SAMPLES, 32], device);
    row("SwiGLU", &GatedMlpConfig::new(32, CLASSES).init(device), &vectors, GatedMlp::loss)?;
    Ok(())
}

/// Measures one network and prints its line.
fn row<M: Module, B: Batch>(
    name: &str,
    model: &M,
    batch: &B,
    loss: fn(&M, B) -> Tensor<1>,
) -> support::error::Result<()> {
    let modes = [Mode::Train, Mode::Eval, Mode::TrainWithNoise { seed: 0 }];
    let mut found = Vec::new();
    for mode in modes {
        found.push(model.sharpness_in(mode, batch.clone(), loss)?);
    }
    // A Hessian's primal pass is one gradient, and what it saves for the products.
    let began = Instant::now();
    let hessian = model.hessian(batch.clone(), loss)?;
    let gradient = began.elapsed();
    let began = Instant::now();
    let curvature = hessian.apply(&found[0].vector)?.norm()?;
    let product = began.elapsed();
    assert!(curvature.is_finite());
    println!(
        "{name:<18}{:>10}  {:>10.4}{:>10.4}{:>10.4}  {:>9}{:>16.2}",
        hessian.dim(),
        found[0].value,
        found[1].value,
        found[2].value,
        found[0].n_hvps,
        product.as_secs_f64() / gradient.as_secs_f64(),
    );
    Ok(())
}

/// Random labels below `n_classes`.
fn classes(n: usize, n_classes: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::random([n], Distribution::Uniform(0.0, n_classes as f64), device)
}

fn labelled<const D: usize>(shape: [usize; D], device: &Device) -> Labelled<D> {
    let inputs = Tensor::random(shape, Distribution::Normal(0.0, 1.0), device);
    (inputs, classes(shape[0], CLASSES, device))
}

/// Sentences of four to eleven tokens.
fn sentences(device: &Device) -> Sentences {
    let sentence = |i: usize| (0..4 + i).map(|j| 1 + (7 * i + 5 * j) % 64).collect();
    let targets: Vec<i64> = (0..SAMPLES).map(|i| (i % CLASSES) as i64).collect();
    Sentences::new((0..SAMPLES).map(sentence).collect(), &targets, device)
}
