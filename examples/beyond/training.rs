//! What the parts on images share: data, network, and a run of a plan.

use std::path::PathBuf;

use crate::experiment::images::{
    Architecture, ImageOptions, Images, LossName, Network, check_batch_size,
};
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::training::Training;
use crate::experiment::update::{Optimized, Optimizer, Update};
use crate::report::Panel;
use crate::support::error::Result;
use crate::support::mlp::Batch;

/// A run to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In legends and tables.
    pub name: String,
    /// Of its folder.
    pub folder: String,
    pub loss: LossName,
    pub init_scale: f64,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    /// What sharpness is compared with: 1 in tables and figures.
    pub edge: f64,
}

impl Plan {
    /// Plain SGD on the squared error, measured `rows` times.
    pub fn sgd(stage: Stage, rows: usize) -> Self {
        let Stage { lr, batch_size, .. } = stage;
        Self {
            name: format!("η = {lr}, b = {batch_size}"),
            folder: format!("lr{lr}_b{batch_size}"),
            loss: LossName::Mse,
            init_scale: 0.2,
            optimizer: Optimizer::Sgd,
            schedule: Schedule { num_batches: 8, ..Schedule::of(stage, rows) },
            edge: 2.0 / lr,
        }
    }
}

/// The data and the network of a part.
pub struct Setup<'a> {
    options: &'a ImageOptions,
    architecture: Architecture,
    pub data: Images,
    /// Of the part.
    pub folder: PathBuf,
}

impl<'a> Setup<'a> {
    /// For the part `name`, which is quick with `quick_samples` digits.
    pub fn new(
        options: &'a ImageOptions,
        name: &str,
        quick_samples: Option<usize>,
    ) -> Result<Self> {
        let quick = options.is_quick();
        let width = if quick { 64 } else { 512 };
        let architecture = Architecture::Mlp { hidden: vec![width; 2] };
        let device = options.device.open()?.autodiff();
        let samples = options.samples.or(quick_samples.filter(|_| quick));
        let data = ImageOptions { samples, ..options.clone() }.data(&architecture, &device)?;
        println!("== {name} ==\ndata:    {}", data.description);
        println!("network: {}", architecture.describe());
        let folder = options.folder("beyond").join(name);
        Ok(Self { options, architecture, data, folder })
    }

    /// The data and the network, for titles.
    pub fn title(&self) -> String {
        format!("{}, {}", self.data.name(), self.architecture.describe())
    }

    /// The run of a plan.
    pub fn train(&self, plan: &Plan) -> Result<Panel> {
        self.train_by(plan, &mut Optimized::new(plan.optimizer, plan.loss.closure()))
    }

    /// The run of a plan whose steps are those of `update`.
    pub fn train_by(&self, plan: &Plan, update: &mut dyn Update<Network, Batch>) -> Result<Panel> {
        for stage in &plan.schedule.stages {
            check_batch_size("samples", stage.batch_size, self.data.n)?;
        }
        let training = Training {
            architecture: self.architecture.clone(),
            loss: plan.loss,
            init_scale: plan.init_scale,
            optimizer: plan.optimizer,
            schedule: plan.schedule.clone(),
        };
        let title = format!("{}, {}, {}", self.title(), plan.loss.describe(), plan.name);
        let path = self.folder.join(&plan.folder);
        let done = training.run_by(self.options, &self.data, &path, &title, update)?;
        Ok(Panel {
            name: plan.name.clone(),
            batch_size: plan.schedule.stages[0].batch_size,
            edge: plan.edge,
            history: done.history,
            seconds: done.seconds,
        })
    }
}
