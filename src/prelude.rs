//! The names that a training loop needs: `use burn_sharpness::prelude::*;`.

pub use crate::batch::Batch;
pub use crate::estimator::{
    BatchSharpnessConfig, FullBatchSharpnessConfig, MiniBatchSharpnessConfig, Sampling, Sharpness,
};
pub use crate::operator::{HessianOperator, LinearOperator};
pub use crate::solver::{EigenSolver, LanczosConfig, Which};
