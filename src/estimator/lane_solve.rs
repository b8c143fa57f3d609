//! λ_max of the Hessians of several mini-batches side by side, from starts that see the top.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::Tensor;

use super::TopEigenvalue;
use crate::batch::{self, Batch};
use crate::compiled::PreparedLoss;
use crate::error::Result;
use crate::model_state::ModelState;
use crate::operator::{HessianLanes, HessianOperator, LaneVectors, Lanes};
use crate::parallel;
use crate::params::ParamVector;
use crate::solver::{Lanczos, LanczosConfig, LaneResult};

/// Start vectors: the sum of the gradient, a random vector and, if there is one, an earlier
/// eigenvector, each of norm 1; in a frame smaller than the space the product with that sum, so that all
/// coordinates of the solve are those of products (one product in each lane).
///
/// The gradient lies mostly in the span of the top eigenvectors. An old eigenvector alone may still be
/// one, but no longer the top one, and no method leaves an exact eigenvector by itself.
pub(super) fn start(
    lanes: &HessianLanes,
    earlier: Option<&ParamVector>,
    seeds: &[u64],
) -> Result<LaneVectors> {
    let unit = |coordinates| Ok(LaneVectors::new(lanes, coordinates)?.normalized().images);
    let mut images = unit(lanes.gradients())? + unit(lanes.random(seeds))?;
    // One of another model is no start.
    if let Some(earlier) = earlier.filter(|v| lanes.space().check(v.space()).is_ok()) {
        images = images + lanes.images_of(&earlier.normalized()?.0)?;
    }
    let coordinates = if lanes.is_dense() { images } else { lanes.apply(&images)? };
    LaneVectors::new(lanes, coordinates)
}

/// λ_max of one lane.
pub(super) struct LaneTop {
    pub value: f64,
    pub residual_norm: f64,
    pub converged: bool,
    pub n_hvps: usize,
    /// Coordinates `[1, width]` of the eigenvector; `None` when it is outside the frame.
    coordinates: Option<Tensor<2>>,
    outside: Option<ParamVector>,
}

impl LaneTop {
    /// The eigenvector as a vector of parameter space.
    pub fn vector(&self, lanes: &HessianLanes, lane: usize) -> Result<ParamVector> {
        match (&self.coordinates, &self.outside) {
            (_, Some(vector)) => Ok(vector.clone()),
            (Some(coordinates), None) => lanes.expand_row(coordinates, lane),
            (None, None) => Ok(lanes.space().zeros()),
        }
    }
}

/// λ_max of every lane, by Lanczos from [`start`]. `whole(lane)` gives the Hessian of a lane on all of
/// parameter space, for a lane that its frame does not serve.
pub(super) fn top_of_lanes(
    lanes: &HessianLanes,
    earlier: Option<&ParamVector>,
    config: &LanczosConfig,
    seeds: &[u64],
    whole: impl Fn(usize) -> Result<HessianOperator>,
) -> Result<Vec<LaneTop>> {
    let solver = config.init();
    // A start in a smaller frame is a product.
    let start_products = usize::from(!lanes.is_dense());
    let top = |(lane, found): (usize, LaneResult)| {
        let LaneResult { values, vectors, n_applies, .. } = found;
        let (value, residual_norm, converged) = values[0];
        let n_hvps = n_applies + start_products;
        let needs_all = solver.needs_all_of_space([(value, converged)].into_iter(), n_applies);
        if needs_all && !lanes.is_dense() {
            let found = solver.solve_on_all_of_space(&whole(lane)?, None)?;
            let (pair, n_hvps) = (found.first(), n_hvps + found.n_applies);
            return Ok(LaneTop {
                value: pair.value,
                residual_norm: pair.residual_norm,
                converged: pair.converged,
                n_hvps,
                coordinates: None,
                outside: Some(pair.vector.clone()),
            });
        }
        let coordinates = vectors.into_iter().next();
        Ok(LaneTop { value, residual_norm, converged, n_hvps, coordinates, outside: None })
    };
    solved(lanes, earlier, &solver, seeds)?.into_iter().enumerate().map(top).collect()
}

/// The solves of all lanes: a few in each, the solves on all threads.
fn solved(
    lanes: &HessianLanes,
    earlier: Option<&ParamVector>,
    solver: &Lanczos,
    seeds: &[u64],
) -> Result<Vec<LaneResult>> {
    let (k, device) = (seeds.len(), lanes.space().device());
    let numbers: Vec<usize> = (0..k).collect();
    let part = |numbers: &[usize]| {
        let seeds: Vec<u64> = numbers.iter().map(|&lane| seeds[lane]).collect();
        // A copy of the vector for each thread: tensors are sent to threads, not shared between them.
        Ok((lanes.selected(numbers)?, earlier.cloned(), seeds))
    };
    let at_once = parallel::lanes_per_solve(lanes.shape(), device);
    let parts = numbers.chunks(at_once).map(part).collect::<Result<Vec<_>>>()?;
    let found = parallel::map(device, parts, |(lanes, earlier, seeds)| {
        let start = start(&lanes, earlier.as_ref(), &seeds)?;
        solver.solve_lanes(&lanes, start, &seeds, false)
    });
    Ok(found.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// λ_max of one batch; `earlier` is an eigenvector from before.
pub(super) fn top_of_batch<M, B, F>(
    state: &ModelState,
    model: &M,
    batch: B,
    loss: &F,
    earlier: Option<&ParamVector>,
    config: &LanczosConfig,
) -> Result<TopEigenvalue>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    let began = Instant::now();
    batch::signature(&batch, state.space().device())?;
    let prepared = PreparedLoss::of(model, state, &batch, loss)?;
    let tensors = batch::tensors(batch.clone());
    let lanes = HessianLanes::at(state, 1, &tensors, &prepared)?;
    let whole = |_| HessianOperator::at(state, batch.clone(), &prepared);
    let found = top_of_lanes(&lanes, earlier, config, &[config.seed], whole)?;
    let top = &found[0];
    Ok(TopEigenvalue {
        value: top.value,
        residual_norm: top.residual_norm,
        converged: top.converged,
        n_hvps: top.n_hvps,
        vector: top.vector(&lanes, 0)?,
        loss: lanes.losses()[0],
        elapsed: began.elapsed(),
    })
}
