//! The network's losses.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use crate::options::LossName;
use crate::support::mlp::squared_error;
pub use crate::support::mlp::{Batch, Mlp};

impl LossName {
    /// The loss of a batch: what is trained on, and what is measured.
    pub fn of(self, model: &Mlp, (features, one_hot): Batch) -> Tensor<1> {
        let outputs = model.forward(features);
        match self {
            Self::Mse => squared_error(outputs, one_hot),
            Self::Ce => -(log_softmax(outputs, 1) * one_hot).sum_dim(1).mean(),
        }
    }

    /// The loss in words. Its scale is the scale of every sharpness.
    pub fn description(self) -> &'static str {
        match self {
            Self::Mse => {
                "squared error: mean over samples of the sum over classes, one-hot labels, no 1/2"
            }
            Self::Ce => "cross-entropy: mean over samples",
        }
    }
}
