//! Estimators: model + data + loss -> a number with its error and its cost.

mod batch_sharpness;
mod contraction;
mod critical_sharpness;
mod full_batch_sharpness;
mod gap;
mod gradient_noise;
mod lane_solve;
mod mini_batches;
mod minibatch_extremes;
mod minibatch_sharpness;
mod monte_carlo;
mod noise_kernel;
mod ratio;
mod sampling;
mod sharpness;
mod step_sharpness;
mod whole;

use std::time::Duration;

use crate::params::ParamVector;

pub use crate::statistics::{Estimate, student_t_95};
pub use batch_sharpness::{BatchSharpness, BatchSharpnessConfig, BatchSharpnessMeasurement};
pub use contraction::{Contraction, ContractionConfig, ContractionMeasurement};
pub use critical_sharpness::{
    CriticalOutcome, CriticalSharpness, CriticalSharpnessConfig, CriticalSharpnessMeasurement,
};
pub use full_batch_sharpness::{FullBatchSharpness, FullBatchSharpnessConfig};
pub use gap::{
    Crossover, GapAtBatchSize, GapPrediction, PowerLaw, PowerLawPoint, SecondOrder, SharpnessGap,
    SharpnessGapConfig, SharpnessGapMeasurement,
};
pub use gradient_noise::{
    GradientNoise, GradientNoiseConfig, GradientNoiseMeasurement, OneStepChange,
};
pub use minibatch_extremes::{
    Extremes, Fraction, MiniBatchExtremes, MiniBatchExtremesConfig, MiniBatchExtremesMeasurement,
};
pub use minibatch_sharpness::{
    MiniBatchSharpness, MiniBatchSharpnessConfig, MiniBatchSharpnessMeasurement,
};
pub use noise_kernel::{NoiseKernel, NoiseKernelConfig, NoiseKernelMeasurement};
pub use ratio::{MeanOfRatios, RatioOfMeans};
pub use sampling::{Draws, Sampling, draw_batches};
pub use sharpness::Sharpness;
pub use step_sharpness::{StepCurvature, StepSharpnessMeasurement};

/// λ_max of one Hessian, with what it took to find it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopEigenvalue {
    /// The Rayleigh quotient vᵀHv: a lower bound of λ_max.
    pub value: f64,
    /// ‖Hv − λv‖: some eigenvalue lies within this distance of `value`.
    pub residual_norm: f64,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
    /// Hessian-vector products; one with a full-batch Hessian counts once, whatever its chunks.
    pub n_hvps: usize,
    /// The eigenvector v, of norm 1.
    pub vector: ParamVector,
    /// The loss at which the Hessian was taken.
    pub loss: f64,
    /// Wall time of the whole measurement.
    pub elapsed: Duration,
}

/// What the next measurement depends on besides the model: a start, and its stream of random numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct SolveMemory {
    /// The eigenvector of the last measurement.
    pub start: Option<ParamVector>,
    /// Measurements so far.
    pub n_measured: u64,
}
