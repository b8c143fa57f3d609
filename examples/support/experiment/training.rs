//! A run of an image network by one of burn's optimizers.

use std::path::Path;

use serde::Serialize;

use super::images::{Architecture, ImageOptions, Images, LossName, Network};
use super::run::{Finished, Job};
use super::schedule::{Schedule, Stage};
use super::update::{Optimized, Optimizer, Update};
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
        let mut update = Optimized::new(self.optimizer, self.loss.closure());
        self.run_by(options, data, folder, &self.title(data), &mut update)
    }

    /// [`run`](Self::run) with the steps of `update`, and this title.
    pub fn run_by(
        &self,
        options: &ImageOptions,
        data: &Images,
        folder: &Path,
        title: &str,
        update: &mut dyn Update<Network, Batch>,
    ) -> Result<Finished<Network>> {
        let device = options.device.open()?.autodiff();
        let seed = options.seed;
        let setting = Setting {
            data: &data.description,
            architecture: &self.architecture,
            loss: self.loss,
            init_scale: self.init_scale,
            optimizer: self.optimizer,
            schedule: &self.schedule,
            seed,
        };
        let job = Job {
            folder,
            title,
            setting: &setting,
            schedule: &self.schedule,
            seed,
            device: options.device.name(),
            data: &data.batch,
            loss: self.loss.closure(),
        };
        job.run(self.architecture.init(data, self.init_scale, seed, &device), update)
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
