//! The network, its loss and its training.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Tensor};

use crate::support::error::{ExampleError, Result};

/// Features and one-hot labels.
pub type Pairs = (Tensor<2>, Tensor<2>);

const WIDTH: usize = 64;

/// Two hidden layers with tanh: smooth, so that the Hessian is all there is to curvature.
#[derive(Module, Debug)]
pub struct Network {
    first: Linear,
    second: Linear,
    head: Linear,
}

impl Network {
    pub fn new(inputs: usize, classes: usize, device: &Device) -> Self {
        let layer = |from, to| LinearConfig::new(from, to).init(device);
        let (first, second) = (layer(inputs, WIDTH), layer(WIDTH, WIDTH));
        Self { first, second, head: layer(WIDTH, classes) }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.head.forward(tanh(self.second.forward(tanh(self.first.forward(x)))))
    }
}

/// Squared error: mean over samples of the sum over classes.
pub fn loss_of_outputs(f: Tensor<2>, (_, y): Pairs) -> Tensor<1> {
    (f - y).powi_scalar(2).sum_dim(1).mean()
}

pub fn loss(model: &Network, batch: Pairs) -> Tensor<1> {
    loss_of_outputs(model.forward(batch.0.clone()), batch)
}

/// Gradient descent on all samples.
pub fn train(mut model: Network, batch: &Pairs, lr: f64, steps: usize) -> Result<Network> {
    let mut optimizer = SgdConfig::new().init();
    for step in 0..steps {
        let value = loss(&model, batch.clone());
        let gradients = GradientsParams::from_grads(value.backward(), &model);
        let value: f64 = value.into_scalar();
        if !value.is_finite() {
            return Err(ExampleError::Diverged { step, loss: value, lr });
        }
        model = optimizer.step(lr, model, gradients);
    }
    Ok(model)
}
