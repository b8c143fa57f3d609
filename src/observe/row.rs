//! One row of a history: everything that was known at one training step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Measure;
use crate::error::{Error, Result};
use crate::estimator::{Estimate, TopEigenvalue};
use crate::spectrum::SpectralDensity;
use crate::stability::Phase;

/// What was measured at one training step, at the parameters before its update.
///
/// Numbers that are unknown or infinite are absent: JSON has no word for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Row {
    /// Updates that the parameters have had.
    pub step: usize,
    /// Passes through the data before this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<usize>,
    /// η of this step's update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Samples per training batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// The training loss, as given, or of all data where a full-batch measurement has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Each quantity that was measured at this step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<Measure, Value>,
    /// The value of `watched` at the edge of stability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The quantity that the threshold belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Measure>,
    /// The phase of training after this row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RowPhase>,
    /// The density of eigenvalues of the Hessian of all data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectrum: Option<Spectrum>,
    /// Why something that was due is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the row cost.
    #[serde(default)]
    pub cost: Cost,
}

/// A measured value with its error and its cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Value {
    /// The mean over batches, or the value.
    pub mean: f64,
    /// Standard error of the mean; for an eigenvalue of one operator its residual norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// 95% interval of the expectation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// The largest value of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Batches, 1 for a value of all data.
    pub count: usize,
    /// The value of each batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<f64>,
    /// Eigenvalues whose residual did not reach the tolerance: lower bounds.
    #[serde(default)]
    pub n_unconverged: usize,
    /// Hessian-vector products.
    #[serde(default)]
    pub n_hvps: usize,
    /// Wall time of this quantity, in seconds.
    #[serde(default)]
    pub seconds: f64,
}

impl Value {
    /// A number without an error.
    pub fn of(mean: f64) -> Self {
        Self { mean, count: 1, ..Self::default() }
    }

    /// A mean over batches, with the value of each.
    pub fn of_estimate(estimate: &Estimate, each: &[f64]) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        let (low, high) = estimate.interval;
        Self {
            mean: estimate.mean,
            standard_error: finite(estimate.standard_error),
            interval: finite(low).zip(finite(high)),
            max: finite(estimate.max),
            count: estimate.count,
            each: each.to_vec(),
            ..Self::default()
        }
    }

    /// Fails for a number that is NaN or infinite.
    pub(crate) fn check(&self) -> Result<()> {
        let ends = self.interval.map(|(low, high)| [low, high]).into_iter().flatten();
        let optional = self.standard_error.into_iter().chain(self.max).chain(ends);
        all_finite(optional.chain(self.each.iter().copied()).chain([self.mean, self.seconds]))
    }

    /// An eigenvalue of one operator.
    pub fn of_eigenvalue(top: &TopEigenvalue) -> Self {
        Self {
            mean: top.value,
            standard_error: Some(top.residual_norm),
            count: 1,
            n_unconverged: usize::from(!top.converged),
            n_hvps: top.n_hvps,
            seconds: top.elapsed.as_secs_f64(),
            ..Self::default()
        }
    }
}

fn all_finite(numbers: impl Iterator<Item = f64>) -> Result<()> {
    let bad = numbers.into_iter().find(|value| !value.is_finite());
    bad.map_or(Ok(()), |value| Err(Error::NonFinite { quantity: "a number of a row", value }))
}

/// The phase of a training run, without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PhaseName {
    /// Too few rows to say.
    Undetermined,
    /// The ratio to the threshold rises.
    Sharpening,
    /// It falls.
    Flattening,
    /// It stays.
    Plateau,
    /// It is beyond all bounds.
    Unstable,
}

impl PhaseName {
    /// The name in files and on pictures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undetermined => "undetermined",
            Self::Sharpening => "sharpening",
            Self::Flattening => "flattening",
            Self::Plateau => "plateau",
            Self::Unstable => "unstable",
        }
    }

    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Undetermined, Self::Sharpening, Self::Flattening, Self::Plateau, Self::Unstable];
}

/// The [phase](crate::stability::phase) after a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPhase {
    /// Which one.
    pub name: PhaseName,
    /// The step of its first row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<usize>,
}

impl From<&Phase> for RowPhase {
    fn from(phase: &Phase) -> Self {
        let (name, since) = match *phase {
            Phase::Undetermined { .. } => (PhaseName::Undetermined, None),
            Phase::Sharpening { since, .. } => (PhaseName::Sharpening, Some(since)),
            Phase::Flattening { since, .. } => (PhaseName::Flattening, Some(since)),
            Phase::Plateau { since, .. } => (PhaseName::Plateau, Some(since)),
            Phase::Unstable { since } => (PhaseName::Unstable, Some(since)),
        };
        Self { name, since }
    }
}

/// A quadrature of the spectrum: Σ weights·f(nodes) is the mean of f over all eigenvalues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// Ritz values of all start vectors.
    pub nodes: Vec<f64>,
    /// Their weights, of sum 1.
    pub weights: Vec<f64>,
}

impl From<&SpectralDensity> for Spectrum {
    fn from(density: &SpectralDensity) -> Self {
        let (mut spectrum, n) = (Self::default(), density.quadratures.len() as f64);
        for quadrature in &density.quadratures {
            spectrum.nodes.extend(&quadrature.nodes);
            spectrum.weights.extend(quadrature.weights.iter().map(|weight| weight / n));
        }
        spectrum
    }
}

/// What a row cost, and all rows so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Hessian-vector products of this row.
    pub n_hvps: usize,
    /// Wall time of this row's measurements, in seconds.
    pub seconds: f64,
    /// Time of all measurements so far over the time of training so far without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<f64>,
}

impl Row {
    /// A row without values.
    pub fn at(step: usize) -> Self {
        Self { step, ..Self::default() }
    }

    /// The value of a quantity.
    pub fn value(&self, measure: &Measure) -> Option<&Value> {
        self.values.get(measure)
    }

    /// The mean of a quantity.
    pub fn mean(&self, measure: &Measure) -> Option<f64> {
        self.value(measure).map(|value| value.mean)
    }

    /// Fails for a number that is NaN or infinite, which files cannot hold.
    pub(crate) fn check(&self) -> Result<()> {
        self.values.values().try_for_each(Value::check)?;
        let spectrum = self.spectrum.iter().flat_map(|s| s.nodes.iter().chain(&s.weights).copied());
        let own = [self.learning_rate, self.loss, self.threshold, self.cost.overhead];
        all_finite(spectrum.chain(own.into_iter().flatten()).chain([self.cost.seconds]))
    }

    /// The watched quantity over its threshold: 1 is the edge of stability.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.mean(self.watched.as_ref()?)? / self.threshold?)
    }
}
