//! Fisher matrices of a network: second moments of gradients of log-likelihoods.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::gauss_newton::{products_of_field, sandwich};
use super::gradient_covariance::check_samples;
use super::{HessianOperator, Lanes, LinearOperator, Predictive};
use crate::batch::{self, Batch};
use crate::compiled::output_values;
use crate::error::{Error, Result};
use crate::gauss_newton::Metric;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamBlock, ParamSpace, ParamVector};

/// F = (1/b) Σᵢ E(gᵢgᵢᵀ) over the b samples of a batch, gᵢ a gradient of sample i's negative
/// log-likelihood; the three constructors differ in the labels (Kunstner, Balles, Hennig 2019).
///
/// Samples are counted by the first dimension of the outputs. All three are positive semi-definite
/// and cost as much as [`GaussNewtonOperator`](super::GaussNewtonOperator).
#[derive(Debug)]
pub struct FisherOperator {
    products: HessianOperator,
}

impl FisherOperator {
    /// The Fisher matrix ("type 2"): labels are distributed as the model says, and the expectation over
    /// them is exact, F = (1/b) Σᵢ Jᵢᵀ Cov[T(y) | fᵢ] Jᵢ.
    ///
    /// It equals the Gauss-Newton matrix of the mean negative log-likelihood, whatever the labels,
    /// because the outputs are natural parameters: of burn's cross entropy for
    /// [`Predictive::Categorical`] with outputs `[b, classes]`, and of Σ(f−y)²/(2σ²b) for
    /// [`Predictive::Gaussian`], so that burn's mean squared error over `[b, c]`, which divides by b·c
    /// and has no ½, has the Gauss-Newton matrix 2σ²/c · F. Several predictions of one sample
    /// add up.
    ///
    /// # Errors
    /// As [`HessianOperator::new`]; [`Error::InvalidSetting`] for outputs or a variance that do not fit
    /// the distribution.
    pub fn exact<M, B, O, const D: usize>(
        model: &M,
        batch: B,
        outputs: O,
        predictive: Predictive,
        mode: Mode,
    ) -> Result<Self>
    where
        M: Module,
        B: Batch,
        O: Fn(&M, B) -> Tensor<D>,
    {
        predictive.check(D)?;
        let state = ModelState::in_mode(model, mode)?;
        // A(f) has the second derivative of the negative log-likelihood, without labels.
        let loss = |f: Tensor<D>, _: B| predictive.log_partition(f);
        let products = sandwich(model, &state, batch, (&outputs, &loss), Metric::Hessian)?;
        Ok(Self { products })
    }

    /// The Monte-Carlo estimate of [`exact`](Self::exact): F̂ = (1/bK) Σₖᵢ gₖᵢgₖᵢᵀ with K = `n_draws` labels
    /// per sample drawn from the model's distribution, on the host, from `seed`. Its mean over seeds is
    /// F. Made with one more forward pass, whose outputs are read back; memory and cost of the part
    /// behind the network grow with K.
    ///
    /// # Errors
    /// As [`exact`](Self::exact); [`Error::InvalidSetting`] for no draws, [`Error::NonFinite`] for outputs
    /// that are no numbers.
    pub fn monte_carlo<M, B, O, const D: usize>(
        model: &M,
        batch: B,
        outputs: O,
        (predictive, n_draws, seed): (Predictive, usize, u64),
        mode: Mode,
    ) -> Result<Self>
    where
        M: Module,
        B: Batch,
        O: Fn(&M, B) -> Tensor<D>,
    {
        predictive.check(D)?;
        if n_draws == 0 {
            let (setting, value) = ("n_draws", "0".to_string());
            return Err(Error::InvalidSetting { setting, value, expected: "at least 1" });
        }
        let state = ModelState::in_mode(model, mode)?;
        batch::signature(&batch, state.space().device())?;
        let f = output_values(model, &state, &batch, &outputs)?;
        let labels = predictive.sample(&f, n_draws, seed, state.space())?;
        let repeated = |model: &M, (batch, _): (B, Tensor<D>)| {
            let f = outputs(model, batch);
            if n_draws == 1 { f } else { f.repeat_dim(0, n_draws) }
        };
        let loss = |f: Tensor<D>, (_, labels): (B, Tensor<D>)| predictive.surprise(f, labels);
        let parts = (&repeated, &loss);
        let products = sandwich(model, &state, (batch, labels), parts, Metric::Scores)?;
        Ok(Self { products })
    }

    /// The empirical Fisher matrix (1/b) Σᵢ gᵢgᵢᵀ: the second moment of the per-sample gradients
    /// gᵢ = ∇ℓᵢ at the labels of the data. Not an estimate of [`exact`](Self::exact).
    ///
    /// The loss must be a mean over samples, (1/b) Σᵢ ℓᵢ(fᵢ), with samples along the first dimension of
    /// outputs and batch tensors; gᵢ·v = δᵢ·(Jv)ᵢ with δᵢ = ∂ℓᵢ/∂fᵢ. Where the *network* couples its
    /// samples (batch normalization in training), gᵢ is the gradient of sample i's loss through
    /// the whole batch.
    ///
    /// # Errors
    /// As [`HessianOperator::new`]; [`Error::NotAMeanOverSamples`] for a loss that is no mean over
    /// samples, found by trying it on four samples, together and one by one;
    /// [`Error::SampleCountMismatch`] where outputs or tensors count other samples.
    pub fn empirical<M, B, O, L, const D: usize>(
        model: &M,
        batch: B,
        outputs: O,
        loss: L,
        mode: Mode,
    ) -> Result<Self>
    where
        M: Module,
        B: Batch,
        O: Fn(&M, B) -> Tensor<D>,
        L: Fn(Tensor<D>, B) -> Tensor<1>,
    {
        let state = ModelState::in_mode(model, mode)?;
        check_samples(model, &state, &batch, &outputs, &loss)?;
        let products = sandwich(model, &state, batch, (&outputs, &loss), Metric::Scores)?;
        Ok(Self { products })
    }
}

products_of_field!(FisherOperator);
