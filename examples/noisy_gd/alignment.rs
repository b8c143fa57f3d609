//! How much of each noise points where curvature is highest.

use burn_sharpness::Mode;
use burn_sharpness::operator::{GradientCovariance, LinearOperator};
use burn_sharpness::prelude::*;

use super::variance;
use crate::support::error::Result;
use crate::support::mlp::{Batch, Mlp, loss, squared_error};

/// Variances along the top eigenvector v of the Hessian of all data. Their traces are the same.
pub struct AlongTop {
    /// vᵀΣv.
    pub directional: f64,
    /// vᵀdiag(Σ)v.
    pub diagonal: f64,
    /// tr(Σ)/p.
    pub isotropic: f64,
}

pub fn along_top(model: &Mlp, data: &Batch) -> Result<AlongTop> {
    let top = FullBatchSharpnessConfig::new().init(loss).measure(model, data)?;
    let outputs = |model: &Mlp, (features, _): Batch| model.forward(features);
    let of_outputs = |outputs, (_, one_hot): Batch| squared_error(outputs, one_hot);
    let covariance =
        GradientCovariance::new(model, data.clone(), outputs, of_outputs, Mode::Train)?;
    let directional = top.vector.dot(&covariance.apply(&top.vector)?)?;
    // The vector's entries are in the order in which a module visits its parameters, as the variances are.
    let variances = variance::of_gradients(model, data);
    let weighted = top.vector.tensor().powi_scalar(2) * variances.clone();
    Ok(AlongTop {
        directional,
        diagonal: weighted.sum().into_scalar(),
        isotropic: variances.mean().into_scalar(),
    })
}
