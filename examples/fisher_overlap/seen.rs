//! What was seen: a table, two pictures, and the verdicts.

use std::path::Path;

use burn_sharpness::estimator::Estimate;
use burn_sharpness::observe::{History, Measure};
use burn_sharpness::plot::{Chart, Look, Point, Series, rounded};

use super::overlap::{AtSize, Moment, Tops};
use crate::experiment::schedule::Stage;
use crate::experiment::verdict::Verdicts;
use crate::support::error::Result;

/// Training is at the edge from the first measurement on that is so near to 2/η, or above it.
const AT_EDGE: f64 = 0.9;

/// What is still "about the same".
const WITHIN: f64 = 0.1;

/// Eigenvectors agree from this squared cosine on.
const AGREES: f64 = 0.9;

pub struct Seen {
    moments: Vec<Moment>,
    stage: Stage,
    /// The step from which on training is at the edge.
    edge: Option<usize>,
    /// Mini-batch sharpness in units of 2/η, by step.
    levels: Vec<(usize, f64)>,
}

fn mean(size: &AtSize, of: impl Fn(&Tops) -> f64) -> Option<Estimate> {
    Estimate::of(&size.batches.iter().map(of).collect::<Vec<_>>())
}

fn ratio(tops: &Tops) -> f64 {
    tops.hessian / tops.gauss_newton
}

impl Seen {
    pub fn new(history: &History, stage: Stage, moments: Vec<Moment>) -> Self {
        let rows = history.series(&Measure::MiniBatchSharpness);
        let levels: Vec<(usize, f64)> =
            rows.map(|(step, value)| (step, value.mean * stage.lr / 2.0)).collect();
        let edge = levels.iter().find(|(_, level)| *level >= AT_EDGE).map(|(step, _)| *step);
        Self { moments, stage, edge, levels }
    }

    fn is_at_edge(&self, moment: &Moment) -> bool {
        self.edge.is_some_and(|edge| moment.step >= edge)
    }

    pub fn print_table(&self) {
        println!(
            "\nMeans over mini-batches: λmax of the Hessian / of the Gauss-Newton matrix (overlap)"
        );
        print!("{:>8}{:>9}{:>12}", "step", "loss", "λmax/(2/η)");
        let sizes = self.moments.first().map_or(&[][..], |moment| &moment.sizes);
        sizes.iter().for_each(|size| print!("{:>16}", format!("b = {}", size.batch_size)));
        println!();
        for moment in &self.moments {
            let level = self.levels.iter().find(|(step, _)| *step == moment.step);
            let loss = moment.sizes.last().and_then(|size| mean(size, |tops| tops.loss));
            let loss = loss.map_or("-".into(), |loss| format!("{:.1e}", loss.mean));
            print!("{:>8}{loss:>9}", moment.step);
            print!("{:>12}", level.map_or("-".into(), |(_, level)| format!("{level:.3}")));
            for size in &moment.sizes {
                let means = mean(size, ratio).zip(mean(size, |tops| tops.overlap));
                let text = means.map(|(r, o)| format!("{:.3} ({:.2})", r.mean, o.mean));
                print!("{:>16}", text.unwrap_or_default());
            }
            println!("{}", if self.is_at_edge(moment) { "  at the edge" } else { "" });
        }
        println!(
            "λmax/(2/η): mini-batch sharpness at batches of {}, 2/η = {}",
            self.stage.batch_size,
            rounded(2.0 / self.stage.lr)
        );
        let all = self.moments.iter().flat_map(|moment| &moment.sizes).flat_map(|s| &s.batches);
        let residual = all.map(|tops| tops.residual).fold(0.0, f64::max);
        println!("Largest residual: {residual:.0e} of its eigenvalue");
    }

    /// The moments that pictures show: the first, the last before the edge, the first at it, the last.
    fn shown(&self) -> Vec<&Moment> {
        let at_edge = self.moments.iter().position(|moment| self.is_at_edge(moment));
        let last = self.moments.len().checked_sub(1);
        let before = at_edge.unwrap_or(self.moments.len()).checked_sub(1);
        let mut numbers: Vec<usize> =
            [Some(0), before, at_edge, last].into_iter().flatten().collect();
        numbers.dedup();
        numbers.into_iter().filter_map(|number| self.moments.get(number)).collect()
    }

    pub fn draw(&self, title: &str, folder: &Path) -> Result<()> {
        let (mut tops, mut ratios) = (Vec::new(), Vec::new());
        for (style, moment) in self.shown().into_iter().enumerate() {
            let name = match self.is_at_edge(moment) {
                true => format!("step {}, at the edge", moment.step),
                false => format!("step {}", moment.step),
            };
            let series = |what: &str, look, of: fn(&Tops) -> f64| Series {
                label: format!("{name}: {what}"),
                style,
                look,
                points: moment.sizes.iter().filter_map(|size| point(size, look, of)).collect(),
            };
            tops.push(series("Hessian", Look::Points, |tops| tops.hessian));
            tops.push(series("Gauss-Newton", Look::Line, |tops| tops.gauss_newton));
            ratios.push(series("λmax(H)/λmax(G)", Look::Points, ratio));
            ratios.push(series("overlap", Look::Line, |tops| tops.overlap));
        }
        let ends = |series: &[Series]| {
            let sizes = series.iter().flat_map(|s| &s.points).map(|point| point.x);
            (sizes.clone().fold(f64::MAX, f64::min), sizes.fold(0.0, f64::max))
        };
        let (low, high) = ends(&tops);
        let level = 2.0 / self.stage.lr;
        tops.push(Series::curve("2/η", 0, Look::Reference, &[(low, level), (high, level)]));
        ratios.push(Series::curve(
            "as in the Gauss-Newton matrix",
            0,
            Look::Reference,
            &[(low, 1.0), (high, 1.0)],
        ));
        let chart = |y_name: &str, series| Chart {
            title: title.to_string(),
            x_name: "batch size b".into(),
            y_name: y_name.into(),
            is_logarithmic: true,
            series,
        };
        chart("λmax, mean over mini-batches", tops).picture()?.save(folder, "tops")?;
        let y_name = "λmax(H_B)/λmax(G_B) and (v_H·v_G)², means over mini-batches";
        chart(y_name, ratios).picture()?.save(folder, "overlap")?;
        println!("Pictures: {} and overlap.svg", folder.join("tops.svg").display());
        Ok(())
    }

    /// Claim 13 of docs/reproduction.md, and how far it goes.
    pub fn verdicts(&self) -> Verdicts {
        let mut verdicts = Verdicts::default();
        let all = |at_edge: bool| {
            let moments = self.moments.iter().filter(move |m| self.is_at_edge(m) == at_edge);
            moments.flat_map(|moment| moment.sizes.iter().map(move |size| (moment.step, size)))
        };
        let near = |at_edge: bool| -> Vec<bool> {
            let ratios = all(at_edge).filter_map(|(_, size)| mean(size, ratio));
            ratios.map(|ratio| (ratio.mean - 1.0).abs() <= WITHIN).collect()
        };
        let words = |at_edge: bool, of: fn(&Tops) -> f64| {
            let each = all(at_edge).filter_map(|(step, size)| {
                let Estimate { mean, standard_error, .. } = mean(size, of)?;
                let error = match standard_error.is_finite() {
                    true => format!(" ± {standard_error:.3}"),
                    false => String::new(),
                };
                Some(format!("{mean:.3}{error} (step {step}, b {})", size.batch_size))
            });
            each.collect::<Vec<_>>().join(", ")
        };
        verdicts.add(
            "claim 13: at the edge λmax of the mini-batch Hessian is that of the mini-batch Gauss-Newton matrix \
             within 10%, at every batch size",
            near(true),
            words(true, ratio),
        );
        verdicts.add(
            "claim 13 before the edge: the same at the initial weights and while curvature rises",
            near(false),
            words(false, ratio),
        );
        let overlaps = all(true).filter_map(|(_, size)| mean(size, |tops| tops.overlap));
        verdicts.add(
            "at the edge their top eigenvectors agree, too: mean overlap above 0.9 at every batch size",
            overlaps.map(|overlap| overlap.mean >= AGREES),
            words(true, |tops| tops.overlap),
        );
        let errors: Vec<f64> = all(true)
            .chain(all(false))
            .filter_map(|(_, size)| {
                Some((size.kernel / size.batches.first()?.gauss_newton - 1.0).abs())
            })
            .collect();
        verdicts.add(
            "λmax of the Gauss-Newton matrix is twice that of the tangent kernel JJᵀ/b (within 0.1%)",
            errors.iter().map(|error| *error < 1e-3),
            format!("largest deviation {:.1e}", errors.iter().copied().fold(0.0, f64::max)),
        );
        verdicts
    }
}

fn point(size: &AtSize, look: Look, of: fn(&Tops) -> f64) -> Option<Point> {
    let Estimate { mean, standard_error, .. } = mean(size, of)?;
    let half = if standard_error.is_finite() { 1.96 * standard_error } else { 0.0 };
    let interval = (look == Look::Points).then_some((mean - half, mean + half));
    Some(Point { x: size.batch_size as f64, y: mean, interval, name: String::new() })
}
