//! Heavy ball, β = 0.9: where batch sharpness settles, from single samples' noise to full batches.
//!
//! With full batches the edge is 2(1+β)/η: momentum averages out an oscillation. With small batches each direction
//! comes rarely, momentum has carried each kick to its end before, and the edge is that of SGD with step size
//! η/(1−β): 2(1−β)/η (arXiv 2604.14108). For orthogonal samples the edge in between is known exactly
//! (`stability::Batching::Of`): 2(1−β²)/((1+β) − 2βb/n)/η.

use burn_sharpness::observe::Measure;
use burn_sharpness::plot::{Chart, Look, Point, Series};
use burn_sharpness::stability::{Batching, SgdStabilityConfig};

use crate::Options;
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::update::Optimizer;
use crate::experiment::verdict::Verdicts;
use crate::report::{self, NEAR, Panel, SHARPNESS, each, inside, text};
use crate::support::error::Result;
use crate::training::{Plan, Setup};

const NAME: &str = "momentum";
const BETA: f64 = 0.9;

/// 2(1−β)/η, 2(1+β)/η.
fn limits(lr: f64) -> [f64; 2] {
    [2.0 * (1.0 - BETA) / lr, 2.0 * (1.0 + BETA) / lr]
}

pub fn run(options: &Options) -> Result<()> {
    let setup = Setup::new(&options.images, NAME, Some(1000))?;
    let n = setup.data.n;
    // Steps, η and b: the larger the batches, the further up the edge and the larger the steps that reach it.
    let stages = match options.images.is_quick() {
        true => [(8000, 0.03, 8), (5000, 0.1, 32), (3000, 0.4, 128), (2000, 0.6, n)],
        false => {
            [(100_000, 0.001, 16), (50_000, 0.002, 64), (50_000, 0.005, 512), (10_000, 0.02, n)]
        }
    };
    let mut panels = Vec::new();
    for (steps, lr, batch_size) in stages {
        let stage = options.applied_to(Stage { steps, lr, batch_size }, n);
        let batching = Batching::Of { batch_size, n_samples: n };
        let edge =
            SgdStabilityConfig::new(stage.lr).with_momentum(BETA).with_batching(batching).init()?;
        let plan = Plan::sgd(stage, 40);
        let num_batches = if batch_size == n { 1 } else { 8 };
        let plan = Plan {
            optimizer: Optimizer::Momentum(BETA),
            edge: edge.threshold(),
            schedule: Schedule { num_batches, ..plan.schedule },
            ..plan
        };
        panels.push((setup.train(&plan)?, stage.lr));
    }
    let (panels, lrs): (Vec<Panel>, Vec<f64>) = panels.into_iter().unzip();
    report::print_table(&panels, &SHARPNESS, "the edge");
    let title = format!("{}, squared error, heavy ball β = {BETA}", setup.title());
    let y_name = "sharpness / edge of orthogonal samples";
    let chart = report::chart(title.clone(), y_name, &panels, &SHARPNESS[..2]);
    report::save(&chart, &setup.folder, "training")?;
    report::save(&levels(title, &panels, &lrs, n), &setup.folder, NAME)?;
    verdicts(&panels, &lrs).finish(&setup.folder)
}

/// Plateaus times η/2 over b, with both limits and the law between them.
fn levels(title: String, panels: &[Panel], lrs: &[f64], n: usize) -> Chart {
    let mut series = Vec::new();
    for (style, (measure, name)) in SHARPNESS.iter().enumerate() {
        let points = panels.iter().zip(lrs).filter_map(|(panel, lr)| {
            let level = panel.level_over(measure, 2.0 / lr)?;
            let half = 1.96 * level.standard_error;
            let interval = half.is_finite().then_some((level.mean - half, level.mean + half));
            let x = panel.batch_size as f64;
            Some(Point { x, y: level.mean, interval, name: String::new() })
        });
        let points: Vec<Point> = points.collect();
        series.push(Series { label: (*name).into(), style, look: Look::Points, points });
    }
    let (first, last) = (panels.iter().map(|p| p.batch_size).min().unwrap_or(1) as f64, n as f64);
    let law = |b: f64| (1.0 - BETA * BETA) / ((1.0 + BETA) - 2.0 * BETA * b / n as f64);
    let sizes = (0..=100).map(|i| first * (last / first).powf(f64::from(i) / 100.0));
    let curve: Vec<(f64, f64)> = sizes.map(|b| (b, law(b))).collect();
    series.push(Series::curve("edge of orthogonal samples", 3, Look::Line, &curve));
    for level in [1.0 - BETA, 1.0 + BETA] {
        let name = if level < 1.0 { "1 − β" } else { "1 + β" };
        series.push(Series::curve(name, 0, Look::Reference, &[(first, level), (last, level)]));
    }
    Chart {
        title,
        x_name: "batch size b".into(),
        y_name: "sharpness / (2/η) at the end".into(),
        is_logarithmic: true,
        series,
    }
}

fn verdicts(panels: &[Panel], lrs: &[f64]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let batch = Measure::BatchSharpness;
    let ends =
        [(0, 0, "small batches", "2(1−β)/η"), (panels.len() - 1, 1, "all samples", "2(1+β)/η")];
    for (which, limit, who, edge) in ends {
        let level = panels[which].level_over(&batch, limits(lrs[which])[limit]);
        let other = panels[which].level_over(&batch, limits(lrs[which])[1 - limit]);
        verdicts.add(
            &format!("{who}: batch sharpness settles at {edge} (within 15%)"),
            level.iter().map(|level| inside(level, NEAR)),
            format!(
                "{}; in units of the other limit {}",
                text(level.as_ref()),
                text(other.as_ref())
            ),
        );
    }
    let levels: Vec<_> = panels.iter().filter_map(|panel| panel.level(&batch)).collect();
    verdicts.add(
        "batch sharpness settles at the edge of orthogonal samples, whatever the batch size (within 15%)",
        levels.iter().map(|level| inside(level, NEAR)),
        each(panels, |panel| text(panel.level(&batch).as_ref())),
    );
    let mini = Measure::MiniBatchSharpness;
    let levels: Vec<_> = panels.iter().filter_map(|panel| panel.level(&mini)).collect();
    verdicts.add(
        "mini-batch sharpness settles between that edge and twice it",
        levels.iter().map(|level| inside(level, (1.0, 2.0))),
        each(panels, |panel| text(panel.level(&mini).as_ref())),
    );
    verdicts
}
