//! The monitor of a model, whatever the types of its loss and its data.

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::kind::Autodiff as Kind;
use burn::tensor::{Device, Tensor};
use burn_train::TrainStep;

use crate::batch::{Batch, TensorMapper};
use crate::error::Result;
use crate::observe::{History, Measured, Row, SharpnessMonitor, TrainingStep, Update};
use crate::samples::Samples;

/// A monitor and its data, for models of type `M`.
pub(super) trait Probe<M: TrainStep>: Send {
    /// Measures what is due. The row waits for [`complete`](Self::complete); whether there is one.
    fn measure(&mut self, at: TrainingStep, model: &M, batch: Option<&M::Input>) -> Result<bool>;

    /// Judges the row that waits. It is kept even if something about it failed.
    fn complete(&mut self, update: Option<Update>) -> (Option<&Row>, Result<()>);

    fn history(&self) -> &History;

    fn save(&mut self, path: &Path) -> Result<()>;

    fn load(&mut self, path: &Path, model: &M) -> Result<()>;
}

pub(super) struct Held<F, S> {
    pub monitor: SharpnessMonitor<F>,
    pub data: S,
    /// The file that was loaded, with a model on this device.
    pub loaded: Option<(PathBuf, Option<Device>)>,
    pub measured: Option<Measured>,
}

impl<F, S> Held<F, S> {
    pub fn new(monitor: SharpnessMonitor<F>, data: S) -> Self {
        Self { monitor, data, loaded: None, measured: None }
    }
}

impl<M, F, S> Probe<M> for Held<F, S>
where
    M: TrainStep + Module,
    M::Input: Batch,
    F: Fn(&M, M::Input) -> Tensor<1> + Send,
    S: Samples<Batch = M::Input> + Send,
{
    fn measure(&mut self, at: TrainingStep, model: &M, batch: Option<&M::Input>) -> Result<bool> {
        // A row whose update never came.
        let (_, stale) = Probe::<M>::complete(self, None);
        let device = model.devices().into_iter().next();
        if let Some((path, _)) = self.loaded.take_if(|(_, at)| *at != device) {
            // burn moved the model after its checkpoint was loaded: eigenvectors follow.
            self.monitor.load(&path, model)?;
        }
        self.loaded = None;
        let data = OnDevice { data: &self.data, device: device.map(Device::without_autodiff) };
        self.measured = self.monitor.measure_at(at, model, &data, batch)?;
        stale.map(|()| self.measured.is_some())
    }

    fn complete(&mut self, update: Option<Update>) -> (Option<&Row>, Result<()>) {
        let Some(measured) = self.measured.take() else { return (None, Ok(())) };
        let n_rows = self.monitor.history().rows().len();
        let result = self.monitor.complete(measured, update).map(|_| ());
        (self.monitor.history().rows().get(n_rows), result)
    }

    fn history(&self) -> &History {
        self.monitor.history()
    }

    fn save(&mut self, path: &Path) -> Result<()> {
        self.monitor.save_for(path, None) // the file's name has the model's fingerprint
    }

    fn load(&mut self, path: &Path, model: &M) -> Result<()> {
        self.monitor.load(path, model)?;
        self.measured = None;
        self.loaded = Some((path.to_path_buf(), model.devices().into_iter().next()));
        Ok(())
    }
}

/// Data whose batches come on the device of the model, where measurements run.
struct OnDevice<'a, S> {
    data: &'a S,
    device: Option<Device>,
}

impl<S: Samples> OnDevice<'_, S> {
    fn moved(&self, batch: S::Batch) -> S::Batch {
        struct Move<'a>(&'a Device);
        impl TensorMapper for Move<'_> {
            fn map<const N: usize, K: Kind>(&mut self, tensor: Tensor<N, K>) -> Tensor<N, K> {
                tensor.without_autodiff().to_device(self.0)
            }
        }
        match &self.device {
            Some(device) => batch.map_tensors(&mut Move(device)),
            None => batch,
        }
    }
}

impl<S: Samples> Samples for OnDevice<'_, S> {
    type Batch = S::Batch;

    fn n_samples(&self) -> Result<usize> {
        self.data.n_samples()
    }

    fn select(&self, indices: &[usize]) -> Result<S::Batch> {
        self.data.select(indices).map(|batch| self.moved(batch))
    }

    fn range(&self, range: Range<usize>) -> Result<S::Batch> {
        self.data.range(range).map(|batch| self.moved(batch))
    }

    fn is_row_wise(&self) -> bool {
        self.data.is_row_wise()
    }
}
