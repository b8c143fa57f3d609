//! What was measured at frozen weights: kept as it comes, and read where it is complete.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_sharpness::estimator::{GapAtBatchSize, SharpnessGapMeasurement};
use serde::{Deserialize, Serialize};

use crate::experiment::folder::{read_json, write_json};
use crate::support::error::{ExampleError, Result};

/// Everything that determines a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub data: String,
    pub network: String,
    /// A hash of the weights.
    pub weights: String,
    pub batch_sizes: Vec<usize>,
    pub num_batches: usize,
    pub seed: u64,
}

/// One batch size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gap {
    pub batch_size: usize,
    pub minibatch_sharpness: f64,
    pub gap: f64,
    /// None of a single batch.
    pub standard_error: Option<f64>,
    /// Standard error without the control variate over that with it.
    pub gain: Option<f64>,
    /// λ_max of each batch.
    pub tops: Vec<f64>,
    pub unconverged: usize,
}

/// All batch sizes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub setting: Setting,
    pub full_batch_sharpness: f64,
    pub residual_norm: f64,
    pub loss: f64,
    pub seconds: f64,
    pub gaps: Vec<Gap>,
}

impl From<&GapAtBatchSize> for Gap {
    fn from(found: &GapAtBatchSize) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        Self {
            batch_size: found.batch_size,
            minibatch_sharpness: found.minibatch_sharpness,
            gap: found.best().mean,
            standard_error: finite(found.best().standard_error),
            gain: finite(found.gain),
            tops: found.values.iter().map(|(top, _)| *top).collect(),
            unconverged: found.n_unconverged,
        }
    }
}

impl Record {
    pub fn new(setting: Setting, measured: &SharpnessGapMeasurement) -> Self {
        let full = &measured.full_batch;
        Self {
            setting,
            full_batch_sharpness: full.value,
            residual_norm: full.residual_norm,
            loss: full.loss,
            seconds: measured.elapsed.as_secs_f64(),
            gaps: measured.gaps.iter().map(Gap::from).collect(),
        }
    }

    /// The record in a file, if it is that of this setting.
    pub fn read(path: &Path, setting: &Setting) -> Result<Option<Self>> {
        let Some(value) = read_json(path)? else { return Ok(None) };
        let record: Self =
            serde_json::from_value(value).map_err(|e| ExampleError::checkpoint(path, e))?;
        Ok(Some(record).filter(|record| record.setting == *setting))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }
}

/// The batch sizes of a measurement that is not complete, a line for each.
pub struct Lines {
    path: PathBuf,
    text: String,
}

impl Lines {
    pub fn new(path: PathBuf) -> Self {
        Self { path, text: String::new() }
    }

    pub fn push(&mut self, gap: &Gap) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| ExampleError::write(&self.path, e);
        let line = serde_json::to_string(gap).map_err(|e| failed(&e))?;
        self.text += &(line + "\n");
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|e| failed(&e))?;
        }
        fs::write(&self.path, &self.text).map_err(|e| failed(&e))
    }
}

/// A hash of all weights, bit by bit.
pub fn hash_of(model: &impl Module) -> String {
    struct Weights(DefaultHasher);
    impl ModuleVisitor for Weights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.write(param.val().into_data().as_bytes());
        }
    }
    let mut weights = Weights(DefaultHasher::new());
    model.visit(&mut weights);
    format!("{:016x}", weights.0.finish())
}
