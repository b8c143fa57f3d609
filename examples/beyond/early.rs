//! The first steps, measured at steps that grow by half: from a sharp start and from a flat one.
//!
//! A start above the edge is left at once: the loss goes up, and comes down where curvature is below 2/η
//! (the catapult of Lewkowycz et al. 2020, arXiv 2003.02218). From a flat start curvature rises slowly
//! (progressive sharpening). All should end at the same level: the edge forgets the start. What does not: a start so
//! sharp that the first steps throw the weights where most of the network is dead.

use burn_sharpness::observe::Measure;

use crate::Options;
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::verdict::Verdicts;
use crate::report::{self, NEAR, Panel, SHARPNESS, each};
use crate::support::error::{ExampleError, Result};
use crate::training::{Plan, Setup};

const NAME: &str = "early";

const FLAT: &str = "flat start";

/// Steps after which a sharp start is to be left.
const AT_ONCE: f64 = 30.0;

/// Stages of the same steps that grow by half: each is measured at its start, the last one at its end too.
fn growing(whole: Stage) -> Vec<Stage> {
    let (mut stages, mut done, mut steps) = (Vec::new(), 0, 1);
    while done < whole.steps {
        let this = steps.min(whole.steps - done);
        stages.push(Stage { steps: this, ..whole });
        done += this;
        steps = (done / 2).max(1);
    }
    stages
}

pub fn run(options: &Options) -> Result<()> {
    let setup = Setup::new(&options.images, NAME, None)?;
    let stage = match options.images.is_quick() {
        true => Stage { steps: 20_000, lr: 0.125, batch_size: 32 },
        false => Stage { steps: 60_000, lr: 0.01, batch_size: 64 },
    };
    let stage = options.applied_to(stage, setup.data.n);
    let Stage { lr, batch_size, .. } = stage;
    let mut panels = Vec::new();
    for (name, init_scale) in [("very sharp start", 1.0), ("sharp start", 0.7), (FLAT, 0.2)] {
        let plan = Plan::sgd(stage, 1);
        let never = usize::MAX;
        let schedule = Schedule {
            stages: growing(stage),
            every: never,
            full_every: never,
            num_batches: 16,
            ..plan.schedule
        };
        let name = format!("{name}, scale {init_scale}");
        let folder = format!("scale{init_scale}_lr{lr}");
        match setup.train(&Plan { name, folder, init_scale, schedule, ..plan }) {
            Ok(panel) => panels.push(panel),
            // Too sharp to come back: a result too, and the others are worth having.
            Err(error @ ExampleError::Diverged { .. }) => println!("{error}"),
            Err(error) => return Err(error),
        }
    }
    if !panels.is_empty() {
        print_rows(&panels);
        let title = format!("{}, squared error, η = {lr}, batches of {batch_size}", setup.title());
        let columns = [SHARPNESS[0].clone(), SHARPNESS[2].clone()];
        let chart = report::chart(title, "sharpness / (2/η)", &panels, &columns);
        report::save(&report::logarithmic(chart), &setup.folder, NAME)?;
    }
    verdicts(&panels).finish(&setup.folder)
}

fn print_rows(panels: &[Panel]) {
    for panel in panels {
        println!("\n{}, in units of 2/η = {}:", panel.name, panel.edge);
        print!("{:>8}", "step");
        SHARPNESS.iter().for_each(|(_, name)| print!("{name:>18}"));
        println!("{:>10}", "loss");
        for row in panel.history.rows() {
            print!("{:>8}", row.step);
            for (measure, _) in &SHARPNESS {
                let value = row.mean(measure).map(|value| format!("{:.3}", value / panel.edge));
                print!("{:>18}", value.unwrap_or("-".into()));
            }
            println!("{:>10}", row.loss.map_or("-".into(), |loss| format!("{loss:.2e}")));
        }
    }
}

fn verdicts(panels: &[Panel]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let is_flat = |panel: &&Panel| panel.name.starts_with(FLAT);
    let (flat, sharp): (Vec<&Panel>, Vec<&Panel>) = panels.iter().partition(is_flat);
    of_sharp_starts(&mut verdicts, &sharp);
    let [mini, full] = [Measure::MiniBatchSharpness, Measure::FullBatchSharpness];
    let rise =
        |panel: &Panel, measure: &Measure| Some((panel.first(measure)?, panel.last(measure)?));
    let rises: Vec<(f64, f64)> = flat
        .iter()
        .flat_map(|panel| [&mini, &full].into_iter().filter_map(|of| rise(panel, of)))
        .collect();
    verdicts.add(
        "flat start: mini-batch and full-batch sharpness begin below half of 2/η and at least double",
        rises.iter().map(|(first, last)| *first < 0.5 && *last > 2.0 * first),
        rises.iter().map(|(a, b)| format!("{a:.3} to {b:.3}")).collect::<Vec<_>>().join(", "),
    );
    let end = flat.iter().find_map(|panel| panel.last(&mini));
    let ratios = sharp.iter().filter_map(|panel| Some(panel.last(&mini)? / end?));
    verdicts.add(
        "the start is forgotten: mini-batch sharpness ends where it ends from a flat start (within 15%)",
        ratios.map(|ratio| (NEAR.0..=NEAR.1).contains(&ratio)),
        each(panels, |panel| panel.last(&mini).map_or("-".into(), |last| format!("{last:.3}"))),
    );
    verdicts
}

fn of_sharp_starts(verdicts: &mut Verdicts, sharp: &[&Panel]) {
    let full = Measure::FullBatchSharpness;
    let least = |panel: &Panel| {
        let early = panel.curve(&full).into_iter().filter(|point| point.0 <= AT_ONCE);
        early.map(|point| point.1).fold(f64::INFINITY, f64::min)
    };
    let starts =
        sharp.iter().copied().filter_map(|panel| Some((panel.first(&full)?, least(panel))));
    verdicts.add(
        "sharp starts: full-batch sharpness begins above 2/η and is below it within 30 steps",
        starts.flat_map(|(start, least)| [start > 1.0, least < 1.0]),
        each(sharp.iter().copied(), |panel| {
            let start = panel.first(&full).unwrap_or(f64::NAN);
            format!("{start:.3} at the start, lowest {:.3}", least(panel))
        }),
    );
    let losses = |panel: &Panel| {
        let losses = panel.losses();
        let early = losses.iter().filter(|point| point.0 as f64 <= AT_ONCE);
        let highest = early.map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        (losses.first().map_or(f64::NAN, |point| point.1), highest)
    };
    let parts = sharp.iter().copied().map(losses).map(|(first, highest)| highest > 1.1 * first);
    verdicts.add(
        "sharp starts: they are catapults, the loss goes up first (by more than a tenth)",
        parts,
        each(sharp.iter().copied(), |panel| {
            let (first, highest) = losses(panel);
            format!("loss {first:.3} at the start, highest {highest:.3}")
        }),
    );
}
