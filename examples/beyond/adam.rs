//! Adam: curvature as its preconditioner sees it, against the edge of its moving average.
//!
//! Adam's step is −ηP⁻¹m with P = √v + ε and m the moving average of gradients, so the edge is one of λ_max(P⁻¹H):
//! 2(1+β₁)/((1−β₁)η) = 38/η (Cohen et al. 2022, arXiv 2207.14484). With small batches λ_max(P⁻¹H) stays lower. What
//! could take its place is E\[uᵀH_Bu/(g_Bᵀu)\], u = P⁻¹g_B: as momentum that averages has no say in directions that come
//! rarely, its edge for small batches would be 2/η (`stability::Batching::Small`).

use std::path::Path;

use burn::tensor::Tensor;
use burn_sharpness::ParamVector;
use burn_sharpness::observe::{Measure, Value};
use burn_sharpness::operator::{FullBatchHessian, OperatorExt, OptimizerState, StepRule};
use burn_sharpness::prelude::*;
use burn_sharpness::stability::{AdamStabilityConfig, Stability};

use crate::Options;
use crate::experiment::images::Network;
use crate::experiment::run::Stream;
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::update::{Optimized, Optimizer, Update};
use crate::experiment::verdict::Verdicts;
use crate::report::{self, NEAR, Panel, each, inside, text};
use crate::support::error::Result;
use crate::support::mlp::Batch;
use crate::training::{Plan, Setup};

const NAME: &str = "adam";

/// Of all data, λ_max(P⁻¹H); over batches, E\[uᵀH_Bu/(g_Bᵀu)\] with u = P⁻¹g_B.
const WHOLE: &str = "preconditioned_sharpness";
const BATCHES: &str = "preconditioned_batch_sharpness";

/// burn's defaults, which [`Optimizer::Adam`] has.
const RULE: StepRule = StepRule::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-5 };

/// Samples of a chunk of the full batch.
const CHUNK: usize = 1024;

pub fn run(options: &Options) -> Result<()> {
    let setup = Setup::new(&options.images, NAME, Some(1000))?;
    let n = setup.data.n;
    // Batches of 8 at η = 0.01 have spikes in which the level drowns.
    let stages = match options.images.is_quick() {
        true => [(2000, 1e-2, n), (3000, 1e-2, 100), (6000, 5e-3, 8)],
        false => [(10_000, 1e-4, n), (50_000, 1e-4, 512), (100_000, 1e-4, 16)],
    };
    let mut panels = Vec::new();
    for (steps, lr, batch_size) in stages {
        let stage = options.applied_to(Stage { steps, lr, batch_size }, n);
        let plan = Plan::sgd(stage, 40);
        let num_batches = if batch_size == n { 1 } else { 8 };
        let plan = Plan {
            init_scale: 1.0,
            optimizer: Optimizer::Adam,
            schedule: Schedule { num_batches, ..plan.schedule },
            edge: AdamStabilityConfig::new(stage.lr).init()?.threshold(),
            ..plan
        };
        let loss = plan.loss.closure();
        let optimized = Optimized::new(Optimizer::Adam, loss);
        let seed = Stream::Noise.seed(options.images.seed);
        let mut update = Watched { optimized, loss, batch_size, num_batches, seed };
        panels.push(setup.train_by(&plan, &mut update)?);
    }
    let columns = [
        (Measure::Custom(WHOLE.into()), "preconditioned λmax"),
        (Measure::Custom(BATCHES.into()), "preconditioned batch sharpness"),
    ];
    report::print_table(&panels, &columns, "38/η");
    let title = format!("{}, squared error, Adam", setup.title());
    let chart = report::chart(title, "sharpness / (38/η)", &panels, &columns);
    report::save(&chart, &setup.folder, NAME)?;
    verdicts(&panels).finish(&setup.folder)
}

/// Adam, which notes what its preconditioner makes of the curvature.
struct Watched<F> {
    optimized: Optimized<F>,
    loss: F,
    batch_size: usize,
    num_batches: usize,
    seed: u64,
}

impl<F> Watched<F>
where
    F: Fn(&Network, Batch) -> Tensor<1> + Clone,
{
    /// λ_max(P⁻¹H).
    fn whole(&self, model: &Network, data: &Batch, p: &ParamVector) -> Result<Value> {
        let loss = self.loss.clone();
        let hessian = FullBatchHessian::new(model, data, loss, CHUNK, ChunkMemory::Keep)?;
        let solver = LanczosConfig::new().with_rel_tol(1e-2).init();
        let found = solver.solve(&hessian.preconditioned(p)?, None)?;
        Ok(Value::of(found.first().value))
    }

    /// E\[uᵀH_Bu/(g_Bᵀu)\], from seeds of the step: a run that goes on draws what it would have drawn.
    fn batches(
        &self,
        step: usize,
        model: &Network,
        data: &Batch,
        p: &ParamVector,
    ) -> Result<Value> {
        let config = BatchSharpnessConfig::new(self.batch_size)
            .with_num_batches(4 * self.num_batches)
            .with_seed(self.seed.wrapping_add(step as u64));
        let p = p.to_values()?;
        let step_of = |g: &ParamVector| {
            let step: Vec<f64> = g.to_values()?.iter().zip(&p).map(|(g, p)| -g / p).collect();
            g.space().from_values(&step)
        };
        let measured = config.init(self.loss.clone()).measure_steps(model, data, step_of)?;
        Ok(Value::of_estimate(&measured.mean_of_ratios.estimate, &[]))
    }
}

impl<F> Update<Network, Batch> for Watched<F>
where
    F: Fn(&Network, Batch) -> Tensor<1> + Clone,
{
    fn edge(&self, stage: &Stage, _n_samples: usize) -> Result<Option<Stability>> {
        Ok(Some(AdamStabilityConfig::new(stage.lr).init()?))
    }

    fn watched(&self) -> Option<Measure> {
        Some(Measure::Custom(WHOLE.into()))
    }

    fn notes(
        &mut self,
        step: usize,
        model: &Network,
        data: &Batch,
    ) -> Result<Vec<(String, Value)>> {
        if step == 0 {
            return Ok(Vec::new()); // there is no preconditioner yet
        }
        let p = OptimizerState::read(model, self.optimized.optimizer(), RULE)?.preconditioner;
        let whole = (WHOLE.to_string(), self.whole(model, data, &p)?);
        Ok(vec![whole, (BATCHES.to_string(), self.batches(step, model, data, &p)?)])
    }

    fn step(
        &mut self,
        step: usize,
        stage: &Stage,
        model: Network,
        batch: Batch,
    ) -> Result<(Network, f64)> {
        self.optimized.step(step, stage, model, batch)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        Update::<Network, Batch>::save(&self.optimized, folder)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        Update::<Network, Batch>::load(&mut self.optimized, folder)
    }
}

fn verdicts(panels: &[Panel]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let [whole, batches] = [WHOLE, BATCHES].map(|name| Measure::Custom(name.into()));
    // The smallest batches come last.
    let (full, small) = (&panels[0], &panels[panels.len() - 1]);
    let [of_full, of_small] = [full, small].map(|panel| panel.level(&whole));
    verdicts.add(
        "full batches: λmax(P⁻¹H) settles at 38/η (within 15%)",
        of_full.iter().map(|level| inside(level, NEAR)),
        text(of_full.as_ref()),
    );
    let levels: Vec<f64> =
        panels.iter().filter_map(|panel| Some(panel.level(&whole)?.mean)).collect();
    let mut lower: Vec<bool> = levels.windows(2).map(|two| two[1] < two[0]).collect();
    lower.extend(of_small.iter().map(|level| level.mean < NEAR.0));
    verdicts.add(
        "λmax(P⁻¹H) settles the lower the smaller the batches, at last below 0.85 of 38/η",
        lower,
        each(panels, |panel| text(panel.level(&whole).as_ref())),
    );
    // 2/η is a nineteenth of 38/η.
    let level = small.level_over(&batches, small.edge / 19.0);
    verdicts.add(
        "small batches: E[uᵀH_B u/gᵀu] settles at 2/η, the edge of orthogonal samples (within 15%)",
        level.iter().map(|level| inside(level, NEAR)),
        text(level.as_ref()),
    );
    verdicts
}
