//! λ_max and top eigenvector of the Hessian and of the Gauss-Newton matrix of the same mini-batches.

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use burn_sharpness::estimator::{Sampling, draw_batches};
use burn_sharpness::operator::{GaussNewtonOperator, JacobianOperator};
use burn_sharpness::prelude::*;
use burn_sharpness::solver::Lanczos;
use burn_sharpness::{ParamBlock, observe::Value};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::experiment::folder::{read_json, write_json};
use crate::experiment::images::Network;
use crate::experiment::schedule::Stage;
use crate::experiment::update::{Optimized, Update};
use crate::support::error::{ExampleError, Result};
use crate::support::mlp::{Batch, squared_error};

/// What is drawn for the measurements.
#[derive(Clone, Debug, Serialize)]
pub struct Draws {
    pub batch_sizes: Vec<usize>,
    /// The most mini-batches of one size; of large ones fewer, so that they are not all the same samples.
    pub num_batches: usize,
    pub seed: u64,
}

/// The top of both matrices of one mini-batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Tops {
    pub hessian: f64,
    pub gauss_newton: f64,
    /// (v_H·v_G)² of the top eigenvectors.
    pub overlap: f64,
    /// ‖Av − λv‖/λ, the larger of both.
    pub residual: f64,
    pub loss: f64,
}

/// Mini-batches of one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AtSize {
    pub batch_size: usize,
    pub batches: Vec<Tops>,
    /// Twice λ_max of the tangent kernel JJᵀ/b of the first mini-batch: for squared error that of its Gauss-Newton
    /// matrix, found on the other side of J.
    pub kernel: f64,
}

/// All sizes at one step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moment {
    pub step: usize,
    pub sizes: Vec<AtSize>,
}

impl Draws {
    /// Measures at frozen weights. The same samples at every step: what differs is due to the weights.
    fn measure(&self, step: usize, model: &Network, data: &Batch) -> Result<Moment> {
        let n = data.n_samples()?;
        let failed = |source| ExampleError::Measurement { step, source };
        let mut sizes = Vec::new();
        for &batch_size in &self.batch_sizes {
            let count =
                if batch_size == n { 1 } else { self.num_batches.min((n / batch_size).max(4)) };
            let sampling = Sampling::WithoutReplacement;
            let drawn = draw_batches(sampling, n, batch_size, count, self.seed, batch_size as u64);
            let drawn = drawn.map_err(failed)?;
            let batches = drawn.iter().enumerate().map(|(number, samples)| {
                let seed = self.seed.wrapping_add(number as u64);
                tops(model, data.select(samples)?, seed)
            });
            let batches = batches.collect::<burn_sharpness::Result<_>>().map_err(failed)?;
            let first = data.select(&drawn[0]).map_err(failed)?;
            let kernel = kernel(model, first).map_err(failed)?;
            sizes.push(AtSize { batch_size, batches, kernel });
        }
        Ok(Moment { step, sizes })
    }
}

fn outputs(model: &Network, (features, _): Batch) -> Tensor<2> {
    model.forward(features)
}

fn of_outputs(outputs: Tensor<2>, (_, one_hot): Batch) -> Tensor<1> {
    squared_error(outputs, one_hot)
}

/// The squared error of a batch.
pub fn loss(model: &Network, batch: Batch) -> Tensor<1> {
    of_outputs(outputs(model, batch.clone()), batch)
}

fn tops(model: &Network, batch: Batch, seed: u64) -> burn_sharpness::Result<Tops> {
    let hessian = HessianOperator::new(model, batch.clone(), loss)?;
    let gauss_newton = GaussNewtonOperator::new(model, batch, outputs, of_outputs)?;
    // The gradient lies mostly where curvature is high; the random vector sees the rest.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let random = hessian.space().random(&mut rng).normalized()?.0;
    let start = ParamBlock::from_vectors(&[hessian.gradient().normalized()?.0, random])?;
    let solver = solver(seed);
    let (h, g) =
        (solver.solve(&hessian, Some(&start))?, solver.solve(&gauss_newton, Some(&start))?);
    let (h, g) = (h.first(), g.first());
    Ok(Tops {
        hessian: h.value,
        gauss_newton: g.value,
        overlap: h.vector.dot(&g.vector)?.powi(2),
        loss: hessian.loss(),
        residual: (h.residual_norm / h.value.abs()).max(g.residual_norm / g.value.abs()),
    })
}

fn kernel(model: &Network, batch: Batch) -> burn_sharpness::Result<f64> {
    let kernel = JacobianOperator::new(model, batch, outputs, Mode::Train)?.ntk();
    Ok(2.0 * solver(0).solve(&kernel, None)?.first().value)
}

/// The ten classes of an untrained network have ten eigenvalues close together, and their vectors are compared:
/// a small residual, and a second look at what the start may have hidden.
fn solver(seed: u64) -> Lanczos {
    LanczosConfig::new().with_rel_tol(1e-4).with_probe_steps(8).with_seed(seed).init()
}

/// SGD that is looked at now and then.
pub struct Watched<F> {
    pub training: Optimized<F>,
    pub draws: Draws,
    /// Steps to look at.
    pub at: Vec<usize>,
    /// Where the results go.
    pub file: PathBuf,
    pub moments: Vec<Moment>,
}

const FILE: &str = "moments.json";

impl<F> Watched<F> {
    /// The results of a run that had come to its end before: no checkpoint has the last of them.
    pub fn read_finished(&mut self) -> Result<()> {
        if self.moments.is_empty() {
            self.moments = read_moments(&self.file)?;
        }
        Ok(())
    }
}

fn read_moments(path: &Path) -> Result<Vec<Moment>> {
    let Some(value) = read_json(path)? else { return Ok(Vec::new()) };
    serde_json::from_value(value).map_err(|e| ExampleError::checkpoint(path, e))
}

impl<F> Update<Network, Batch> for Watched<F>
where
    F: Fn(&Network, Batch) -> Tensor<1>,
{
    fn notes(
        &mut self,
        step: usize,
        model: &Network,
        data: &Batch,
    ) -> Result<Vec<(String, Value)>> {
        if self.at.contains(&step) {
            self.moments.push(self.draws.measure(step, model, data)?);
            write_json(&self.file, &self.moments)?;
        }
        Ok(Vec::new()) // they would crowd the picture of the run
    }

    fn step(
        &mut self,
        step: usize,
        stage: &Stage,
        model: Network,
        batch: Batch,
    ) -> Result<(Network, f64)> {
        self.training.step(step, stage, model, batch)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(FILE), &self.moments)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.moments = read_moments(&folder.join(FILE))?;
        Ok(())
    }
}
