//! Cross-entropy: curvature rises towards 2/η, and then falls as the loss saturates.
//!
//! Once every sample is classified with a margin, growing weights lower the loss and, with it, the curvature p(1 − p)
//! of the outputs: the edge is visited, not stayed at (Cohen et al. 2021, arXiv 2103.00065). Later work sees
//! cross-entropy on little data stay below the edge with small batches (arXiv 2604.21016).

use burn_sharpness::observe::Measure;

use crate::Options;
use crate::experiment::images::LossName;
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::verdict::Verdicts;
use crate::report::{self, NEAR, Panel, SHARPNESS, each};
use crate::support::error::Result;
use crate::training::{Plan, Setup};

const NAME: &str = "cross-entropy";

pub fn run(options: &Options) -> Result<()> {
    let setup = Setup::new(&options.images, NAME, Some(1000))?;
    let n = setup.data.n;
    // Batches of all samples first.
    let stages = match options.images.is_quick() {
        true => [(1000, 1.0, n), (5000, 0.1, 8), (5000, 0.2, 8)],
        false => [(20_000, 0.05, n), (200_000, 0.01, 16), (200_000, 0.05, 16)],
    };
    let stages = stages.map(|(steps, lr, batch_size)| Stage { steps, lr, batch_size });
    let mut stages = stages.map(|stage| options.applied_to(stage, n)).to_vec();
    stages.dedup(); // with a step size for all, the last two are one
    let mut panels = Vec::new();
    for stage in stages {
        let batch_size = stage.batch_size;
        let plan = Plan { loss: LossName::Ce, ..Plan::sgd(stage, 100) };
        // The mini-batches of full batches are all the same one.
        let num_batches = if batch_size == n { 1 } else { 8 };
        let schedule = Schedule { num_batches, ..plan.schedule };
        panels.push(setup.train(&Plan { schedule, ..plan })?);
    }
    report::print_table(&panels, &SHARPNESS, "2/η");
    let title = format!("{}, cross-entropy", setup.title());
    let columns = [SHARPNESS[0].clone(), SHARPNESS[2].clone()];
    let chart = report::chart(title, "sharpness / (2/η)", &panels, &columns);
    let chart = report::logarithmic(chart);
    report::save(&chart, &setup.folder, NAME)?;
    verdicts(&panels).finish(&setup.folder)
}

fn verdicts(panels: &[Panel]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let (full, small) = panels.split_at(1);
    let peaks = |panels: &[Panel], measure: Measure| -> Vec<f64> {
        panels.iter().filter_map(|panel| Some(panel.peak(&measure)?.1)).collect()
    };
    let words = |panels: &[Panel], measure: Measure| {
        each(panels, |panel| {
            let peak = panel.peak(&measure);
            peak.map_or("-".into(), |(step, peak)| format!("{peak:.3} at step {step}"))
        })
    };
    let top = Measure::FullBatchSharpness;
    let reached: Vec<bool> = peaks(full, top.clone()).iter().map(|peak| *peak >= NEAR.0).collect();
    verdicts.add(
        "full batches: sharpness rises to 2/η (its highest value is above 0.85 of it)",
        reached,
        words(full, top.clone()),
    );
    let mini = Measure::MiniBatchSharpness;
    let reached: Vec<bool> = peaks(small, mini.clone()).iter().map(|peak| *peak >= 1.0).collect();
    verdicts.add("small batches: mini-batch sharpness reaches 2/η", reached, words(small, mini));
    let batch = Measure::BatchSharpness;
    let reached: Vec<bool> =
        peaks(small, batch.clone()).iter().map(|peak| *peak >= NEAR.0).collect();
    verdicts.add(
        "small batches: batch sharpness rises to 2/η (its highest value is above 0.85 of it)",
        reached,
        words(small, batch),
    );
    let below: Vec<bool> = peaks(small, top.clone()).iter().map(|peak| *peak < 1.0).collect();
    let statement = "small batches: full-batch sharpness never reaches 2/η";
    verdicts.add(statement, below, words(small, top));
    saturation(&mut verdicts, panels);
    verdicts
}

/// The end, which counts where the loss has saturated: dead networks have no curvature either.
fn saturation(verdicts: &mut Verdicts, panels: &[Panel]) {
    let fall =
        |panel: &Panel, measure: &Measure| Some(panel.last(measure)? / panel.peak(measure)?.1);
    let losses = |panel: &Panel| {
        let losses = panel.losses();
        losses.first().zip(losses.last()).map(|(first, last)| last.1 / first.1)
    };
    let mut parts: Vec<bool> = panels.iter().filter_map(losses).map(|rest| rest < 0.01).collect();
    let falls =
        panels.iter().flat_map(|panel| SHARPNESS.iter().filter_map(|(m, _)| fall(panel, m)));
    parts.extend(falls.map(|fall| fall < 0.5));
    let numbers = each(panels, |panel| {
        let falls = SHARPNESS.iter().map(|(measure, _)| fall(panel, measure));
        let falls: Vec<String> =
            falls.map(|fall| fall.map_or("-".into(), |fall| format!("{fall:.3}"))).collect();
        let rest = losses(panel).map_or("-".into(), |rest| format!("{rest:.1e}"));
        format!("{}, loss {rest} of its start", falls.join(" / "))
    });
    verdicts.add(
        "the end: the loss is below a hundredth, and every sharpness below half of its highest value",
        parts,
        format!("last over highest, mini-batch / batch / full-batch: {numbers}"),
    );
}
