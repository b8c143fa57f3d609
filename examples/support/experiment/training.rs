//! A run of an image network by one of burn's optimizers.

use std::path::Path;

use serde::Serialize;

use super::images::{Architecture, ImageOptions, Images, LossName, Network};
use super::run::{Finished, Job};
use super::schedule::{Schedule, Stage};
use super::update::{Optimized, Optimizer};
use crate::support::error::Result;
use crate::support::mlp::Batch;

/// Everything that determines a run, but for the options that all runs of an experiment share.
#[derive(Clone, Debug)]
pub struct Training {
    pub architecture: Architecture,
    pub loss: LossName,
    pub init_scale: f64,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
}

/// As it is written into the folder.
#[derive(Clone, Debug, Serialize)]
struct Setting<'a> {
    data: &'a str,
    architecture: &'a Architecture,
    loss: LossName,
    init_scale: f64,
    optimizer: Optimizer,
    schedule: &'a Schedule,
    seed: u64,
}

impl Training {
    /// Trains from where the folder stands to the end.
    pub fn run(
        &self,
        options: &ImageOptions,
        data: &Images,
        folder: &Path,
    ) -> Result<Finished<Network>> {
        let device = options.device.open()?.autodiff();
        let Self { architecture, loss: which, init_scale, optimizer, schedule } = self;
        let (which, seed) = (*which, options.seed);
        let setting = Setting {
            data: &data.description,
            architecture,
            loss: which,
            init_scale: *init_scale,
            optimizer: *optimizer,
            schedule,
            seed,
        };
        let title = self.title(data);
        let loss = move |model: &Network, batch: Batch| which.of(model, batch);
        let job = Job {
            folder,
            title: &title,
            setting: &setting,
            schedule,
            seed,
            device: options.device.name(),
            data: &data.batch,
            loss,
        };
        let model = architecture.init(data, *init_scale, seed, &device);
        job.run(model, &mut Optimized::new(*optimizer, loss))
    }

    fn title(&self, data: &Images) -> String {
        let stage = |stage: &Stage| format!("η = {}, b = {}", stage.lr, stage.batch_size);
        let stages: Vec<String> = self.schedule.stages.iter().map(stage).collect();
        format!(
            "{}, {}, {}, {}, {}",
            data.name(),
            self.architecture.describe(),
            self.loss.describe(),
            self.optimizer.describe(),
            stages.join(", then ")
        )
    }
}
