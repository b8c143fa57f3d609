//! The monitor of a model, whatever the types of its loss and its data.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::kind::Autodiff as Kind;
use burn::tensor::{Device, Tensor};
use burn_train::TrainStep;

use crate::batch::{Batch, TensorMapper};
use crate::error::Result;
use crate::observe::{History, Measured, Row, SharpnessMonitor, TrainingStep, Update};

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

pub(super) struct Held<F, D> {
    pub monitor: SharpnessMonitor<F>,
    pub data: D,
    /// Where the data is known to be.
    pub device: Option<Device>,
    /// The file that was loaded, with a model on this device.
    pub loaded: Option<(PathBuf, Option<Device>)>,
    pub measured: Option<Measured>,
}

impl<F, D> Held<F, D> {
    pub fn new(monitor: SharpnessMonitor<F>, data: D) -> Self {
        Self { monitor, data, device: None, loaded: None, measured: None }
    }
}

impl<M, F> Probe<M> for Held<F, M::Input>
where
    M: TrainStep + Module,
    M::Input: Batch,
    F: Fn(&M, M::Input) -> Tensor<1> + Send,
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
        if let Some(device) = device.filter(|device| self.device.as_ref() != Some(device)) {
            self.data = on_device(&self.data, &device);
            self.device = Some(device);
        }
        self.measured = self.monitor.measure_at(at, model, &self.data, batch)?;
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
        self.monitor.save(path)
    }

    fn load(&mut self, path: &Path, model: &M) -> Result<()> {
        self.monitor.load(path, model)?;
        self.measured = None;
        self.loaded = Some((path.to_path_buf(), model.devices().into_iter().next()));
        Ok(())
    }
}

/// The data on the device of the model, where measurements run.
fn on_device<D: Batch>(data: &D, device: &Device) -> D {
    struct Move(Device);
    impl TensorMapper for Move {
        fn map<const N: usize, K: Kind>(&mut self, tensor: Tensor<N, K>) -> Tensor<N, K> {
            tensor.without_autodiff().to_device(&self.0)
        }
    }
    data.clone().map_tensors(&mut Move(device.clone().without_autodiff()))
}
