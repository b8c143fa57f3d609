//! What all copies of a monitored model share: workers and validation copies have the same monitor.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use burn::module::Module;
use burn::tensor::Device;
use burn_train::{Interrupter, TrainStep};

use super::checkpoints::{Folder, MonitorFile};
use super::output::Slot;
use super::probe::Probe;
use crate::error::{Error, Result, catch_panic};
use crate::observe::{Row, TrainingStep, Update};

/// A panic of another thread leaves nothing half-done that the next one would not overwrite.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No row waits.
const NONE: usize = usize::MAX;

pub(super) struct Shared<M: TrainStep> {
    /// The first update that no worker has claimed.
    unclaimed: AtomicUsize,
    /// The update that a measured row waits for.
    waiting: AtomicUsize,
    /// The device whose worker measures.
    device: Mutex<Option<Device>>,
    workers: Mutex<Workers>,
    epochs: Mutex<Epochs>,
    state: Mutex<State<M>>,
    pub folder: Arc<Mutex<Folder>>,
}

pub(super) struct State<M: TrainStep> {
    pub probe: Box<dyn Probe<M>>,
    pub error: Option<Error>,
    pub stop: Option<Stop>,
}

/// Ends the training when the ratio stays beyond a number.
pub(super) struct Stop {
    pub ratio: f64,
    pub n_rows: usize,
    pub interrupter: Interrupter,
}

impl Stop {
    fn check<'a>(&self, rows: impl DoubleEndedIterator<Item = &'a Row>) {
        let Self { ratio, n_rows, interrupter } = self;
        let ratios = rows.rev().filter_map(|row| Some((row.step, row.ratio()?)));
        let last: Vec<_> = ratios.take(*n_rows).collect();
        if last.len() == *n_rows && last.iter().all(|(_, found)| found > ratio) {
            let step = last.first().map_or(0, |(step, _)| *step);
            let reason = format!(
                "the ratio of sharpness to its threshold is above {ratio} since {n_rows} \
                 measurements, at step {step}"
            );
            interrupter.stop(Some(&reason));
        }
    }
}

/// Training steps since the last update, by the thread that made them.
#[derive(Default)]
struct Workers {
    steps: HashMap<ThreadId, (usize, Slot)>,
    last: Option<Slot>,
}

impl Workers {
    fn begin(&mut self, worker: ThreadId) -> Slot {
        let slot = Slot::default();
        let (n_steps, place) = self.steps.entry(worker).or_default();
        *n_steps += 1;
        *place = slot.clone();
        self.last = Some(slot.clone());
        slot
    }

    /// The number of steps whose gradients were summed, and an output that burn still holds: of this
    /// worker, if it makes steps itself, else of all workers.
    fn finish(&mut self, worker: ThreadId) -> (usize, Option<Slot>) {
        match self.steps.get_mut(&worker) {
            Some((n_steps, slot)) if *n_steps > 0 => {
                (std::mem::take(n_steps), Some(std::mem::take(slot)))
            }
            _ => {
                let n_steps = self.steps.drain().map(|(_, (n_steps, _))| n_steps).sum();
                (n_steps, self.last.take())
            }
        }
    }

    /// Steps whose gradients burn has dropped: at the end of an epoch, of this worker if it makes steps
    /// itself, else of all workers.
    fn forget(&mut self, worker: ThreadId) {
        match self.steps.get_mut(&worker) {
            Some((n_steps, _)) => *n_steps = 0,
            None => self.steps.clear(),
        }
    }
}

/// Finished epochs, as far as validations tell: burn validates once after each.
#[derive(Default)]
struct Epochs {
    finished: Option<usize>,
    /// Updates at the end of the last one.
    n_updates: usize,
}

impl<M: TrainStep + Module> Shared<M> {
    pub fn new(probe: Box<dyn Probe<M>>) -> Self {
        Self {
            unclaimed: AtomicUsize::new(0),
            waiting: AtomicUsize::new(NONE),
            device: Mutex::default(),
            workers: Mutex::default(),
            epochs: Mutex::default(),
            state: Mutex::new(State { probe, error: None, stop: None }),
            folder: Arc::default(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State<M>> {
        lock(&self.state)
    }

    /// Whether this call is the one that sees the step before update number `n_updates`. The first one is;
    /// others do not wait.
    pub fn claim(&self, n_updates: usize, model: &M) -> bool {
        if self.unclaimed.load(Ordering::Relaxed) > n_updates {
            return false;
        }
        if let Some(device) = model.devices().into_iter().next()
            && *lock(&self.device).get_or_insert_with(|| device.clone()) != device
        {
            return false;
        }
        self.unclaimed.fetch_max(n_updates + 1, Ordering::Relaxed) <= n_updates
    }

    pub fn begin_step(&self) -> Slot {
        lock(&self.workers).begin(thread::current().id())
    }

    /// Measures what is due; failures are kept.
    pub fn measure(&self, n_updates: usize, model: &M, batch: Option<&M::Input>) {
        let epoch = lock(&self.epochs).finished;
        let at = TrainingStep { epoch, ..TrainingStep::new(n_updates) };
        let mut state = self.state();
        let State { probe, error, .. } = &mut *state;
        let measured =
            catch_panic(|| probe.measure(at, model, batch), |message| Error::Execution { message });
        match measured {
            Ok(true) => self.waiting.store(n_updates, Ordering::Relaxed),
            Ok(false) => {}
            Err(failure) => keep(error, failure),
        }
    }

    /// Update number `n_updates` is about to be made, at this learning rate if there is a single one.
    pub fn complete(&self, n_updates: usize, learning_rate: impl FnOnce() -> Option<f64>) {
        let (n_summed, slot) = lock(&self.workers).finish(thread::current().id());
        if self.unclaimed.load(Ordering::Relaxed) <= n_updates {
            // No worker is on the device any more: training moved.
            *lock(&self.device) = None;
        }
        let taken =
            self.waiting.compare_exchange(n_updates, NONE, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_err() {
            return;
        }
        let update = learning_rate()
            .map(|rate| Update { learning_rate: Some(rate), n_summed: n_summed.max(1) });
        let mut state = self.state();
        let State { probe, error, stop } = &mut *state;
        let (row, result) = probe.complete(update);
        if let (Some(row), Some(slot)) = (row, slot) {
            let _ = slot.set(Arc::new(row.clone())); // a new slot for each step: it is empty
        }
        if let Err(failure) = result {
            keep(error, failure);
        }
        if let Some(stop) = stop {
            stop.check(probe.history().rows().iter());
        }
    }

    /// A validation begins, at so many updates.
    pub fn validate(&self, n_updates: usize) {
        let mut epochs = lock(&self.epochs);
        if n_updates > epochs.n_updates {
            *epochs = Epochs { finished: Some(epochs.finished.unwrap_or(0) + 1), n_updates };
        }
        lock(&self.workers).forget(thread::current().id());
    }

    /// Writes the monitor's file.
    pub fn save(&self, file: &MonitorFile) {
        let mut state = self.state();
        match state.probe.save(&file.path) {
            Ok(()) => lock(&self.folder).delete(file.epoch, Some(&file.path)),
            Err(failure) => keep(&mut state.error, failure),
        }
    }

    /// Goes on where the file was written, with the model of the same checkpoint.
    pub fn load(&self, file: &MonitorFile, model: &M) -> Result<()> {
        self.state().probe.load(&file.path, model)?;
        let (finished, n_updates) = (Some(file.epoch), file.n_updates);
        *lock(&self.epochs) = Epochs { finished, n_updates };
        self.unclaimed.store(n_updates, Ordering::Relaxed);
        self.waiting.store(NONE, Ordering::Relaxed);
        Ok(())
    }

    pub fn fail(&self, failure: Error) {
        keep(&mut self.state().error, failure);
    }
}

/// The first error is the cause of later ones.
fn keep(error: &mut Option<Error>, failure: Error) {
    error.get_or_insert(failure);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> [ThreadId; 3] {
        std::array::from_fn(|_| thread::spawn(|| thread::current().id()).join().unwrap())
    }

    #[test]
    fn a_worker_that_updates_counts_its_own_steps() {
        let ([a, b, _], mut workers) = (ids(), Workers::default());
        workers.begin(a);
        workers.begin(b);
        let last = workers.begin(a);
        workers.begin(b);
        let (n_steps, slot) = workers.finish(a);
        assert_eq!(n_steps, 2);
        assert!(Arc::ptr_eq(&slot.unwrap(), &last));
        workers.begin(a);
        assert_eq!(workers.finish(a).0, 1);
        assert_eq!(workers.finish(b).0, 2);
    }

    #[test]
    fn an_update_of_another_thread_is_of_the_steps_of_all_workers() {
        let ([a, b, main], mut workers) = (ids(), Workers::default());
        for _ in 0..2 {
            workers.begin(a);
            let last = workers.begin(b);
            let (n_steps, slot) = workers.finish(main);
            assert_eq!(n_steps, 2);
            assert!(Arc::ptr_eq(&slot.unwrap(), &last));
        }
    }

    #[test]
    fn dropped_gradients_do_not_count() {
        let ([a, b, main], mut workers) = (ids(), Workers::default());
        workers.begin(a);
        workers.begin(b);
        workers.forget(a);
        workers.begin(a);
        assert_eq!(workers.finish(a).0, 1);
        workers.forget(main);
        workers.begin(b);
        assert_eq!(workers.finish(main).0, 1);
    }
}
