//! The names that a training loop needs: `use burn_sharpness::prelude::*;`.

pub use crate::estimator::{
    BatchSharpness, BatchSharpnessConfig, Draws, FullBatchSharpness, FullBatchSharpnessConfig,
    MiniBatchSharpness, MiniBatchSharpnessConfig, Sampling, Sharpness, SharpnessGapConfig,
};
pub use crate::mode::Mode;
pub use crate::observe::{SharpnessMonitor, SharpnessMonitorConfig};
pub use crate::operator::{ChunkMemory, HessianOperator, LinearOperator, OperatorExt, ParamGroup};
pub use crate::samples::{IndexedSamples, Samples};
pub use crate::solver::{EigenSolver, LanczosConfig, LobpcgConfig, PowerIterationConfig, Which};
pub use crate::spectrum::TraceConfig;
pub use crate::stability::{Batching, SgdStabilityConfig, Stability};
