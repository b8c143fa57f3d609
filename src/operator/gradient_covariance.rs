//! The covariance of per-sample gradients: the noise of stochastic gradients.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::full_batch::check_mean;
use super::gauss_newton::{products_of_field, sandwich};
use super::{HessianOperator, Lanes, LinearOperator, OperatorExt, ScaledOperator};
use crate::batch::{self, Batch};
use crate::compiled::output_shape;
use crate::error::{Error, Result};
use crate::gauss_newton::Metric;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamBlock, ParamSpace, ParamVector};

/// C = (1/n) Σᵢ (gᵢ − ḡ)(gᵢ − ḡ)ᵀ over the n samples of a batch: the empirical Fisher matrix less ḡḡᵀ, with
/// the mean taken out before anything is multiplied, so that nothing cancels. It divides by n, as for
/// a whole population.
///
/// The covariance of the gradient of a mini-batch of these samples is a multiple of it:
/// [`of_batch_mean`](Self::of_batch_mean). Cost of a product: as
/// [`GaussNewtonOperator`](super::GaussNewtonOperator).
#[derive(Debug)]
pub struct GradientCovariance {
    products: HessianOperator,
    n_samples: usize,
}

impl GradientCovariance {
    /// Of a loss that is a mean over samples.
    ///
    /// # Errors
    /// As [`FisherOperator::empirical`](super::FisherOperator::empirical), whose conditions hold here,
    /// too.
    pub fn new<M, B, O, L, const D: usize>(
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
        let n_samples = check_samples(model, &state, &batch, &outputs, &loss)?;
        let parts = (&outputs, &loss);
        let products = sandwich(model, &state, batch, parts, Metric::CenteredScores)?;
        Ok(Self { products, n_samples })
    }

    /// The mean gradient ḡ.
    pub fn gradient(&self) -> &ParamVector {
        self.products.gradient()
    }

    /// The number of samples n.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// The covariance of the gradient of a batch of `batch_size` of the n samples, drawn without
    /// replacement: (n − b)/(b(n − 1)) · C.
    ///
    /// # Errors
    /// [`Error::BatchSize`] for a batch size of zero or above n.
    pub fn of_batch_mean(&self, batch_size: usize) -> Result<ScaledOperator<&Self>> {
        self.check_size(batch_size)?;
        let (n, b) = (self.n_samples as f64, batch_size as f64);
        let factor = if batch_size == self.n_samples { 0.0 } else { (n - b) / (b * (n - 1.0)) };
        Ok(self.scaled(factor))
    }

    /// The same for a batch whose samples are drawn independently, with replacement: C/b.
    ///
    /// # Errors
    /// [`Error::BatchSize`] for a batch size of zero.
    pub fn of_batch_mean_with_replacement(
        &self,
        batch_size: usize,
    ) -> Result<ScaledOperator<&Self>> {
        self.check_size(batch_size.min(self.n_samples))?;
        Ok(self.scaled(1.0 / batch_size as f64))
    }

    fn check_size(&self, batch_size: usize) -> Result<()> {
        let n_samples = self.n_samples;
        if (1..=n_samples).contains(&batch_size) {
            Ok(())
        } else {
            Err(Error::BatchSize { batch_size, n_samples })
        }
    }
}

/// The number of samples; fails where outputs and batch do not count the same ones, or the loss is no
/// mean over them.
pub(super) fn check_samples<M, B, O, L, const D: usize>(
    model: &M,
    state: &ModelState,
    batch: &B,
    outputs: &O,
    loss: &L,
) -> Result<usize>
where
    M: Module,
    B: Batch,
    O: Fn(&M, B) -> Tensor<D>,
    L: Fn(Tensor<D>, B) -> Tensor<1>,
{
    batch::signature(batch, state.space().device())?;
    let n_samples = batch::n_samples(batch)?;
    let mut shape = output_shape(model, state, batch, outputs)?;
    if shape[0] != n_samples {
        return Err(Error::SampleCountMismatch { expected: n_samples, found: shape[0] });
    }
    // The loss is tried on outputs that most losses accept, be they logits or probabilities.
    let n_tried = n_samples.min(4);
    let tried: Vec<usize> = (0..n_tried).map(|i| i * n_samples / n_tried).collect();
    shape[0] = n_tried;
    let values = (0..shape.iter().product()).map(|i: usize| 0.5 + 0.4 * (1.7 * i as f64).sin());
    let values = state.space().tensor(values.collect(), shape);
    let data = (values, batch::select(batch, &tried));
    let of_outputs = |_: &M, (f, batch): (Tensor<D>, B)| loss(f, batch);
    check_mean(model, state, &data, n_tried, &of_outputs)?;
    Ok(n_samples)
}

products_of_field!(GradientCovariance);
