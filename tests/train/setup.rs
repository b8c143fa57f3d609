//! A small supervised training that the tests share.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::SgdConfig;
use burn::tensor::{Device, Tensor, TensorData, activation::tanh};
use burn_sharpness::observe::{Budget, Cadence, History, Measure, SharpnessMonitorConfig};
use burn_sharpness::train::{Monitored, SharpnessMetric};
use burn_train::checkpoint::KeepLastNCheckpoints;
use burn_train::metric::LossMetric;
use burn_train::{
    InferenceStep, Learner, LearnerModel, RegressionOutput, SupervisedTraining, TrainOutput,
    TrainStep,
};

use crate::plain::Plain;

pub use crate::folder::Folder;
pub use crate::timeless::timeless;

#[derive(Module, Debug)]
pub struct Net {
    pub hidden: Linear,
    pub output: Linear,
}

pub type Batch = (Tensor<2>, Tensor<2>);

impl Net {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.output.forward(tanh(self.hidden.forward(x)))
    }

    fn output(&self, (x, y): Batch) -> RegressionOutput {
        let predicted = self.forward(x);
        let loss = (predicted.clone() - y.clone()).powi_scalar(2).sum_dim(1).mean();
        RegressionOutput::new(loss, predicted, y)
    }
}

pub fn loss(net: &Net, batch: Batch) -> Tensor<1> {
    net.output(batch).loss
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        let output = self.output(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        self.output(batch)
    }
}

pub const N: usize = 40;
pub const BATCH: usize = 8;
/// Batches of an epoch.
pub const PER_EPOCH: usize = N / BATCH;
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

/// All samples.
pub fn data() -> Batch {
    let device = Device::flex();
    (tensor([N, 3], 1, &device), tensor([N, 2], 2, &device))
}

/// Batch number `i` of an epoch without shuffling, on the device of training.
pub fn batch(i: usize) -> Batch {
    let device = Device::flex().autodiff();
    let part = |x: Tensor<2>| x.narrow(0, i % PER_EPOCH * BATCH, BATCH).to_device(&device);
    let (x, y) = data();
    (part(x), part(y))
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

/// All weights, bit by bit.
pub fn bits(net: &Net) -> Vec<u32> {
    let values =
        |linear: &Linear| linear.weight.val().into_data().iter::<f32>().collect::<Vec<_>>();
    let all = [values(&net.hidden), values(&net.output)].concat();
    all.into_iter().map(f32::to_bits).collect()
}

struct Samples;

impl Batcher<usize, Batch> for Samples {
    fn batch(&self, items: Vec<usize>, device: &Device) -> Batch {
        let (x, y) = data();
        let rows = |x: &Tensor<2>| {
            let rows = items.iter().map(|i| x.clone().narrow(0, *i, 1)).collect();
            Tensor::cat(rows, 0).to_device(device)
        };
        (rows(&x), rows(&y))
    }
}

fn loader() -> Arc<dyn DataLoader<Batch>> {
    let items = InMemDataset::new((0..N).collect());
    DataLoaderBuilder::new(Samples).batch_size(BATCH).build(items)
}

/// A training in order, without output.
pub fn training<M>(dir: &Path) -> SupervisedTraining<M>
where
    M: LearnerModel + TrainStep<Input = Batch> + InferenceStep<Input = Batch>,
{
    SupervisedTraining::new(dir, loader(), loader())
        .renderer(Box::new(Plain))
        .with_application_logger(None)
}

/// Everything that a step has, at every step.
pub fn config() -> SharpnessMonitorConfig {
    SharpnessMonitorConfig::new(BATCH)
        .with_measures(vec![
            Measure::MiniBatchSharpness,
            Measure::BatchSharpness,
            Measure::StepSharpness,
        ])
        .with_cadence(Cadence::Every(2))
        .with_num_batches(4)
        .with_num_gradients(6)
        .with_budget(Budget::Unlimited)
}

pub fn monitored(config: &SharpnessMonitorConfig) -> Monitored<Net> {
    Monitored::new(net(), config.init(loss).unwrap(), data())
}

/// What a person would write.
pub fn metrics(training: SupervisedTraining<Monitored<Net>>) -> SupervisedTraining<Monitored<Net>> {
    training
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .metric_train_numeric(SharpnessMetric::ratio())
        .metric_train_numeric(SharpnessMetric::overhead())
        .metric_train_numeric(SharpnessMetric::of(Measure::MiniBatchSharpness))
        .metric_train_numeric(SharpnessMetric::of(Measure::StepSharpness))
}

pub fn learner<M>(model: M) -> Learner<M>
where
    M: LearnerModel,
{
    Learner::new(model, SgdConfig::new().init(), ETA)
}

/// With burn's checkpoints after every epoch.
pub fn with_checkpoints(
    training: SupervisedTraining<Monitored<Net>>,
    model: &Monitored<Net>,
    dir: &Folder,
) -> SupervisedTraining<Monitored<Net>> {
    let strategy = model.checkpoints(dir.path("checkpoint"), KeepLastNCheckpoints::new(2));
    training.with_default_checkpointers().with_checkpointing_strategy(strategy)
}

pub fn steps(history: &History) -> Vec<usize> {
    history.rows().iter().map(|row| row.step).collect()
}
