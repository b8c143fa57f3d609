//! What a row can hold: the names of measured quantities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A measured quantity. `Display` and `FromStr` are its key in files, `label` its name for readers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
#[non_exhaustive]
pub enum Measure {
    /// E_B\[λ_max(H_B)]: [`MiniBatchSharpness`](crate::estimator::MiniBatchSharpness).
    MiniBatchSharpness,
    /// λ_max(H) of all data: [`FullBatchSharpness`](crate::estimator::FullBatchSharpness).
    FullBatchSharpness,
    /// E_B\[gᵀH_Bg/‖g‖²]: [`BatchSharpness`](crate::estimator::BatchSharpness).
    BatchSharpness,
    /// λ_max(H_B) of the batch that a training step uses.
    LiveSharpness,
    /// gᵀH_Bg/‖g‖² of the batch that a training step uses: one product.
    StepSharpness,
    /// λ_max of the Hessian of all data restricted to the parameters at or below a path, for example a
    /// layer.
    Group(String),
    /// Mini-batch sharpness at this batch size minus full-batch sharpness.
    Gap(usize),
    /// A quantity of the user's own.
    Custom(String),
}

impl Measure {
    /// The name for readers, with its formula.
    pub fn label(&self) -> String {
        match self {
            Self::MiniBatchSharpness => "mini-batch sharpness, mean of λmax(H_B)".into(),
            Self::FullBatchSharpness => "full-batch sharpness, λmax(H)".into(),
            Self::BatchSharpness => "batch sharpness, mean of gᵀH_B g/gᵀg".into(),
            Self::LiveSharpness => "λmax(H_B) of the training batch".into(),
            Self::StepSharpness => "gᵀH_B g/gᵀg of the training batch".into(),
            Self::Group(path) => path.clone(),
            Self::Gap(batch_size) => format!("sharpness gap at batch size {batch_size}"),
            Self::Custom(name) => name.clone(),
        }
    }
}

const GROUP: &str = "group:";
const GAP: &str = "gap:";

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MiniBatchSharpness => f.write_str("mini_batch_sharpness"),
            Self::FullBatchSharpness => f.write_str("full_batch_sharpness"),
            Self::BatchSharpness => f.write_str("batch_sharpness"),
            Self::LiveSharpness => f.write_str("live_sharpness"),
            Self::StepSharpness => f.write_str("step_sharpness"),
            Self::Group(path) => write!(f, "{GROUP}{path}"),
            Self::Gap(batch_size) => write!(f, "{GAP}{batch_size}"),
            Self::Custom(name) => f.write_str(name),
        }
    }
}

impl From<&str> for Measure {
    /// The quantity of a key; a key that is no other's is a quantity of the user's own.
    fn from(key: &str) -> Self {
        match key {
            "mini_batch_sharpness" => Self::MiniBatchSharpness,
            "full_batch_sharpness" => Self::FullBatchSharpness,
            "batch_sharpness" => Self::BatchSharpness,
            "live_sharpness" => Self::LiveSharpness,
            "step_sharpness" => Self::StepSharpness,
            _ => match (key.strip_prefix(GROUP), key.strip_prefix(GAP).map(str::parse)) {
                (Some(path), _) => Self::Group(path.into()),
                (_, Some(Ok(batch_size))) => Self::Gap(batch_size),
                _ => Self::Custom(key.into()),
            },
        }
    }
}

impl From<String> for Measure {
    fn from(key: String) -> Self {
        Self::from(key.as_str())
    }
}

impl From<Measure> for String {
    fn from(measure: Measure) -> Self {
        measure.to_string()
    }
}

impl FromStr for Measure {
    type Err = std::convert::Infallible;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(key))
    }
}
