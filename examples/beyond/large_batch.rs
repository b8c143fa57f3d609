//! Large batches: from n/8 samples to all of them mini-batch sharpness comes down to full-batch sharpness.
//!
//! At b = n there is one batch, and both are the sharpness of gradient descent, at 2/η. On the way the gap between
//! them, in units of the edge, would fall as 1/b − 1/n if the network were the same; but each batch size trains
//! another one, and the paper sees an anomaly above n/8 (claim 7 of its reproduction).

use burn_sharpness::estimator::{PowerLaw, PowerLawPoint};
use burn_sharpness::observe::Measure;
use burn_sharpness::plot::{Chart, Look, Point, Series};

use crate::Options;
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::verdict::Verdicts;
use crate::report::{self, Level, NEAR, Panel, SHARPNESS, each, inside, text};
use crate::support::error::Result;
use crate::training::{Plan, Setup};

const NAME: &str = "large-batch";

pub fn run(options: &Options) -> Result<()> {
    let setup = Setup::new(&options.images, NAME, Some(512))?;
    let n = setup.data.n;
    let (lr, steps) = if options.images.is_quick() { (0.4, 4000) } else { (0.01, 40_000) };
    let lr = options.lr.unwrap_or(lr);
    let mut panels = Vec::new();
    for batch_size in [8, 4, 2, 1].map(|part| (n / part).max(1)) {
        let stage = options.applied_to(Stage { steps, lr, batch_size }, n);
        let plan = Plan::sgd(stage, 40);
        let num_batches = if batch_size == n { 1 } else { 8 };
        let schedule = Schedule { num_batches, ..plan.schedule };
        panels.push(setup.train(&Plan { schedule, ..plan })?);
    }
    report::print_table(&panels, &SHARPNESS, "2/η");
    let title = format!("{}, squared error, SGD with η = {lr}", setup.title());
    let y_name = "sharpness / (2/η)";
    let columns = [SHARPNESS[0].clone(), SHARPNESS[2].clone()];
    let chart = report::chart(title.clone(), y_name, &panels, &columns);
    report::save(&chart, &setup.folder, "training")?;
    report::save(&levels(title, &panels), &setup.folder, NAME)?;
    verdicts(&panels, n).finish(&setup.folder)
}

/// Plateaus over batch sizes.
fn levels(title: String, panels: &[Panel]) -> Chart {
    let mut series = Vec::new();
    for (style, (measure, name)) in SHARPNESS.iter().enumerate() {
        let points = panels.iter().filter_map(|panel| {
            let level = panel.level(measure)?;
            let half = 1.96 * level.standard_error;
            let interval = half.is_finite().then_some((level.mean - half, level.mean + half));
            let x = panel.batch_size as f64;
            Some(Point { x, y: level.mean, interval, name: String::new() })
        });
        let points = points.collect();
        series.push(Series { label: (*name).into(), style, look: Look::Points, points });
    }
    let ends = [panels.first(), panels.last()].map(|p| p.map_or(1.0, |p| p.batch_size as f64));
    series.push(Series::curve("2/η", 0, Look::Reference, &ends.map(|b| (b, 1.0))));
    Chart {
        title,
        x_name: "batch size b".into(),
        y_name: "sharpness / (2/η) at the end".into(),
        is_logarithmic: true,
        series,
    }
}

/// MiniBS − FullBS at the end, in units of the edge.
fn gap(panel: &Panel) -> Option<(f64, f64)> {
    let mini = panel.level(&Measure::MiniBatchSharpness)?;
    let full = panel.level(&Measure::FullBatchSharpness)?;
    Some((mini.mean - full.mean, mini.standard_error.hypot(full.standard_error)))
}

fn verdicts(panels: &[Panel], n: usize) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let levels = |measure: &Measure| -> Vec<Level> {
        panels.iter().filter_map(|panel| panel.level(measure)).collect()
    };
    let [mini, full] = [Measure::MiniBatchSharpness, Measure::FullBatchSharpness];
    let words = |measure: &Measure| each(panels, |panel| text(panel.level(measure).as_ref()));
    verdicts.add(
        "mini-batch sharpness settles between 2/η and 2·2/η at each batch size",
        levels(&mini).iter().map(|level| inside(level, (1.0, 2.0))),
        words(&mini),
    );
    let gaps: Vec<(f64, f64)> = panels.iter().filter_map(gap).collect();
    let falls: Vec<bool> = gaps.windows(2).map(|two| two[1].0 < two[0].0).collect();
    verdicts.add(
        "the gap between mini-batch and full-batch sharpness falls with every doubling of b",
        falls,
        each(panels, |panel| {
            gap(panel).map_or("-".into(), |(gap, se)| format!("{gap:.4} ± {se:.4}"))
        }),
    );
    let whole: Vec<bool> = panels
        .iter()
        .filter(|panel| panel.batch_size == n)
        .flat_map(|panel| [panel.level(&mini), panel.level(&full)])
        .flatten()
        .map(|level| inside(&level, NEAR))
        .collect();
    let statement = "all samples: both settle at 2/η (within 15%)";
    verdicts.add(statement, whole, format!("full-batch sharpness {}", words(&full)));
    let points = panels.iter().filter(|panel| panel.batch_size < n).filter_map(|panel| {
        let (y, standard_error) = gap(panel)?;
        let x = 1.0 / panel.batch_size as f64 - 1.0 / n as f64;
        Some(PowerLawPoint { x, y, standard_error })
    });
    let law = PowerLaw::fit(&points.collect::<Vec<_>>());
    verdicts.add(
        "the gap of trained networks goes with 1/b − 1/n also above n/8 (exponent within 0.15 of 1, as far as its \
         error tells)",
        law.iter()
            .map(|law| (law.exponent - 1.0).abs() < 0.15 + (2.0 * law.standard_error).min(0.1)),
        law.as_ref().map_or("-".into(), |law| {
            format!("exponent {:.2} ± {:.2}", law.exponent, law.standard_error)
        }),
    );
    verdicts
}
