//! A monitor in a file: what it needs to go on as if it had never stopped.
//!
//! The file is one of burn's own format (burnpack): eigenvectors to start from as tensors, everything else
//! as text in its metadata. It belongs beside the checkpoint of model and optimizer of the same step.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Tensor, TensorData};
use burn_pack::{Bytes, Reader, Writer};
use serde::{Deserialize, Serialize};

use super::budget::{Currency, Ledger};
use super::cadence::Clock;
use super::file::{failed, replace};
use super::instruments::Memories;
use super::stopwatch::Stopwatch;
use super::warm_start::WarmStart;
use super::{History, Measure, Row, SharpnessMonitor, SharpnessMonitorConfig, Value};
use crate::error::{Error, Result};
use crate::estimator::SolveMemory;
use crate::fingerprint::fingerprint;
use crate::model_state::ModelState;
use crate::params::{ParamSpace, ParamVector};

const KEY: &str = "burn-sharpness monitor";

/// The text of the file.
#[derive(Serialize, Deserialize)]
struct Memory {
    format: u32,
    watches: Vec<WatchMemory>,
    /// What the ledgers count in; unknown in older files.
    currency: Option<Currency>,
    /// Measurements so far, by the names of the instruments.
    counts: BTreeMap<String, u64>,
    training: f64,
    measuring: f64,
    n_steps: usize,
    last_step: Option<usize>,
    rows: Vec<Row>,
    /// What the next row will hold besides.
    notes: BTreeMap<Measure, Value>,
    /// What rows of before and after can be joined for.
    setting: Setting,
    /// The fingerprint of the model, where it was at hand.
    model: Option<u64>,
}

/// Settings that change what is measured.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Setting {
    batch_size: usize,
    seed: u64,
    mode: String,
}

impl Setting {
    fn of(config: &SharpnessMonitorConfig) -> Self {
        let SharpnessMonitorConfig { batch_size, seed, mode, .. } = *config;
        Self { batch_size, seed, mode: format!("{mode:?}") }
    }
}

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct WatchMemory {
    /// The key of the quantity, empty for the spectrum.
    measure: String,
    clock: Clock,
    ledger: Ledger,
    warm_start: WarmStart,
}

impl<F> SharpnessMonitor<F> {
    /// Writes everything that later measurements depend on: the rows, the streams of random numbers, the
    /// eigenvectors to start from, cadences and the budget. The file is replaced in one piece.
    ///
    /// Write it together with the checkpoint of model and optimizer, whose weights it remembers by a fingerprint, and
    /// [`load`](Self::load) it with them: the run then goes on as if it had never stopped, bit for bit (with
    /// [`Budget::Time`](super::Budget::Time) up to the steps at which it measures, which depend on the
    /// clock).
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Execution`] when a device cannot be read.
    pub fn save<M: Module>(&mut self, path: &Path, model: &M) -> Result<()> {
        self.save_for(path, Some(of_model(model, path)?))
    }

    /// As [`save`](Self::save), for a model of this fingerprint.
    pub(crate) fn save_for(&mut self, path: &Path, model: Option<u64>) -> Result<()> {
        let watch = |watch: &super::monitor::Watch| WatchMemory {
            measure: key(watch),
            clock: watch.clock.clone(),
            ledger: watch.ledger.clone(),
            warm_start: watch.warm_start.clone(),
        };
        let Stopwatch { training, measuring, n_steps, .. } = self.stopwatch;
        let watches = self.watches.iter().map(watch).collect();
        let Memories { solves, others } = self.instruments.memories();
        let solves = || solves.iter().map(|(name, memory)| (name.as_str(), &**memory));
        let of_solves = solves().map(|(name, memory)| (name.to_string(), memory.n_measured));
        let of_others = others.iter().map(|(name, count)| (name.to_string(), **count));
        let memory = Memory {
            format: FORMAT,
            watches,
            currency: Some(self.config.budget.currency()),
            counts: of_solves.chain(of_others).collect(),
            training,
            measuring,
            n_steps,
            last_step: self.stopwatch.last_step(),
            rows: self.history.rows().to_vec(),
            notes: self.notes.clone(),
            setting: Setting::of(&self.config),
            model,
        };
        let starts = solves().filter_map(|(name, memory)| Some((name, memory.start.as_ref()?)));
        let tensors = starts.map(|(name, start)| packed(name, start));
        let writer = Writer::new(tensors.collect::<Result<_>>()?);
        let text = serde_json::to_string(&memory).map_err(|error| failed(path, &error))?;
        let bytes = writer.with_metadata(KEY, &text).into_bytes();
        replace(path, &bytes.map_err(|error| failed(path, &error))?)
    }

    /// Goes on where [`save`](Self::save) was called, with the model of the same checkpoint, at
    /// [`next_step`](Self::next_step). The monitor must measure the same quantities with the same batch size, seed
    /// and mode; cadences and the budget may be others, its edge and its sinks are its own (continue files with
    /// [`HistoryFile::resume`](super::HistoryFile::resume)). After a budget of time, one of work begins with nothing
    /// spent, and the other way round: seconds and passes over samples do not add up.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is not there or none of a monitor with these settings, or that was saved
    /// with a model of other weights. The monitor is then as it was.
    pub fn load<M: Module>(&mut self, path: &Path, model: &M) -> Result<()> {
        let reader = Reader::from_file_exact(path).map_err(|error| failed(path, &error))?;
        let text = reader.metadata().get(KEY).cloned();
        let text = text.ok_or_else(|| failed(path, &"no file of a monitor's `save`"))?;
        let memory: Memory = serde_json::from_str(&text).map_err(|error| failed(path, &error))?;
        let ours: Vec<String> = self.watches.iter().map(key).collect();
        let theirs: Vec<String> = memory.watches.iter().map(|w| w.measure.clone()).collect();
        if memory.format != FORMAT || ours != theirs {
            let message = format!(
                "it is of a monitor that measures {theirs:?} (format {}), this one measures {ours:?} \
                 (format {FORMAT}); make the monitor with the settings of that run",
                memory.format
            );
            return Err(failed(path, &message));
        }
        let setting = Setting::of(&self.config);
        if memory.setting != setting {
            let message = format!(
                "it is of a monitor with {:?}, this one has {setting:?}; make the monitor with the settings of \
                 that run",
                memory.setting
            );
            return Err(failed(path, &message));
        }
        if memory.model.is_some_and(|saved| of_model(model, path) != Ok(saved)) {
            let message = "it was saved with a model of other weights; load it with the model of its checkpoint";
            return Err(failed(path, &message));
        }
        let mut history = History::default();
        for row in memory.rows {
            history.push(row)?;
        }
        let state = ModelState::in_mode(model, self.config.mode)?;
        let tensors = reader.into_tensors().map_err(|error| failed(path, &error))?;
        let vectors = tensors.into_iter().map(|tensor| unpacked(tensor, state.space(), path));
        let vectors: Vec<(String, ParamVector)> = vectors.collect::<Result<_>>()?;
        let mut detector = self.config.phases.init()?;
        for row in history.rows().iter().filter(|row| row.phase.is_some()) {
            let value = row.watched.as_ref().and_then(|measure| row.mean(measure));
            if let (Some(value), Some(threshold)) = (value, row.threshold) {
                detector.push(row.step, value, threshold)?;
            }
        }

        // Nothing fails from here on.
        let count = |name: &str| memory.counts.get(name).copied().unwrap_or_default();
        let Memories { solves, others } = self.instruments.memories();
        for (name, solve) in solves {
            let start = vectors.iter().find(|(of, _)| *of == name).map(|(_, v)| v.clone());
            *solve = SolveMemory { start, n_measured: count(&name) };
        }
        for (name, n_measured) in others {
            *n_measured = count(name);
        }
        let is_same = memory.currency == Some(self.config.budget.currency());
        for (watch, found) in self.watches.iter_mut().zip(memory.watches) {
            watch.clock = found.clock;
            watch.ledger = if is_same { found.ledger } else { Ledger::default() };
            watch.warm_start = found.warm_start;
        }
        let Memory { training, measuring, n_steps, last_step, notes, .. } = memory;
        self.counts = None;
        self.stopwatch = Stopwatch::stopped(training, measuring, n_steps, last_step);
        (self.history, self.detector, self.notes) = (history, detector, notes);
        Ok(())
    }
}

fn of_model<M: Module>(model: &M, path: &Path) -> Result<u64> {
    fingerprint(&model.clone().into_record()).map_err(|error| failed(path, &error))
}

fn key(watch: &super::monitor::Watch) -> String {
    watch.measure.as_ref().map_or(String::new(), ToString::to_string)
}

fn packed(name: &str, vector: &ParamVector) -> Result<burn_pack::Tensor> {
    let data = vector.tensor().try_into_data();
    let data = data.map_err(|error| Error::Execution { message: error.to_string() })?;
    let bytes = Bytes::from_bytes_vec(data.as_bytes().to_vec());
    Ok(burn_pack::Tensor::new(name.into(), vector.space().dtype(), vec![vector.len()], None, bytes))
}

fn unpacked(
    tensor: burn_pack::Tensor,
    space: &Arc<ParamSpace>,
    path: &Path,
) -> Result<(String, ParamVector)> {
    let (name, dtype, shape, _, bytes) =
        tensor.into_parts().map_err(|error| failed(path, &error))?;
    let fits = (dtype, shape.as_slice()) == (space.dtype(), &[space.n_params()]);
    if !fits || !matches!(dtype, DType::F32 | DType::F64) {
        let message = format!(
            "its vector `{name}` has {dtype:?} of shape {shape:?}, the model {} parameters of {:?}; load \
             it with the model of its checkpoint",
            space.n_params(),
            space.dtype()
        );
        return Err(failed(path, &message));
    }
    let data = TensorData::from_bytes(bytes, shape, dtype);
    let tensor = Tensor::<1>::from_data(data, (space.device(), dtype));
    Ok((name, space.vector(tensor)))
}
