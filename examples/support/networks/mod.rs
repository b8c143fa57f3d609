//! Networks that the examples train and the tests measure: one architecture a file.
//!
//! Each has a `Config` with its sizes, a `forward`, and a `loss` that is a loss closure as it
//! stands: `model.sharpness((images, labels), PaperCnn::loss)`. A loss makes its tensors on the
//! device and with the dtype of its inputs, so that it can be recorded and runs in f32 and f64.

#![allow(dead_code)] // not every example uses every network

pub mod cnn;
pub mod fine_tuning;
pub mod language_model;
pub mod recurrent;
pub mod resnet;
pub mod sentences;
pub mod swiglu;
pub mod unet;
pub mod vit;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{Int, Tensor};

/// Inputs, whose first dimension counts samples, and their class labels.
pub type Labelled<const D: usize> = (Tensor<D>, Tensor<1, Int>);

/// Mean over the samples of −log softmax(logits)\[label\].
///
/// # Shapes
/// - `logits`: `[samples, classes]`
/// - `labels`: `[samples]`
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, labels)
}
