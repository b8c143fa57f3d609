//! What the benchmarks measure: the gradient and the Hessian-vector product of one network on one
//! batch, with values that the peers' scripts reproduce bit for bit.

#![allow(dead_code)] // not every benchmark uses everything

pub mod allocator;
pub mod clock;
pub mod learnable;
pub mod report;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use burn_sharpness::graph::{CompiledHessian, LossGraph, ModelState};
use burn_sharpness::operator::{LaneVectors, Lanes};
use burn_sharpness::{HessianOperator, LinearOperator, ParamBlock, ParamVector};

/// Widths of the network: input, two hidden layers with ReLU, classes.
pub const WIDTHS: [usize; 4] = [3072, 512, 512, 10];
/// Classes of every task.
pub const CLASSES: usize = WIDTHS[3];

/// Numbers of samples per batch.
pub const BATCH_SIZES: [usize; 4] = [8, 64, 256, 1024];

/// The loss that is measured.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Mean over samples.
    CrossEntropy,
    /// Mean over samples of the sum over classes, on one-hot targets.
    Mse,
}

impl Loss {
    pub const ALL: [Self; 2] = [Self::CrossEntropy, Self::Mse];

    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::Mse => "mse",
        }
    }

    /// The loss of the network on a batch.
    pub fn function(self) -> impl Fn(&Mlp, Batch) -> Tensor<1> + Copy + use<> {
        move |model, (x, labels, targets)| {
            let outputs = model.forward(x);
            match self {
                Self::CrossEntropy => {
                    let loss = CrossEntropyLossConfig::new().init(&outputs.device());
                    loss.forward(outputs, labels)
                }
                Self::Mse => (outputs - targets).powi_scalar(2).sum_dim(1).mean(),
            }
        }
    }
}

#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// The network at initialization.
    pub fn new(device: &Device) -> Self {
        let layer = |(i, width): (usize, &[usize])| {
            // The scale of burn's and PyTorch's default for linear layers.
            let bound = 1.0 / (width[0] as f32).sqrt();
            let stream = 10 + 2 * i as u64;
            let weight = floats(stream, &[width[0], width[1]], bound);
            let bias = floats(stream + 1, &[width[1]], bound);
            Linear {
                weight: Param::from_tensor(Tensor::from_data(weight, device)),
                bias: Some(Param::from_tensor(Tensor::from_data(bias, device))),
            }
        };
        Self { layers: WIDTHS.windows(2).enumerate().map(layer).collect() }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        let layers = self.layers.iter().enumerate();
        layers.fold(x, |x, (i, layer)| {
            let y = layer.forward(x);
            if i == last { y } else { relu(y) }
        })
    }
}

/// Inputs, labels, one-hot labels.
pub type Batch = (Tensor<2>, Tensor<1, Int>, Tensor<2>);

/// One model, batch and loss.
pub struct Case {
    pub loss: Loss,
    device: Device,
    pub model: Mlp,
    pub batch: Batch,
}

impl Case {
    pub fn new(loss: Loss, batch_size: usize) -> Self {
        let device = Device::flex().autodiff();
        let inputs = floats(1, &[batch_size, WIDTHS[0]], 3.0_f32.sqrt());
        let labels: Vec<i64> =
            (0..batch_size as u64).map(|i| (hash(2, i) % CLASSES as u64) as i64).collect();
        let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
        let targets = labels.clone().one_hot::<2>(CLASSES).float();
        let batch = (Tensor::from_data(inputs, &device), labels, targets);
        Self::of(loss, Mlp::new(&device), batch)
    }

    pub fn of(loss: Loss, model: Mlp, batch: Batch) -> Self {
        let device = batch.0.device();
        Self { loss, device, model, batch }
    }

    /// One gradient by burn's own autodiff: what a training step pays before its optimizer.
    pub fn gradient(&self) -> Gradients {
        let gradients = self.loss.function()(&self.model, self.batch.clone()).backward();
        self.sync();
        gradients
    }

    /// The primal pass. From the second call on it also records the loss and finds it compiled,
    /// but does no other graph work.
    pub fn primal(&self) -> HessianOperator {
        let operator = HessianOperator::new(&self.model, self.batch.clone(), self.loss.function());
        let operator = operator.expect("the network is supported");
        self.sync();
        operator
    }

    /// The tangent pass: one Hessian-vector product.
    pub fn tangent(&self, operator: &HessianOperator, v: &ParamVector) -> ParamVector {
        let product = operator.apply(v).expect("the vector fits");
        self.sync();
        product
    }

    /// One product for each vector of a block.
    pub fn tangents(&self, operator: &HessianOperator, block: &ParamBlock) -> ParamBlock {
        let products = operator.apply_block(block).expect("the vectors fit");
        self.sync();
        products
    }

    /// Records the loss: the graph work that every primal pass repeats.
    pub fn record(&self) -> LossGraph {
        let state = ModelState::of(&self.model).expect("the model has parameters");
        LossGraph::capture(&self.model, &state, &self.batch, &self.loss.function())
            .expect("the loss can be recorded")
    }

    /// All graph work from the closure to two programs, which happens once per kind of loss.
    pub fn prepare(&self) -> CompiledHessian {
        let gradient = self.record().differentiate().expect("burn differentiates the loss");
        gradient.push_forward().expect("every operation has a rule").linearize().compile()
    }

    /// The vector of the products.
    pub fn direction(&self, operator: &HessianOperator) -> ParamVector {
        direction(operator)
    }

    fn sync(&self) {
        self.device.sync().expect("the device works");
    }
}

/// The vector of the products of any network.
pub fn direction(operator: &HessianOperator) -> ParamVector {
    let values: Vec<f64> = (0..operator.dim() as u64).map(|i| f64::from(unit(3, i))).collect();
    operator.space().from_values(&values).expect("one value per parameter")
}

/// One product as a solver's step computes it, in row-space vectors: from images to coordinates, and
/// from these to images.
pub fn row_space_product(lanes: &dyn Lanes, images: &Tensor<2>) -> LaneVectors {
    let coordinates = lanes.apply(images).expect("the images fit");
    let product = LaneVectors::new(lanes, coordinates).expect("the coordinates fit");
    lanes.space().device().sync().expect("the device works");
    product
}

/// `SplitMix64` at position `i` of a stream: the same numbers in every language with 64-bit
/// integers, and no order of calls to keep.
pub fn hash(stream: u64, i: u64) -> u64 {
    let mut z = ((stream << 40) | i).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform in [-1, 1), a multiple of 2⁻²³, so that f32 holds it exactly.
fn unit(stream: u64, i: u64) -> f32 {
    (hash(stream, i) >> 40) as f32 / 8_388_608.0 - 1.0
}

/// Uniform in [-bound, bound).
pub fn floats(stream: u64, shape: &[usize], bound: f32) -> TensorData {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n as u64).map(|i| bound * unit(stream, i)).collect();
    TensorData::new(values, shape.to_vec())
}
