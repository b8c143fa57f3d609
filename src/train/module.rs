//! A monitored model as a module: the model itself, at the same paths.

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;
use burn_train::TrainStep;

use super::Monitored;
use super::shared::lock;
use crate::error::Error;

impl<M: TrainStep + Module> Module for Monitored<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.inner.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.with_inner(|model| model.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with_inner(|model| model.to_device(device))
    }

    fn train(self) -> Self {
        self.with_inner(M::train)
    }

    fn valid(&self) -> Self {
        self.shared.validate(self.n_updates);
        let Self { shared, n_updates, keep, .. } = self;
        let (inner, shared) = (self.inner.valid(), shared.clone());
        Self { inner, shared, n_updates: *n_updates, keep: *keep }
    }

    fn materialize(self) -> Self {
        self.with_inner(M::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.inner.visit(visitor);
    }

    fn map<Map: ModuleMapper>(self, mapper: &mut Map) -> Self {
        self.with_inner(|model| model.map(mapper))
    }

    fn into_record(self) -> ModuleRecord {
        let record = self.inner.into_record();
        let due = lock(&self.shared.folder).take_due(&record, self.n_updates);
        match due {
            Ok(None) => {}
            Ok(Some(file)) => self.shared.save(&file),
            Err(error) => self.shared.fail(Error::Execution { message: error.to_string() }),
        }
        record
    }

    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        let found = lock(&self.shared.folder).find(&record)?;
        let inner = self.inner.try_load_record(record)?;
        let mut n_updates = self.n_updates;
        if let Some(file) = found {
            let loaded = self.shared.load(&file, &inner);
            loaded.map_err(|error| RecordError::Io(error.to_string()))?;
            n_updates = file.n_updates;
        }
        Ok(Self { inner, n_updates, shared: self.shared, keep: self.keep })
    }
}
