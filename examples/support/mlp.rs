//! The network of the examples that train on digits, and its training.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};

use super::error::{ExampleError, Result};
use super::order::Order;

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

    /// From the input to the output.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let mut x = features;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(if i == 0 { x } else { relu(x) });
        }
        x
    }
}

/// Mean over the samples of ‖outputs − one_hot‖².
pub fn squared_error(outputs: Tensor<2>, one_hot: Tensor<2>) -> Tensor<1> {
    (outputs - one_hot).powi_scalar(2).sum_dim(1).mean()
}

/// The samples with these numbers.
pub fn select((features, one_hot): &Batch, samples: &[usize]) -> Batch {
    let indices: Vec<i64> = samples.iter().map(|i| *i as i64).collect();
    let indices = Tensor::<1, Int>::from_data(indices.as_slice(), &features.device());
    (features.clone().select(0, indices.clone()), one_hot.clone().select(0, indices))
}

/// The squared error of a batch.
pub fn loss(model: &Mlp, (features, one_hot): Batch) -> Tensor<1> {
    squared_error(model.forward(features), one_hot)
}

/// Training on the squared error, which goes on where it stopped.
pub struct Training {
    order: Order,
    batch_size: usize,
    optimizer: ModuleOptimizer,
    lr: f64,
    step: usize,
}

impl Training {
    /// By `optimizer`, on batches of `batch_size` out of `n_samples` in the order of `seed`.
    pub fn new(
        optimizer: &SgdConfig,
        lr: f64,
        (n_samples, batch_size): (usize, usize),
        seed: u64,
    ) -> Result<Self> {
        if !(1..=n_samples).contains(&batch_size) {
            return Err(ExampleError::BatchSize {
                option: "batch-size",
                batch_size,
                samples: n_samples,
            });
        }
        let order = Order::new(n_samples, seed);
        Ok(Self { order, batch_size, optimizer: optimizer.init(), lr, step: 0 })
    }

    /// The model after `n_steps` more.
    pub fn run(&mut self, mut model: Mlp, data: &Batch, n_steps: usize) -> Result<Mlp> {
        for _ in 0..n_steps {
            let loss = loss(&model, select(data, self.order.next_batch(self.batch_size)));
            let value = loss.clone().into_scalar::<f64>();
            if !value.is_finite() {
                return Err(ExampleError::Diverged { step: self.step, loss: value, lr: self.lr });
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = self.optimizer.step(self.lr, model, gradients);
            self.step += 1;
        }
        Ok(model)
    }
}
