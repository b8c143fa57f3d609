//! What was measured at frozen weights: kept as it comes, and gone on with.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_sharpness::estimator::{GapAtBatchSize, SharpnessGapMeasurement, TopEigenvalue};
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

/// λ_max of the Hessian of all samples, and their loss.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Full {
    pub sharpness: f64,
    pub residual_norm: f64,
    pub loss: f64,
}

/// The batch sizes that are measured, in the order of the setting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub setting: Setting,
    /// Known with the last batch size.
    pub full_batch: Option<Full>,
    /// Wall time of the parts that came to their end.
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
    /// The record in a file, if it is that of this setting; one without batch sizes otherwise.
    ///
    /// # Errors
    /// [`ExampleError::Checkpoint`] for a file that is none.
    pub fn open(path: &Path, setting: Setting) -> Result<Self> {
        let found = match read_json(path)? {
            Some(value) => serde_json::from_value::<Self>(value)
                .map(Some)
                .map_err(|e| ExampleError::checkpoint(path, e))?,
            None => None,
        };
        let mut record = match found.filter(|record| record.setting == setting) {
            Some(record) => record,
            None => Self { setting, full_batch: None, seconds: 0.0, gaps: vec![] },
        };
        if record.full_batch.is_none() && record.left().is_empty() {
            // Stopped between the last batch size and the end, which needs one to be measured.
            record.gaps.pop();
        }
        Ok(record)
    }

    /// Batch sizes still to be measured.
    pub fn left(&self) -> Vec<usize> {
        self.setting.batch_sizes.iter().skip(self.gaps.len()).copied().collect()
    }

    /// Notes the end of a measurement.
    pub fn finish(&mut self, measured: &SharpnessGapMeasurement) {
        let TopEigenvalue { value, residual_norm, loss, .. } = measured.full_batch;
        self.full_batch = Some(Full { sharpness: value, residual_norm, loss });
        self.seconds += measured.elapsed.as_secs_f64();
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_on_with_the_sizes_that_are_left() {
        let folder =
            std::env::temp_dir().join(format!("burn-sharpness-gap-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("record.json");
        let setting = |seed| Setting {
            data: "digits".into(),
            network: "mlp".into(),
            weights: "0".into(),
            batch_sizes: vec![8, 16, 32],
            num_batches: 2,
            seed,
        };
        let gap = |batch_size| Gap {
            batch_size,
            minibatch_sharpness: 2.0,
            gap: 1.0,
            standard_error: None,
            gain: None,
            tops: vec![2.0],
            unconverged: 0,
        };
        let mut record = Record::open(&path, setting(0)).unwrap();
        assert_eq!(record.left(), [8, 16, 32]);
        for (batch_size, left) in [(8, vec![16, 32]), (16, vec![32]), (32, vec![32])] {
            record.gaps.push(gap(batch_size));
            record.write(&path).unwrap();
            // After the last one, whose measurement did not come to its end, it is measured again.
            assert_eq!(Record::open(&path, setting(0)).unwrap().left(), left);
        }
        record.full_batch = Some(Full { sharpness: 1.0, residual_norm: 0.0, loss: 0.1 });
        record.write(&path).unwrap();
        assert!(Record::open(&path, setting(0)).unwrap().left().is_empty());
        assert_eq!(Record::open(&path, setting(1)).unwrap().left(), [8, 16, 32]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
