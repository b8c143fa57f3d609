//! The network and its losses.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};

use crate::options::LossName;

/// Features and one-hot labels.
pub type Batch = (Tensor<2>, Tensor<2>);

/// Fully connected layers with ReLU between them.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// `widths`: of the input, of each hidden layer, of the output. Weights are normal with standard
    /// deviation `scale`·√(2/inputs), biases zero.
    ///
    /// The weights are drawn on the host, so that a seed means the same network on every device.
    pub fn new(widths: &[usize], scale: f64, seed: u64, device: &Device) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let layer = |ends: &[usize]| {
            let (inputs, outputs) = (ends[0], ends[1]);
            let deviation = scale * (2.0 / inputs as f64).sqrt();
            let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
            let weight: Vec<f32> =
                (0..inputs * outputs).map(|_| (deviation * normal()) as f32).collect();
            let weight = Tensor::from_data(TensorData::new(weight, [inputs, outputs]), device);
            let bias = Tensor::zeros([outputs], device);
            Linear { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)) }
        };
        Self { layers: widths.windows(2).map(layer).collect() }
    }

    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let mut x = features;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(if i == 0 { x } else { relu(x) });
        }
        x
    }
}

impl LossName {
    /// The loss of a batch: what is trained on, and what is measured.
    pub fn of(self, model: &Mlp, (features, one_hot): Batch) -> Tensor<1> {
        let outputs = model.forward(features);
        match self {
            Self::Mse => (outputs - one_hot).powi_scalar(2).sum_dim(1).mean(),
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
