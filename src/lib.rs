//! # burn-sharpness
//!
//! How curved is the loss of a [burn](https://docs.rs/burn) model where training stands?
//! Hessian-vector products at the price of about one gradient or less, eigensolvers on top of them, and
//! the quantities of "Edge of Stochastic Stability" (arXiv 2412.20553): mini-batch sharpness, full
//! batch sharpness, batch sharpness, to be compared with 2/η.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use burn_sharpness::prelude::*;
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(4, 2).init(&device);
//! let x = Tensor::<2>::random([32, 4], Distribution::Default, &device);
//! let y = Tensor::<2>::random([32, 2], Distribution::Default, &device);
//!
//! // A loss is a closure: any model, any batch type, any loss.
//! let loss = |model: &Linear, (x, y): (Tensor<2>, Tensor<2>)| {
//!     (model.forward(x) - y).powi_scalar(2).sum_dim(1).mean()
//! };
//!
//! // One batch: λ_max with its residual and its cost.
//! let top = model.sharpness((x.clone(), y.clone()), loss)?;
//! println!("{:.3} ± {:.0e} in {} products", top.value, top.residual_norm, top.n_hvps);
//!
//! // During training: compiled once, started from the last eigenvector, seeded.
//! let mut monitor = MiniBatchSharpnessConfig::new(8).with_every(100).init(loss);
//! if monitor.is_due(0) {
//!     let measured = monitor.measure(&model, &(x, y))?;
//!     println!("{:?}", measured.estimate.interval);
//! }
//! # Ok::<(), burn_sharpness::Error>(())
//! ```
//!
//! | I want to | use |
//! |---|---|
//! | measure one batch | [`Sharpness`](estimator::Sharpness) |
//! | measure during training | [`MiniBatchSharpnessConfig`](estimator::MiniBatchSharpnessConfig), [`FullBatchSharpnessConfig`](estimator::FullBatchSharpnessConfig), [`BatchSharpnessConfig`](estimator::BatchSharpnessConfig) |
//! | choose between training and evaluation, with or without dropout | [`Mode`] |
//! | products with the Hessian | [`HessianOperator`], [`FullBatchHessian`](operator::FullBatchHessian) |
//! | products with the Hessians of several batches at once | [`HessianLanes`](operator::HessianLanes) |
//! | other ends of the spectrum, several eigenvalues | [`solver`] |
//! | trace, diagonal, density of eigenvalues | [`spectrum`] |
//! | Gauss-Newton, Fisher, NTK, per layer, preconditioned | [`operator`] |
//! | the gap between mini-batch and full batch, gradient noise, steps of any optimizer | [`estimator`] |
//! | compare with the edge of my optimizer, tell phases of a run | [`stability`] |
//! | watch a training at a cost that I set, keep what was measured | [`observe`] |
//! | data that is not in memory | [`Samples`] |
//! | pictures of a run | `plot`, with the feature `plot` |
//! | an operator of my own | [`ClosureOperator`](operator::ClosureOperator) |
//! | pass my own batch type | [`Batch`], [`batch!`] |
//! | measure on data that is not in memory | [`Samples`], [`IndexedSamples`], `DatasetSamples` (feature `train`) |
//! | see which operations work | [`op_support()`] |
//! | look at the graphs | [`graph`] |
//!
//! How it works: burn's capture device records the loss, burn's own autodiff records its gradient,
//! a table of rules pushes tangents through it, and the part that does not depend on the vector is
//! computed once per batch. The model that is measured stays bit-identical.

// Panics must not cross the public API, and a new burn operation must be a compile error.
#![deny(missing_docs)]
#![deny(rustdoc::broken_intra_doc_links)]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod batch;
mod batching;
mod batching_check;
mod capture;
mod compiled;
mod display;
mod error;
pub mod estimator;
mod expand;
mod fingerprint;
mod forward;
mod gauss_newton;
mod gradient;
mod ir;
mod lane_programs;
mod linearize;
mod mode;
mod model_state;
mod noise;
pub mod observe;
mod op_support;
pub mod operator;
mod parallel;
mod params;
#[cfg(feature = "plot")]
pub mod plot;
pub mod prelude;
mod program;
mod row_space;
mod samples;
mod simplify;
pub mod solver;
pub mod spectrum;
pub mod stability;
mod statistics;
mod tangent;
#[cfg(feature = "train")]
pub mod train;
mod verify;

/// The stages of a Hessian-vector product, each with a text display:
/// `LossGraph::capture(..)?.differentiate()?.push_forward()?.linearize().compile()`.
pub mod graph {
    pub use crate::capture::LossGraph;
    pub use crate::compiled::{CompiledHessian, GraphWork, graph_work};
    pub use crate::gradient::GradientGraph;
    pub use crate::linearize::{JvpGraph, LinearizedGraph};
    pub use crate::model_state::ModelState;
}

pub use batch::{Batch, TensorMapper};
#[doc(hidden)]
pub use batching_check::{BatchingCheck, check_batching};
pub use error::{Error, Result, UnsupportedOp};
#[doc(hidden)]
pub use forward::hvp_not_linearized;
pub use forward::jvp;
pub use mode::Mode;
pub use op_support::{OpSupport, op_support};
pub use operator::{HessianOperator, LinearOperator};
pub use params::{ParamBlock, ParamEntry, ParamSpace, ParamVector};
#[cfg(feature = "train")]
pub use samples::{DatasetSamples, read_loader};
pub use samples::{IndexedSamples, Samples};

/// The README's quickstart runs as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The recipe of the table of quantities runs as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../docs/quantities.md")]
struct Quantities;

/// So do the how-tos.
#[cfg(doctest)]
#[doc = include_str!("../docs/how-to.md")]
struct HowTo;
