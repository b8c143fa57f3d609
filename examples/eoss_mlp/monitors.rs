//! The four quantities that are measured beside the training, and what they cost.

use std::time::Duration;

use burn::tensor::Tensor;
use burn_sharpness::estimator::{
    BatchSharpness, FullBatchSharpness, MiniBatchSharpness, TopEigenvalue,
};
use burn_sharpness::{Result, prelude::*};

use crate::history::{LiveRow, Measurement, SingleBatch};
use crate::model::{Batch, Mlp};
use crate::options::Settings;

/// Batches for batch sharpness per batch for mini-batch sharpness: a ratio takes one product, an
/// eigenvalue several.
const RATIOS_PER_EIGENVALUE: usize = 2;

/// Estimators, each with its own memory of the last eigenvector.
pub struct Monitors<F> {
    mini: MiniBatchSharpness<F>,
    full: FullBatchSharpness<F>,
    ratio: BatchSharpness<F>,
    pub n_hvps: usize,
    pub elapsed: Duration,
}

impl<F> Monitors<F>
where
    F: Fn(&Mlp, Batch) -> Tensor<1> + Clone,
{
    /// `loss` is the closure that training uses too.
    pub fn new(settings: &Settings, seed: u64, loss: F) -> Self {
        let Settings { batch_size, num_batches, measure_every, .. } = *settings;
        let mini = MiniBatchSharpnessConfig::new(batch_size)
            .with_num_batches(num_batches)
            .with_every(measure_every)
            .with_seed(seed);
        let ratio = BatchSharpnessConfig::new(batch_size)
            .with_num_batches(RATIOS_PER_EIGENVALUE * num_batches)
            .with_seed(seed.wrapping_add(1));
        let full = FullBatchSharpnessConfig::new().with_seed(seed);
        Self {
            mini: mini.init(loss.clone()),
            full: full.init(loss.clone()),
            ratio: ratio.init(loss),
            n_hvps: 0,
            elapsed: Duration::ZERO,
        }
    }

    pub fn is_due(&self, step: usize) -> bool {
        self.mini.is_due(step)
    }

    /// All quantities at frozen weights, over `data`, the training set.
    pub fn measure(
        &mut self,
        step: usize,
        model: &Mlp,
        data: &Batch,
    ) -> Result<(Measurement, Vec<SingleBatch>)> {
        let full = self.full.measure(model, data)?;
        self.count(full.n_hvps, full.elapsed);
        let mini = self.mini.measure(model, data)?;
        self.count(mini.n_hvps, mini.elapsed);
        let ratio = self.ratio.measure(model, data)?;
        self.count(ratio.n_hvps, ratio.elapsed);

        let draw = mini.draw;
        let batches = mini.values.iter().zip(&mini.residual_norms).enumerate();
        let batches = batches
            .map(|(batch, (&lambda_max, &residual_norm))| SingleBatch {
                step,
                draw,
                batch,
                lambda_max,
                residual_norm,
            })
            .collect();
        let measurement = Measurement {
            step,
            loss: full.loss,
            minibatch_sharpness: mini.estimate.mean,
            minibatch_standard_error: mini.estimate.standard_error,
            minibatch_max: mini.estimate.max,
            minibatch_unconverged: mini.n_unconverged,
            fullbatch_sharpness: full.value,
            fullbatch_residual_norm: full.residual_norm,
            fullbatch_converged: full.converged,
            batch_sharpness: ratio.estimate.mean,
            batch_sharpness_standard_error: ratio.estimate.standard_error,
            live_moving_average: None,
            hvps: full.n_hvps + mini.n_hvps + ratio.n_hvps,
            seconds: (full.elapsed + mini.elapsed + ratio.elapsed).as_secs_f64(),
        };
        Ok((measurement, batches))
    }

    /// λ_max of the batch that the next step uses.
    pub fn measure_live(&mut self, step: usize, model: &Mlp, batch: Batch) -> Result<LiveRow> {
        let TopEigenvalue { value, residual_norm, n_hvps, loss, elapsed, .. } =
            self.mini.measure_live(model, batch)?;
        self.count(n_hvps, elapsed);
        Ok(LiveRow { step, loss, lambda_max: value, residual_norm, moving_average: value })
    }

    fn count(&mut self, n_hvps: usize, elapsed: Duration) {
        self.n_hvps += n_hvps;
        self.elapsed += elapsed;
    }
}
