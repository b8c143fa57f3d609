//! A training that is measured, recorded, and goes on where it was stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Tensor;
use burn_sharpness::observe::{History, HistoryFile, SharpnessMonitor, TrainingStep};
use burn_sharpness::plot;
use burn_sharpness::prelude::*;
use burn_sharpness::{Batch, Error};
use serde::Serialize;

use super::checkpoint::{self, Checkpoint};
use super::folder::RunFolder;
use super::progress::Progress;
use super::schedule::{Schedule, Stage};
use super::update::Update;
use crate::support::error::{ExampleError, Result};
use crate::support::order::Order;

/// Between checkpoints and pictures: what is lost at most when a run is stopped.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(60);

/// What is run where.
pub struct Job<'a, T, B, F> {
    /// The folder of the run.
    pub folder: &'a Path,
    /// What stands above the picture, and before the bar.
    pub title: &'a str,
    /// Everything that determines the run.
    pub setting: &'a T,
    pub schedule: &'a Schedule,
    pub seed: u64,
    /// The name of the device, for the record.
    pub device: &'a str,
    /// The training set.
    pub data: &'a B,
    /// What is trained and measured.
    pub loss: F,
}

/// A run that came to its end.
pub struct Finished<M> {
    pub history: History,
    pub model: M,
    /// Wall time of all its parts.
    pub seconds: f64,
}

/// Streams of random numbers, all from the seed of the run.
#[derive(Clone, Copy)]
pub enum Stream {
    Weights,
    Order,
    Measurements,
    Noise,
}

impl Stream {
    pub fn seed(self, seed: u64) -> u64 {
        seed.wrapping_mul(1000).wrapping_add(self as u64 * 10)
    }
}

/// What changes from step to step.
struct State<M, F> {
    /// The step that comes next.
    step: usize,
    model: M,
    stage: usize,
    monitor: SharpnessMonitor<F>,
    order: Order,
}

impl<T, B, F> Job<'_, T, B, F>
where
    T: Serialize,
    B: Batch + Samples<Batch = B>,
    F: Clone,
{
    /// Trains `model` by `update` from where the folder stands to the end.
    ///
    /// # Errors
    /// [`ExampleError::Diverged`], also where it is a measurement that finds numbers that are none, after writing what
    /// was measured until then; what measuring and files raise.
    pub fn run<M>(&self, model: M, update: &mut dyn Update<M, B>) -> Result<Finished<M>>
    where
        M: Module,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let folder = RunFolder::open(self.folder, self.setting)?;
        let total = self.schedule.steps();
        if folder.is_finished(total)?
            && let Some(end) = checkpoint::latest(&folder.path)?
        {
            let history = History::read(&folder.history())?;
            let model = load_model(model, &end.path)?;
            return Ok(Finished { history, model, seconds: folder.seconds()? });
        }
        let mut state = self.begin(&folder, model, update)?;
        let began = Instant::now();
        folder.begin_part(state.step, self.device)?;
        let result = self.go_on(&folder, &mut state, update, began);
        folder.continue_part(state.step, began.elapsed().as_secs_f64())?;
        self.draw(&folder)?;
        result?;
        folder.finish(total)?;
        let history = History::read(&folder.history())?;
        Ok(Finished { history, model: state.model, seconds: folder.seconds()? })
    }

    /// The state at the latest checkpoint, or at the start.
    fn begin<M>(
        &self,
        folder: &RunFolder,
        model: M,
        update: &mut dyn Update<M, B>,
    ) -> Result<State<M, F>>
    where
        M: Module,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let order = Order::new(self.data.n_samples()?, Stream::Order.seed(self.seed));
        let found = checkpoint::latest(&folder.path)?;
        let step = found.as_ref().map_or(0, |checkpoint| checkpoint.step);
        let (stage, _) = self.schedule.stage_at(step);
        let monitor = self.monitor(folder, stage, step, update)?;
        let mut state = State { step, model, stage, monitor, order };
        if let Some(Checkpoint { path, .. }) = found {
            state.model = load_model(state.model, &path)?;
            state.monitor.load(&path.join("monitor.bpk"), &state.model)?;
            update.load(&path)?;
            for done in 0..step {
                state.order.next_batch(self.stage_at(done).batch_size);
            }
        }
        Ok(state)
    }

    fn stage_at(&self, step: usize) -> Stage {
        self.schedule.stages[self.schedule.stage_at(step).0]
    }

    fn monitor<M>(
        &self,
        folder: &RunFolder,
        stage: usize,
        step: usize,
        update: &dyn Update<M, B>,
    ) -> Result<SharpnessMonitor<F>> {
        let config = self.schedule.monitor(stage, Stream::Measurements.seed(self.seed));
        let mut monitor = config.init(self.loss.clone())?;
        monitor = monitor.with_sink(HistoryFile::resume(&folder.history(), step)?);
        let n_samples = self.data.n_samples()?;
        if let Some(edge) = update.edge(&self.schedule.stages[stage], n_samples)? {
            monitor = monitor.with_edge(edge);
        }
        if let Some(watched) = update.watched() {
            monitor = monitor.with_watched(watched);
        }
        Ok(monitor)
    }

    /// Changes the monitor where a stage begins.
    fn enter_stage<M>(
        &self,
        folder: &RunFolder,
        state: &mut State<M, F>,
        update: &dyn Update<M, B>,
    ) -> Result<()> {
        let (stage, _) = self.schedule.stage_at(state.step);
        if stage != state.stage {
            state.monitor = self.monitor(folder, stage, state.step, update)?;
            state.stage = stage;
        }
        Ok(())
    }

    fn go_on<M>(
        &self,
        folder: &RunFolder,
        state: &mut State<M, F>,
        update: &mut dyn Update<M, B>,
        began: Instant,
    ) -> Result<()>
    where
        M: Module,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let total = self.schedule.steps();
        let mut progress = Progress::new(self.title, state.step, total);
        let mut saved = began;
        loop {
            self.enter_stage(folder, state, update)?;
            let is_last = state.step >= total;
            // At the end before the last row, which would be another one if the run got more steps.
            if is_last || saved.elapsed() > BETWEEN_CHECKPOINTS {
                self.save(folder, state, update)?;
                folder.continue_part(state.step, began.elapsed().as_secs_f64())?;
                self.draw(folder)?;
                saved = Instant::now();
            }
            self.step(state, update, &mut progress)?;
            if is_last {
                break;
            }
            state.step += 1;
        }
        progress.finish();
        Ok(())
    }

    /// Measures what is due and makes the step; at the end there is none to make.
    fn step<M>(
        &self,
        state: &mut State<M, F>,
        update: &mut dyn Update<M, B>,
        progress: &mut Progress,
    ) -> Result<()>
    where
        M: Module,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let State { step, model, monitor, order, stage } = state;
        let (step, stage, data) = (*step, self.schedule.stages[*stage], self.data);
        let failed = |source| match source {
            Error::NonFinite { value, .. } => {
                ExampleError::Diverged { step, loss: value, lr: stage.lr }
            }
            source => ExampleError::Measurement { step, source },
        };
        let at = TrainingStep::new(step).with_learning_rate(stage.lr);
        let is_last = step == self.schedule.steps();
        if step.is_multiple_of(self.schedule.every) || is_last {
            for (name, value) in update.notes(step, model, data)? {
                monitor.note(&name, value)?;
            }
        }
        if is_last {
            if let Some(row) = monitor.observe(at, model, data).map_err(failed)? {
                progress.measured(row);
            }
            return Ok(());
        }
        let batch = data.select(order.next_batch(stage.batch_size))?;
        if let Some(row) = monitor.observe_with_batch(at, model, data, &batch).map_err(failed)? {
            progress.measured(row);
        }
        let (next, loss) = update.step(step, &stage, model.clone(), batch)?;
        *model = next;
        progress.stepped(step + 1, loss);
        Ok(())
    }

    fn save<M: Module>(
        &self,
        folder: &RunFolder,
        state: &mut State<M, F>,
        update: &dyn Update<M, B>,
    ) -> Result<()> {
        let State { step, model, monitor, .. } = state;
        checkpoint::write(&folder.path, *step, |path| {
            let file = path.join("model.bpk");
            model.clone().save_file(&file).map_err(|e| ExampleError::write(&file, e))?;
            monitor.save(&path.join("monitor.bpk"), model)?;
            update.save(path)
        })
    }

    /// Renews the picture, if there is anything to draw.
    fn draw(&self, folder: &RunFolder) -> Result<()> {
        let history = History::read(&folder.history())?;
        if history.measures().is_empty() {
            return Ok(());
        }
        let picture = plot::training(&history)?.with_title(self.title);
        picture.save(&folder.path, "training")?;
        Ok(())
    }
}

/// `model` with the weights of a checkpoint.
pub fn load_model<M: Module>(model: M, checkpoint: &Path) -> Result<M> {
    let file = checkpoint.join("model.bpk");
    model.try_load_file(&file).map_err(|e| ExampleError::checkpoint(&file, e))
}

#[cfg(test)]
mod tests;
