//! Sharpness of burn models while they train.
#![deny(missing_docs)]

mod batch;
mod capture;
mod compiled;
mod error;
mod gradient;
mod ir;
mod linearize;
mod model_state;
pub mod operator;
mod params;
mod program;
pub mod solver;
mod tangent;

pub use batch::{Batch, TensorMapper};
pub use compiled::{graph_work, GraphWork, CompiledHessian};
pub use error::{Error, Result, UnsupportedOp};
pub use operator::{HessianOperator, LinearOperator};
pub use params::{ParamBlock, ParamEntry, ParamSpace, ParamVector};
pub use model_state::ModelState;
