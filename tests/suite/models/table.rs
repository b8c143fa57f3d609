//! The networks, at sizes of some hundred parameters.

use burn::tensor::{DType, Device, Int, Tensor};
use burn_sharpness::Mode;

use super::by_formula::chirp;
use super::recurrent_by_hand::{gru_loss, lstm_loss};
use super::{Case, Row};
use crate::common::float;
use crate::networks::Labelled;
use crate::networks::cnn::{PaperCnn, PaperCnnConfig};
use crate::networks::fine_tuning::{freeze_first_stages, with_adapters};
use crate::networks::language_model::{LanguageModel, LanguageModelConfig};
use crate::networks::recurrent::{GruClassifier, LstmClassifier, RecurrentConfig};
use crate::networks::resnet::{CifarResNet, CifarResNetConfig};
use crate::networks::sentences::{SentenceClassifier, SentenceClassifierConfig, Sentences};
use crate::networks::swiglu::{GatedMlp, GatedMlpConfig};
use crate::networks::unet::{UNet, UNetConfig, Upsampling};
use crate::networks::vit::{VisionTransformer, VisionTransformerConfig};

const CLASSES: usize = 3;
const SAMPLES: usize = 3;

pub fn rows() -> Vec<Box<dyn Row>> {
    [convolutional(), transformers(), others()].into_iter().flatten().collect()
}

/// The phases of the networks with ReLU are chosen so that no argument of a ReLU is within 1e-3 of
/// zero, and no two candidates of a max pool within 1e-3 of one another: neither a step of the
/// central difference nor rounding to f32 crosses a kink.
fn convolutional() -> Vec<Box<dyn Row>> {
    let small = |t: DType, d: &Device| labelled([SAMPLES, 2, 14, 14], t, d);
    let whole = |d: &Device| resnet().init(d);
    let evaluated = Case::new("ResNet, evaluated", whole, images, CifarResNet::loss).at(4.1);
    let plain = |d: &Device| resnet().with_batch_norm(false).init(d);
    let frozen = |d: &Device| freeze_first_stages(resnet().init(d));
    let bilinear = |d: &Device| unet().with_upsampling(Upsampling::Bilinear).init(d);
    let bilinear = Case::new("U-Net, bilinear", bilinear, pixels, UNet::loss);
    vec![
        Case::new("paper CNN", cnn, small, PaperCnn::loss).boxed(),
        Case::new("ResNet", whole, images, CifarResNet::loss).at(14.5).boxed(),
        Case { mode: Mode::Eval, ..evaluated }.boxed(),
        Case::new("ResNet without norm", plain, images, CifarResNet::loss).at(9.6).boxed(),
        Case::new("ResNet, half frozen", frozen, images, CifarResNet::loss).at(3.6).boxed(),
        Case::new("U-Net, transposed", |d| unet().init(d), pixels, UNet::loss).boxed(),
        Case { only_on: Some("flex"), ..bilinear }.boxed(),
    ]
}

fn transformers() -> Vec<Box<dyn Row>> {
    let adapted = |d: &Device| with_adapters(vit(d), 2, 4.0);
    vec![
        Case::new("vision transformer", vit, images, VisionTransformer::loss).boxed(),
        Case::new("vision transformer, LoRA", adapted, images, VisionTransformer::loss).boxed(),
        Case::new("language model", language_model, tokens, LanguageModel::loss).boxed(),
        Case::new("padded sentences", reader, sentences, SentenceClassifier::loss).boxed(),
    ]
}

fn others() -> Vec<Box<dyn Row>> {
    let lstm = Case::new("LSTM", |d| recurrent().init_lstm(d), sequences, LstmClassifier::loss);
    let lstm = Case { loss_f64: lstm_loss, ..lstm };
    let gru = Case::new("GRU", |d| recurrent().init_gru(d), sequences, GruClassifier::loss);
    let gru = Case { loss_f64: gru_loss, ..gru };
    // burn's RmsNorm computes in f32 (ε = 1.2e-7) also for f64: h = 1e-2 leaves ε/h = 1e-5 of
    // rounding and h² = 1e-4 of truncation, times third derivatives; formulas differ by a few ε.
    let gated = Case::new("gated MLP", gated_mlp, vectors, GatedMlp::loss);
    let gated = Case { difference: (1e-2, 2e-3), rounding: 1e-6, ..gated };
    vec![lstm.boxed(), gru.boxed(), gated.boxed()]
}

fn cnn(device: &Device) -> PaperCnn {
    PaperCnnConfig::new()
        .with_image([2, 14, 14])
        .with_channels([2, 3])
        .with_hidden(5)
        .with_classes(CLASSES)
        .init(device)
}

fn resnet() -> CifarResNetConfig {
    CifarResNetConfig::new([1, 1, 1])
        .with_widths([2, 4, 8])
        .with_image_channels(2)
        .with_classes(CLASSES)
}

fn unet() -> UNetConfig {
    UNetConfig::new().with_image_channels(2).with_channels(4).with_groups(2).with_classes(CLASSES)
}

fn vit(device: &Device) -> VisionTransformer {
    VisionTransformerConfig::new()
        .with_image([2, 8, 8])
        .with_patch(4)
        .with_d_model(8)
        .with_d_ff(10)
        .with_n_heads(2)
        .with_n_layers(1)
        .with_classes(CLASSES)
        .init(device)
}

fn language_model(device: &Device) -> LanguageModel {
    LanguageModelConfig::new(7, 6)
        .with_d_model(8)
        .with_d_ff(10)
        .with_n_heads(2)
        .with_n_layers(2)
        .init(device)
}

fn reader(device: &Device) -> SentenceClassifier {
    SentenceClassifierConfig::new(7, CLASSES)
        .with_d_model(8)
        .with_d_ff(10)
        .with_n_heads(2)
        .with_n_layers(1)
        .init(device)
}

fn recurrent() -> RecurrentConfig {
    RecurrentConfig::new(4, 5, CLASSES)
}

fn gated_mlp(device: &Device) -> GatedMlp {
    GatedMlpConfig::new(4, CLASSES).with_d_model(6).with_d_ff(8).init(device)
}

fn inputs<const D: usize>(shape: [usize; D], dtype: DType, device: &Device) -> Tensor<D> {
    float(chirp(shape.iter().product(), 0.2), shape, dtype, device)
}

/// Some class for each i < n.
fn classes(n: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = (0..n).map(|i| ((2 * i + i / 3 + 1) % classes) as i64).collect();
    Tensor::from_ints(labels.as_slice(), device)
}

fn labelled<const D: usize>(shape: [usize; D], dtype: DType, device: &Device) -> Labelled<D> {
    (inputs(shape, dtype, device), classes(shape[0], CLASSES, device))
}

fn vectors(dtype: DType, device: &Device) -> Labelled<2> {
    labelled([SAMPLES, 4], dtype, device)
}

fn images(dtype: DType, device: &Device) -> Labelled<4> {
    labelled([SAMPLES, 2, 8, 8], dtype, device)
}

fn pixels(dtype: DType, device: &Device) -> (Tensor<4>, Tensor<3, Int>) {
    let labels = classes(SAMPLES * 8 * 8, CLASSES, device).reshape([SAMPLES, 8, 8]);
    (inputs([SAMPLES, 2, 8, 8], dtype, device), labels)
}

fn sequences(dtype: DType, device: &Device) -> Labelled<3> {
    labelled([SAMPLES, 5, 4], dtype, device)
}

fn tokens(_: DType, device: &Device) -> Tensor<2, Int> {
    classes(SAMPLES * 6, 7, device).reshape([SAMPLES, 6])
}

/// Sentences of two, five and three tokens; token 0 is the padding.
fn sentences(_: DType, device: &Device) -> Sentences {
    Sentences::new(vec![vec![3, 1], vec![5, 2, 6, 4, 1], vec![2, 2, 5]], &[1, 0, 2], device)
}
