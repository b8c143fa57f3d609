//! The monitor inside burn-train's `SupervisedTraining` (feature `train`).
//!
//! [`Monitored`] wraps a model together with a monitor, which has the loss, and is trained in the model's
//! place. What is measured appears in the dashboard and in the metric files beside loss and accuracy.
//!
//! # In a supervised training
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use burn::data::dataloader::DataLoader;
//! # use burn::module::Module;
//! # use burn::nn::Linear;
//! # use burn::optim::SgdConfig;
//! # use burn::tensor::Tensor;
//! # use burn_train::metric::LossMetric;
//! # use burn_train::{InferenceStep, Learner, RegressionOutput, SupervisedTraining, TrainOutput, TrainStep};
//! # type Batch = (Tensor<2>, Tensor<2>);
//! # #[derive(Module, Debug)]
//! # struct Net { layer: Linear }
//! # impl Net {
//! #     fn output(&self, (x, y): Batch) -> RegressionOutput {
//! #         let predicted = self.layer.forward(x);
//! #         let loss = (predicted.clone() - y.clone()).powi_scalar(2).sum_dim(1).mean();
//! #         RegressionOutput::new(loss, predicted, y)
//! #     }
//! # }
//! # impl TrainStep for Net {
//! #     type Input = Batch;
//! #     type Output = RegressionOutput;
//! #     fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
//! #         let output = self.output(batch);
//! #         TrainOutput::new(self, output.loss.backward(), output)
//! #     }
//! # }
//! # impl InferenceStep for Net {
//! #     type Input = Batch;
//! #     type Output = RegressionOutput;
//! #     fn step(&self, batch: Batch) -> RegressionOutput { self.output(batch) }
//! # }
//! # fn loss(net: &Net, batch: Batch) -> Tensor<1> {
//! #     net.output(batch).loss
//! # }
//! # fn run(
//! #     model: Net, data: Batch, train: Arc<dyn DataLoader<Batch>>, valid: Arc<dyn DataLoader<Batch>>,
//! # ) -> Result<(), burn_sharpness::Error> {
//! use burn_sharpness::prelude::*;
//! use burn_sharpness::train::{Monitored, SharpnessMetric};
//!
//! let monitor = SharpnessMonitorConfig::new(8).init(loss)?; // the batch size, and what the steps minimize
//! let model = Monitored::new(model, monitor, data);
//! let training = SupervisedTraining::new("out", train, valid)
//!     .metric_train_numeric(LossMetric::new())
//!     .metric_train_numeric(SharpnessMetric::ratio())
//!     .num_epochs(10);
//! let result = training.launch(Learner::new(model, SgdConfig::new().init(), 0.1));
//! if let Some(error) = result.model.error() {
//!     eprintln!("a measurement failed: {error}"); // the training went on without it
//! }
//! let (history, model) = (result.model.history(), result.model.into_inner());
//! # Ok(())
//! # }
//! ```
//!
//! `data` is the training set, or a part of it: one batch in memory, or any other [`Samples`](crate::Samples)
//! with batches of that type, such as burn's `Dataset` and `Batcher`
//! ([`DatasetSamples`](crate::DatasetSamples)). Measurements draw their mini-batches from it and run on the
//! device of the model. The type of the data loader's batches has to be a [`Batch`](crate::Batch):
//! [`batch!`](crate::batch!) makes it one.
//!
//! Metrics of validation are as before; those of sharpness are for the training split
//! (`metric_train_numeric`), and [`SharpnessMetric::of`] gives every measured quantity.
//!
//! # Stopping
//!
//! When the ratio to the threshold stays above a number, within an epoch:
//!
//! ```ignore
//! let training = SupervisedTraining::new(dir, train, valid);
//! let model = Monitored::new(model, monitor, data).stop_beyond(1.5, 3, training.interrupter());
//! ```
//!
//! At the end of an epoch, burn's own criteria take the metric: `MetricEarlyStoppingStrategy` ends a
//! training whose ratio has not improved for some epochs, `MetricCheckpointingStrategy` keeps the checkpoint
//! with the smallest (or largest) one. A criterion of another form is an `EarlyStoppingStrategy` that asks
//! burn's store for the metric by its name, or an [`Observe`](crate::observe::Observe) sink of the monitor that
//! calls an `Interrupter`.
//!
//! # Resuming
//!
//! ```ignore
//! let training = SupervisedTraining::new(dir, train, valid)
//!     .with_default_checkpointers()
//!     .with_checkpointing_strategy(model.checkpoints("out/checkpoint", KeepLastNCheckpoints::new(2)))
//!     .checkpoint(2); // when it is resumed
//! ```
//!
//! Each checkpoint of the model then has the monitor's file beside it, with the whole history. When burn
//! restores the model, the file of these weights is found by itself, and the run goes on as if it had not
//! stopped: the same rows, bit for bit, as far as burn's data loaders give the same batches
//! (a shuffled one begins its order anew) and with a budget that is counted or unlimited.
//! Without a file for the restored weights the training does not start. A
//! [`HistoryFile`](crate::observe::HistoryFile) among the sinks is continued with its `resume` at the number of
//! updates, the second number in the name of the monitor's file.
//!
//! # What is measured where
//!
//! * A row belongs to an update: its step is the number of updates before, and its learning rate that of the
//!   update, whatever the schedule. Measurements come after the forward and backward pass of the step,
//!   at the same parameters, so that parameters are initialized in the order of a training without them;
//!   with [`Mode::Eval`](crate::Mode::Eval) running statistics have seen the batch of the step.
//! * With `grads_accumulation(k)` burn hands the *sum* of k gradients to the optimizer. The loss that is
//!   followed is k times the mean loss, so the threshold of the row is that of η divided by k (by the number
//!   that were summed: fewer at the end of an epoch). The batch of an update is k batches of the loader;
//!   give the monitor that batch size. The same holds for `MultiDevice`, which sums over its workers.
//! * With several learning rates in one model (`ModuleLrScheduler::with_group`) there is no single
//!   threshold, and rows have none.
//! * On several devices one worker measures, the one that comes first; the others do not wait for it, except
//!   at the update. Later rows are measured on its device. With `DistributedDataParallel` gradients are
//!   expected to be reduced to their mean.
//! * Epochs are counted by validations: burn makes one after each. Before the first, an epoch is
//!   `step · batch_size / samples`.
//! * A measurement that fails does not stop the training: its row has the message, the metric no value, and
//!   [`Monitored::error`] the first of such errors.

mod checkpoints;
mod metric;
mod module;
mod monitored;
mod output;
mod probe;
mod shared;
mod step;

pub use checkpoints::MonitorCheckpoints;
pub use metric::SharpnessMetric;
pub use monitored::Monitored;
pub use output::{Forward, MonitoredOutput, SharpnessInput};
