//! With the wrapper the training is bit for bit the one without.

use std::sync::Mutex;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::{SgdConfig, momentum::MomentumConfig};
use burn::tensor::{Device, Tensor};
use burn_sharpness::train::Monitored;
use burn_train::{InferenceStep, Learner, LearnerModel, RegressionOutput, TrainOutput, TrainStep};

use crate::setup::{Batch, Folder, config, data, training};

/// Uses its layers in another order than it has them, and noise.
#[derive(Module, Debug)]
struct Noisy {
    second: Linear,
    first: Linear,
    dropout: Dropout,
}

impl Noisy {
    /// Parameters of burn are drawn at their first use.
    fn new(device: &Device) -> Self {
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self { second: linear(5, 2), first: linear(3, 5), dropout: DropoutConfig::new(0.3).init() }
    }

    fn output(&self, (x, y): Batch) -> RegressionOutput {
        let predicted = self.second.forward(self.dropout.forward(self.first.forward(x)));
        let loss = (predicted.clone() - y.clone()).powi_scalar(2).sum_dim(1).mean();
        RegressionOutput::new(loss, predicted, y)
    }
}

fn loss(model: &Noisy, batch: Batch) -> Tensor<1> {
    model.output(batch).loss
}

impl TrainStep for Noisy {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        let output = self.output(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Noisy {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        self.output(batch)
    }
}

/// The random stream of a device is global.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn trained<M>(name: &str, wrap: impl FnOnce(Noisy) -> M) -> Vec<u8>
where
    M: LearnerModel + TrainStep<Input = Batch> + InferenceStep<Input = Batch>,
{
    let dir = Folder::new(name);
    let device = Device::flex().autodiff();
    device.seed(7);
    let model = wrap(Noisy::new(&device));
    let momentum = MomentumConfig::new();
    let optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let training = training::<M>(dir.root()).num_epochs(3);
    let result = training.launch(Learner::new(model, optimizer, 0.05));
    // Ids of parameters differ from run to run, so bytes of tensors alone.
    let record = result.model.into_record().into_bytes().unwrap();
    let tensors = burn_pack::Reader::from_bytes(record).unwrap().into_tensors().unwrap();
    let mut parts: Vec<_> = tensors.into_iter().map(|t| t.into_parts().unwrap()).collect();
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts.into_iter().flat_map(|(_, _, _, _, bytes)| bytes.to_vec()).collect()
}

#[test]
fn weights_with_and_without_the_monitor_are_the_same() {
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let without = trained("without", |model| model);
    let with = trained("with", |model| Monitored::new(model, config().init(loss).unwrap(), data()));
    assert_eq!(with, without);
    assert_eq!(with.len(), 4 * (3 * 5 + 5 + 5 * 2 + 2));
    // Two seeds would differ: the comparison sees weights.
    assert_ne!(without, vec![0; without.len()]);
}

#[test]
fn parameters_are_drawn_in_the_order_of_the_step() {
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let device = Device::flex().autodiff();
    let drawn = |step: &dyn Fn(Noisy) -> Noisy| {
        device.seed(11);
        let model = step(Noisy::new(&device));
        let weight = |linear: &Linear| linear.weight.val().into_data().try_to_vec::<f32>().unwrap();
        [weight(&model.first), weight(&model.second)].concat()
    };
    let batch = || crate::setup::batch(0);
    let bare = drawn(&|model| {
        TrainStep::step(&model, batch());
        model
    });
    let monitored = drawn(&|model| {
        let model = Monitored::new(model, config().init(loss).unwrap(), data());
        TrainStep::step(&model, batch());
        model.into_inner()
    });
    assert_eq!(monitored, bare);
    // In the order of its fields the model would have other weights.
    let by_fields = drawn(&|model| model.valid());
    assert_ne!(by_fields, bare);
}
