//! What was seen: a table, a picture, and the verdicts.

use std::path::Path;

use burn_sharpness::estimator::Estimate;
use burn_sharpness::observe::Measure;
use burn_sharpness::plot::{Chart, Look, Series};
use burn_sharpness::stability::SgdStabilityConfig;

use super::Panel;
use super::alignment::{AlongTop, along_top};
use super::noise::Noise;
use crate::experiment::plateau::{OF_BLOCKS, plateau};
use crate::experiment::verdict::Verdicts;
use crate::support::error::Result;
use crate::support::mlp::Batch;

const ALL: [(Measure, &str); 3] = [
    (Measure::FullBatchSharpness, "full-batch λmax"),
    (Measure::MiniBatchSharpness, "mini-batch λmax"),
    (Measure::BatchSharpness, "batch sharpness"),
];

/// "Well below 2/η" is below this share of it; "at 2/η" is above the other. The paper has the levels in its figure
/// only.
const WELL_BELOW: f64 = 0.7;
const AT: f64 = 0.85;

impl Panel {
    /// The plateau of a quantity in units of 2/η.
    fn ratio(&self, measure: &Measure) -> Option<Estimate> {
        let level = plateau(&self.history, measure)?;
        SgdStabilityConfig::new(self.lr).init().ok()?.ratio_of(&level).ok()
    }
}

pub fn print_table(panels: &[Panel]) {
    println!("\nMeans over the last fifth of the steps, in units of 2/η:");
    print!("{:<20}", "");
    ALL.iter().for_each(|(_, name)| print!("{name:>18}"));
    println!("{:>10}{:>8}", "loss", "time");
    for panel in panels {
        print!("{:<20}", panel.noise.describe());
        for (measure, _) in ALL {
            let text = panel
                .ratio(&measure)
                .map_or("-".to_string(), |r| format!("{:.3} ± {:.3}", r.mean, r.standard_error));
            print!("{text:>18}");
        }
        let loss = panel.history.rows().iter().rev().find_map(|row| row.loss);
        println!("{:>10}{:>7.0}s", loss.map_or("-".into(), |l| format!("{l:.1e}")), panel.seconds);
    }
    println!("±: standard error {OF_BLOCKS}.");
}

/// Full-batch sharpness over the steps.
pub fn draw(panels: &[Panel], title: String, folder: &Path) -> Result<()> {
    let mut series = Vec::new();
    let mut last = 0.0_f64;
    for (style, panel) in panels.iter().enumerate() {
        let rows = panel.history.series(&Measure::FullBatchSharpness);
        let points: Vec<(f64, f64)> =
            rows.map(|(step, value)| (step as f64, value.mean * panel.lr / 2.0)).collect();
        last = points.last().map_or(last, |point| last.max(point.0));
        series.push(Series::curve(panel.noise.describe(), style, Look::Line, &points));
    }
    series.push(Series::curve("2/η", 0, Look::Reference, &[(0.0, 1.0), (last, 1.0)]));
    let chart = Chart {
        title,
        x_name: "training step".into(),
        y_name: "full-batch sharpness λmax(H) / (2/η)".into(),
        is_logarithmic: false,
        series,
    };
    chart.picture()?.save(folder, "noises")?;
    println!("Picture: {}", folder.join("noises.svg").display());
    Ok(())
}

/// Claim 12 of docs/reproduction.md, and what goes with it.
pub fn verdicts(panels: &[Panel]) -> Verdicts {
    let level = |noise: Noise, measure: &Measure| {
        panels.iter().find(|panel| panel.noise == noise)?.ratio(measure)
    };
    let full = |noise| level(noise, &Measure::FullBatchSharpness);
    let words = |measure: Measure, noises: &[Noise]| {
        let each = noises.iter().filter_map(|noise| {
            let r = level(*noise, &measure)?;
            Some(format!("{} {:.3} ± {:.3}", noise.describe(), r.mean, r.standard_error))
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let mut verdicts = Verdicts::default();
    // Where gradient descent has not come to the edge by itself there is nothing that noise could keep it from.
    let at_edge = full(Noise::None).is_some_and(|r| r.mean >= AT);
    let below = |noise| full(noise).map(|r| r.mean < WELL_BELOW);
    let at = |noise| full(noise).map(|r| r.mean >= AT);
    let parts = [
        below(Noise::Sampling),
        below(Noise::Directional),
        at(Noise::Diagonal),
        at(Noise::Isotropic),
    ];
    let parts = parts.map(|part| part.filter(|_| at_edge));
    verdicts.add(
        "claim 12: full-batch sharpness stays well below 2/η (under 0.7 of it) for SGD and directional noise, \
         and comes to it (over 0.85) for diagonal and isotropic noise, as for gradient descent",
        parts,
        words(Measure::FullBatchSharpness, &EVERY),
    );
    let mut parts = Vec::new();
    for low in [Noise::Sampling, Noise::Directional] {
        for high in [Noise::Diagonal, Noise::Isotropic] {
            parts.push(full(low).zip(full(high)).and_then(|(low, high)| is_below(&low, &high)));
        }
    }
    verdicts.add(
        "its order: SGD and directional noise below diagonal and isotropic noise, by two standard errors",
        parts,
        words(Measure::FullBatchSharpness, &EVERY),
    );
    let pair = full(Noise::Sampling).zip(full(Noise::Directional));
    let close = pair.map(|(sgd, normal)| (normal.mean / sgd.mean - 1.0).abs() < 0.2);
    verdicts.add(
        "normal noise with the covariance of mini-batches does what mini-batches do: full-batch sharpness \
         within 20% of SGD's",
        [close],
        words(Measure::FullBatchSharpness, &[Noise::Sampling, Noise::Directional]),
    );
    let mini = |noise| level(noise, &Measure::MiniBatchSharpness);
    let between = [Noise::Sampling, Noise::Directional].map(mini);
    verdicts.add(
        "claim 1 under normal noise, too: mini-batch sharpness settles between 2/η and 2·2/η for SGD and \
         directional noise",
        between.map(|r| r.map(|r| (1.0..=2.0).contains(&r.mean))),
        words(Measure::MiniBatchSharpness, &EVERY),
    );
    verdicts
}

/// Why: at the end of SGD's run, how much of each noise is along the top eigenvector of the full-batch Hessian.
pub fn alignment(panels: &[Panel], data: &Batch, verdicts: &mut Verdicts) -> Result<()> {
    let Some(panel) = panels.iter().find(|panel| panel.noise == Noise::Sampling) else {
        return Ok(());
    };
    let AlongTop { directional, diagonal, isotropic } = along_top(&panel.model, data)?;
    let [directional, diagonal] = [directional / isotropic, diagonal / isotropic];
    verdicts.add(
        "why: the variance of directional noise along the top eigenvector of the Hessian is over 10 times that of \
         diagonal and of isotropic noise with the same total",
        [directional > 10.0 * diagonal, directional > 10.0],
        format!(
            "in units of the mean variance per parameter, at the end of SGD's run: directional {directional:.1}, \
             diagonal {diagonal:.1}, isotropic 1"
        ),
    );
    Ok(())
}

const EVERY: [Noise; 5] =
    [Noise::None, Noise::Sampling, Noise::Directional, Noise::Diagonal, Noise::Isotropic];

/// Nothing can be said where an error is not known.
fn is_below(low: &Estimate, high: &Estimate) -> Option<bool> {
    let error = low.standard_error.hypot(high.standard_error);
    error.is_finite().then_some(high.mean - low.mean > 2.0 * error)
}
