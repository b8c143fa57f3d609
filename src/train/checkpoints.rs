//! The monitor's file beside burn's checkpoints: written with them, deleted with them, found again.
//!
//! burn tells the strategy the epoch and what it is going to do, asks the model for its record next, on the
//! same thread, and when it resumes it only gives the record back. So the strategy says that a checkpoint
//! is due, the file is written when the record is taken, and its name has a fingerprint of the record, by
//! which it is found.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use burn::store::{ModuleRecord, RecordError};
use burn_train::checkpoint::{CheckpointingAction, CheckpointingStrategy};
use burn_train::metric::store::EventStoreClient;

use super::shared::lock;
use crate::fingerprint::fingerprint;

/// A strategy of burn for checkpoints, with the monitor's file beside each: see
/// [`Monitored::checkpoints`](super::Monitored::checkpoints).
pub struct MonitorCheckpoints {
    strategy: Box<dyn CheckpointingStrategy>,
    folder: Arc<Mutex<Folder>>,
}

impl MonitorCheckpoints {
    pub(super) fn new(
        strategy: impl CheckpointingStrategy + 'static,
        folder: Arc<Mutex<Folder>>,
    ) -> Self {
        Self { strategy: Box::new(strategy), folder }
    }
}

impl fmt::Debug for MonitorCheckpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorCheckpoints").finish_non_exhaustive()
    }
}

impl CheckpointingStrategy for MonitorCheckpoints {
    fn checkpointing(
        &mut self,
        epoch: usize,
        store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        let actions = self.strategy.checkpointing(epoch, store);
        let mut folder = lock(&self.folder);
        for action in &actions {
            match action {
                CheckpointingAction::Save => folder.due = Some(epoch),
                CheckpointingAction::Delete(epoch) => folder.delete(*epoch, None),
            }
        }
        actions
    }
}

/// Where the files are, if there are any.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub path: Option<PathBuf>,
    /// The epoch whose checkpoint is to be written with the next record.
    due: Option<usize>,
}

/// A monitor's file, as its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MonitorFile {
    pub path: PathBuf,
    /// Epochs that were finished.
    pub epoch: usize,
    /// Updates that the parameters had had.
    pub n_updates: usize,
    fingerprint: u64,
}

const PREFIX: &str = "monitor-";
const SUFFIX: &str = ".bpk";

impl MonitorFile {
    fn parse(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let mut parts = name.split('-');
        let epoch = parts.next()?.parse().ok()?;
        let n_updates = parts.next()?.parse().ok()?;
        let fingerprint = u64::from_str_radix(parts.next()?, 16).ok()?;
        parts.next().is_none().then_some(Self { path, epoch, n_updates, fingerprint })
    }
}

impl Folder {
    /// The file to write along with this record, if one is due.
    pub fn take_due(
        &mut self,
        record: &ModuleRecord,
        n_updates: usize,
    ) -> Result<Option<MonitorFile>, RecordError> {
        let (Some(folder), Some(epoch)) = (&self.path, self.due.take()) else { return Ok(None) };
        let fingerprint = fingerprint(record)?;
        let name = format!("{PREFIX}{epoch}-{n_updates}-{fingerprint:016x}{SUFFIX}");
        Ok(Some(MonitorFile { path: folder.join(name), epoch, n_updates, fingerprint }))
    }

    /// The file that was written along with this record. None where there is no folder, and where the folder
    /// has no such files at all: its checkpoints are of a run without a monitor.
    pub fn find(&self, record: &ModuleRecord) -> Result<Option<MonitorFile>, RecordError> {
        let files = self.files();
        let Some(folder) = self.path.as_ref().filter(|_| !files.is_empty()) else {
            return Ok(None);
        };
        let wanted = fingerprint(record)?;
        let fail = |problem: &str| {
            let folder = folder.display();
            Err(RecordError::Io(format!(
                "{problem} in {folder}: a run cannot go on without the monitor's memory of it; \
                 restore the file, or use another folder to start a new history"
            )))
        };
        let mut found = files.into_iter().filter(|file| file.fingerprint == wanted);
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(Some(file)),
            (None, _) => fail("no file of the monitor belongs to this record"),
            (Some(_), Some(_)) => fail("several files of the monitor belong to this record"),
        }
    }

    /// Deletes the files of an epoch but one.
    pub fn delete(&self, epoch: usize, except: Option<&Path>) {
        let of_epoch = |file: &MonitorFile| file.epoch == epoch && Some(&*file.path) != except;
        for file in self.files().into_iter().filter(of_epoch) {
            // A file that stays takes space and does no harm.
            let _ = std::fs::remove_file(file.path);
        }
    }

    fn files(&self) -> Vec<MonitorFile> {
        let entries = self.path.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        entries.flatten().filter_map(|entry| MonitorFile::parse(entry.ok()?.path())).collect()
    }
}
