//! A small training run that the tests share.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData, activation::tanh};

#[derive(Module, Debug)]
pub struct Net {
    pub hidden: Linear,
    pub output: Linear,
}

pub type Batch = (Tensor<2>, Tensor<2>);

pub fn loss(net: &Net, (x, y): Batch) -> Tensor<1> {
    let decay = net.output.weight.val().powi_scalar(2).sum().mul_scalar(1e-3);
    let predicted = net.output.forward(tanh(net.hidden.forward(x)));
    decay + (predicted - y).powi_scalar(2).sum_dim(1).mean()
}

pub const N: usize = 64;
pub const BATCH: usize = 8;
pub const ETA: f64 = 0.05;

/// Numbers in [-1, 1] that look random and are the same everywhere.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn tensor(shape: [usize; 2], seed: u64, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(numbers(shape[0] * shape[1], seed), shape), device)
}

pub fn data() -> Batch {
    let device = Device::flex();
    (tensor([N, 3], 1, &device), tensor([N, 2], 2, &device))
}

pub fn net() -> Net {
    let device = Device::flex().autodiff();
    let linear = |inputs, outputs, seed| {
        let mut linear = LinearConfig::new(inputs, outputs).with_bias(false).init(&device);
        linear.weight = Param::from_tensor(tensor([inputs, outputs], seed, &device));
        linear
    };
    Net { hidden: linear(3, 6, 3), output: linear(6, 2, 4) }
}

/// SGD on consecutive batches.
pub struct Training {
    pub net: Net,
    pub step: usize,
    optimizer: ModuleOptimizer,
    data: Batch,
}

impl Training {
    pub fn new() -> Self {
        Self::from(net(), 0)
    }

    pub fn from(net: Net, step: usize) -> Self {
        Self { net, step, optimizer: SgdConfig::new().init(), data: data() }
    }

    pub fn batch(&self) -> Batch {
        let start = self.step * BATCH % N;
        let part = |x: &Tensor<2>| x.clone().narrow(0, start, BATCH);
        (part(&self.data.0), part(&self.data.1))
    }

    pub fn update(&mut self) {
        let device = Device::flex().autodiff();
        let (x, y) = self.batch();
        let batch = (x.to_device(&device), y.to_device(&device));
        let gradients = loss(&self.net, batch).backward();
        let gradients = GradientsParams::from_grads(gradients, &self.net);
        self.net = self.optimizer.step(ETA, self.net.clone(), gradients);
        self.step += 1;
    }

    /// All weights, bit by bit.
    pub fn bits(&self) -> Vec<u32> {
        let values =
            |linear: &Linear| linear.weight.val().into_data().iter::<f32>().collect::<Vec<_>>();
        let all = [values(&self.net.hidden), values(&self.net.output)].concat();
        all.into_iter().map(f32::to_bits).collect()
    }
}
