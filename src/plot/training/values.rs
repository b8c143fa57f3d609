//! The upper panel: its range, and what is drawn where.

use super::super::axis::{Axis, Scale};
use super::super::header::{Header, Sample};
use super::super::number::rounded;
use super::super::palette::{Look, ORANGE, THRESHOLD, look_of};
use super::super::panel::{Datum, Panel};
use super::super::scene::{Anchor, Ink, Scene};
use super::super::thin;
use super::curves::{Curve, Curves};

const DOTS: Ink = ORANGE.faint(0.45);

/// A linear axis would be empty below values that are so many times the typical one.
const WIDE: f64 = 8.0;

/// A logarithmic axis ends at this part of the typical value.
const BELOW: f64 = 1e-3;

impl Curves {
    /// Legend and notes.
    pub fn describe(&self, header: &mut Header) {
        for curve in &self.curves {
            let look = look_of(curve.look);
            let sample =
                if curve.has_few_points() { Sample::Marked(look) } else { Sample::Line(look) };
            header.entries.push((sample, curve.label.clone()));
        }
        let (dots, every) = thin::dots(self.dots.points.clone());
        if !dots.is_empty() {
            header.entries.push((Sample::Dots(DOTS.faint(1.0)), self.dots.label.clone()));
        }
        if !self.thresholds.is_empty() && !self.is_empty() {
            header.entries.push((Sample::Line(THRESHOLD), self.threshold_label.clone()));
        }
        let has_intervals = |curve: &&Curve| curve.data.iter().any(|d| d.interval.is_some());
        if let Some(curve) = self.curves.iter().find(has_intervals) {
            let what = if curve.has_few_points() { "bars" } else { "bands" };
            header.notes.push(format!("{what}: 95% intervals, of single eigenvalues the residual"));
        }
        let axis = self.axis();
        let beyond: Vec<f64> =
            dots.iter().map(|p| p.1).filter(|value| !axis.contains(*value)).collect();
        if let (Some(low), Some(high)) =
            (beyond.iter().copied().reduce(f64::min), beyond.iter().copied().reduce(f64::max))
        {
            let values = if low == high {
                rounded(low)
            } else {
                format!("{} to {}", rounded(low), rounded(high))
            };
            header.notes.push(format!(
                "triangles: {} of {} dots outside the axis, {values}",
                beyond.len(),
                dots.len()
            ));
        }
        if every > 1 {
            header.notes.push(format!("one dot of {every} is shown"));
        }
        if self.curves.iter().any(|curve| curve.is_averaged) {
            header.notes.push("thin lines: single rows".into());
        }
        if self.curves.iter().flat_map(|c| &c.points).any(|p| !axis.contains(p.1)) {
            header.notes.push("lines leave the axis".into());
        }
        if self.thresholds.iter().any(|stretch| !axis.contains(stretch.value)) {
            header.notes.push("the threshold leaves the axis".into());
        }
        if self.n_left_out > 0 {
            header.notes.push(format!("{} more quantities are not shown", self.n_left_out));
        }
    }

    pub fn draw(&self, scene: &mut Scene, x: Axis, (top, bottom): (f64, f64), is_last: bool) {
        let panel = Panel::new(top, bottom, x, self.axis());
        panel.draw_axes(scene, is_last.then_some("training step"), self.y_name);
        self.draw_multiples(scene, &panel);
        let (dots, _) = thin::dots(self.dots.points.clone());
        panel.dots(scene, &dots, DOTS, 1.5);
        for curve in &self.curves {
            let ink = look_of(curve.look).ink;
            if curve.has_few_points() {
                curve.data.iter().for_each(|datum| panel.error_bar(scene, datum, ink));
            } else {
                panel.band(scene, &thin::band(&curve.data), ink.faint(0.18));
            }
            if curve.is_averaged {
                let rows: Vec<(f64, f64)> = curve.data.iter().map(|d| (d.x, d.y)).collect();
                let look =
                    Look { ink: ink.faint(0.3), width: 0.8, dashes: &[], ..look_of(curve.look) };
                panel.line(scene, &thin::line(&rows), &look);
            }
        }
        self.draw_thresholds(scene, &panel);
        // The first of the legend lies on top.
        for curve in self.curves.iter().rev() {
            let look = look_of(curve.look);
            panel.line(scene, &thin::line(&curve.points), &look);
            if curve.has_few_points() {
                panel.markers(scene, &curve.points, &look);
            }
        }
        self.name_threshold(scene, &panel);
    }

    /// A staircase; gaps where no threshold is known.
    fn draw_thresholds(&self, scene: &mut Scene, panel: &Panel) {
        let only = self.thresholds.len() == 1;
        let mut line: Vec<(f64, f64)> = Vec::new();
        for stretch in &self.thresholds {
            let to = stretch.to.map_or(panel.x.high, |to| to as f64);
            // One threshold is that of the whole picture, which may begin before the first row.
            let from = if only { panel.x.low } else { stretch.from as f64 };
            if line.last().is_some_and(|last| last.0 != from) {
                panel.line(scene, &line, &THRESHOLD);
                line.clear();
            }
            line.extend([(from, stretch.value), (to, stretch.value)]);
        }
        panel.line(scene, &line, &THRESHOLD);
    }

    fn name_threshold(&self, scene: &mut Scene, panel: &Panel) {
        let Some(value) = self.constant_threshold().filter(|v| panel.y.contains(*v)) else {
            return;
        };
        let (x, y) = panel.place(panel.x.low, value);
        let name = self.threshold_label.split(',').next().unwrap_or_default();
        scene.note(name, (x + 8.0, (y - 12.0).max(panel.top + 10.0)), 15.0, Anchor::Start);
    }

    /// Values over the threshold, where there is one only.
    fn draw_multiples(&self, scene: &mut Scene, panel: &Panel) {
        let Some(unit) = self.constant_threshold().filter(|unit| *unit > 0.0) else { return };
        let y = Axis { low: panel.y.low / unit, high: panel.y.high / unit, ..panel.y };
        let name = if self.threshold_label.starts_with("2/η") {
            "multiples of 2/η"
        } else {
            "multiples of the edge"
        };
        panel.draw_right_axis(scene, y, name);
    }

    fn constant_threshold(&self) -> Option<f64> {
        let first = self.thresholds.first()?.value;
        self.thresholds.iter().all(|stretch| stretch.value == first).then_some(first)
    }

    /// Room for all means, for nearly all single batches, and for thresholds that are not far away; a
    /// logarithmic axis where the largest of them would flatten the others.
    fn axis(&self) -> Axis {
        let means = sorted(self.curves.iter().flat_map(|c| &c.points).map(|p| p.1));
        let (Some(&least), Some(&most)) = (means.first(), means.last()) else {
            return Axis::linear(0.0, 1.0);
        };
        let typical = means[means.len() / 2];
        let thresholds: Vec<f64> = self.thresholds.iter().map(|stretch| stretch.value).collect();
        let highest = thresholds.iter().copied().fold(most, f64::max);
        let dots = sorted(self.dots.points.iter().map(|p| p.1));
        let of_dots = |part: usize| dots.get(dots.len().saturating_sub(1) * part / 100).copied();
        let (low_dots, high_dots) = (of_dots(1).unwrap_or(least), of_dots(99).unwrap_or(most));
        // A few values at zero, as at the start of a training, do not forbid a logarithmic axis.
        if means[means.len() / 20] > 0.0 && highest > WIDE * typical {
            let lowest = thresholds.iter().copied().filter(|t| *t > 0.0).fold(least, f64::min);
            let low = lowest.max(BELOW * typical);
            return Axis::log(low, highest.max(high_dots));
        }
        // Bars of a few points belong to the picture; a band may leave it.
        let few = self.curves.iter().filter(|curve| curve.has_few_points());
        let ends = few.flat_map(|curve| &curve.data).filter_map(|d: &Datum| d.interval);
        let (least, most) = ends.fold((least, most), |(low, high), ends| {
            (low.min(ends.0), high.max(ends.1.min(WIDE * most.abs())))
        });
        let near =
            thresholds.into_iter().filter(|t| *t <= 4.0 * most && *t >= 4.0 * least.min(0.0));
        let (mut low, mut high) = (least.min(low_dots).min(0.0), most.max(high_dots).max(0.0));
        near.for_each(|t| (low, high) = (low.min(t), high.max(t)));
        let room = 0.07 * (high - low);
        let low = if low < 0.0 { low - room } else { low };
        Axis {
            scale: Scale::Linear,
            ..Axis::linear(low, if high > 0.0 { high + room } else { high })
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values
}
