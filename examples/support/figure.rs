//! The picture of a run, in the manner of Figure 2 of the paper: sharpness against steps with the
//! threshold 2/η, and the loss below.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::number::rounded;
use super::pen::{Area, DARK, Drawn, GRAY, ORANGE, Pen, Picture, RIGHT, dashes};

/// Size of the picture in units of length.
const SIZE: (u32, u32) = (960, 720);

/// Height of the lines of text above the panels, and of the upper panel.
const HEADER: u32 = 92;
const UPPER: u32 = 420;

/// A line of the upper panel.
#[derive(Clone, Debug)]
pub struct Curve {
    pub label: String,
    pub color: RGBColor,
    pub dashed: bool,
    pub width: f64,
    /// Step and value.
    pub points: Vec<(f64, f64)>,
}

/// What the picture shows.
#[derive(Clone, Debug)]
pub struct Figure {
    /// One line on what was trained.
    pub title: String,
    /// 2/η.
    pub threshold: f64,
    /// λ_max of single batches: step and value.
    pub dots: Vec<(f64, f64)>,
    pub dots_label: String,
    pub curves: Vec<Curve>,
    /// Step and loss over all samples, and of single training batches.
    pub loss: Vec<(f64, f64)>,
    pub batch_loss: Vec<(f64, f64)>,
}

impl Picture for Figure {
    fn size(&self) -> (u32, u32) {
        SIZE
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<B> {
        area.fill(&WHITE)?;
        let (header, panels) = area.split_vertically(pen.length(HEADER));
        let (upper, lower) = panels.split_vertically(pen.length(UPPER));
        self.draw_header(&header, pen)?;
        self.draw_sharpness(&upper, pen)?;
        self.draw_loss(&lower, pen)?;
        area.present()
    }
}

impl Figure {
    /// The title and the legend, outside of the data.
    fn draw_header<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<B> {
        let at = |x: f64, y: f64| (pen.px(x), pen.px(y));
        let left = Pos::new(HPos::Left, VPos::Center);
        area.draw(&Text::new(self.title.clone(), at(84.0, 22.0), pen.text(16.0, DARK).pos(left)))?;
        let mut entries: Vec<(String, Option<&Curve>)> =
            self.curves.iter().map(|c| (c.label.clone(), Some(c))).collect();
        entries.push((self.dots_label.clone(), None));
        for (i, (label, curve)) in entries.into_iter().enumerate() {
            let (x, y) = (84.0 + 280.0 * (i % 3) as f64, 51.0 + 23.0 * (i / 3) as f64);
            match curve {
                Some(curve) => {
                    let dashes: &[(f64, f64)] =
                        if curve.dashed { &[(0.0, 13.0), (19.0, 32.0)] } else { &[(0.0, 32.0)] };
                    for (from, to) in dashes {
                        let ends = vec![at(x + from, y), at(x + to, y)];
                        area.draw(&PathElement::new(ends, pen.line(curve.color, curve.width)))?;
                    }
                }
                None => {
                    for (dx, dy) in [(4.0, 2.0), (12.0, -3.0), (20.0, 3.0), (28.0, -1.0)] {
                        area.draw(&pen.dot(at(x + dx, y + dy)))?;
                    }
                }
            }
            area.draw(&Text::new(label, at(x + 42.0, y), pen.text(14.0, DARK).pos(left)))?;
        }
        Ok(())
    }

    fn draw_sharpness<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<B> {
        let (steps, top) = (self.steps(), self.top());
        let mut chart = pen
            .chart(area)
            .x_label_area_size(pen.px(10.0))
            .build_cartesian_2d(0.0..steps, 0.0..top)?
            .set_secondary_coord(0.0..steps, 0.0..top / self.threshold);
        pen.mesh(&mut chart.configure_mesh())
            .x_label_formatter(&|_| String::new())
            .y_desc("sharpness")
            .y_label_formatter(&|y| format!("{y}"))
            .draw()?;
        chart
            .configure_secondary_axes()
            .y_desc("multiples of 2/η")
            .y_labels(8)
            .y_label_formatter(&|y| format!("{y:.1}"))
            .set_all_tick_mark_size(pen.px(4.0))
            .y_label_offset(pen.px(2.0))
            .axis_style(pen.line(GRAY, 1.0))
            .label_style(pen.text(13.0, DARK))
            .axis_desc_style(pen.text(15.0, DARK))
            .draw()?;

        let (above, within): (Vec<_>, Vec<_>) =
            self.dots.iter().copied().partition(|(_, y)| *y > top);
        chart.draw_series(within.iter().map(|point| pen.dot(*point)))?;
        chart.draw_series(above.iter().map(|(x, _)| {
            TriangleMarker::new((*x, top * 0.992), pen.px(3.5), ORANGE.mix(0.8).filled())
        }))?;
        let threshold = [(0.0, self.threshold), (steps, self.threshold)];
        chart.draw_series(dashes(&threshold, pen, pen.line(BLACK, 1.4)))?;
        // The first of the legend lies on top.
        for curve in self.curves.iter().rev() {
            let points: Vec<_> =
                curve.points.iter().map(|(x, y)| (*x, y.clamp(0.0, top))).collect();
            let style = pen.line(curve.color, curve.width);
            if curve.dashed {
                chart.draw_series(dashes(&points, pen, style))?;
            } else {
                chart.draw_series(LineSeries::new(points, style))?;
            }
        }
        let label = format!("2/η = {}", rounded(self.threshold));
        let place = chart.backend_coord(&(steps * 0.008, self.threshold));
        pen.note(area, &label, (place.0, place.1 - pen.px(12.0)), HPos::Left, 15.0)?;
        let corner = chart.backend_coord(&(steps * 0.992, top));
        let note = self.clipped(&above);
        pen.note(area, &note, (corner.0, corner.1 + pen.px(16.0)), HPos::Right, 12.0)
    }

    /// Says what lies above the range, if anything.
    fn clipped(&self, above: &[(f64, f64)]) -> String {
        let mut notes = Vec::new();
        if !above.is_empty() {
            let largest = above.iter().map(|p| p.1).fold(0.0, f64::max);
            let (n, all) = (above.len(), self.dots.len());
            notes.push(format!(
                "triangles: {n} of {all} mini-batches above the range, up to {}",
                rounded(largest)
            ));
        }
        if self.curves.iter().flat_map(|c| &c.points).any(|(_, y)| *y > self.top()) {
            notes.push("lines are clipped".to_string());
        }
        notes.join("; ")
    }

    fn draw_loss<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<B> {
        let usable = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().copied().filter(|(_, y)| y.is_finite() && *y > 0.0).collect()
        };
        let (full, batches) = (usable(&self.loss), usable(&self.batch_loss));
        // Whole decades around the loss of all samples; single batches may leave the panel.
        let low = full.iter().map(|p| p.1).fold(f64::INFINITY, f64::min).clamp(1e-12, 1.0);
        let high = full.iter().map(|p| p.1).fold(0.0, f64::max).clamp(low, 1e6);
        let (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().floor() + 1.0));
        let mut chart = pen
            .chart(area)
            .x_label_area_size(pen.px(44.0))
            .right_y_label_area_size(0)
            .margin_right(pen.px(16.0 + RIGHT))
            .build_cartesian_2d(0.0..self.steps(), (low..high).log_scale())?;
        let mut mesh = chart.configure_mesh();
        pen.mesh(&mut mesh)
            .x_label_formatter(&|x| format!("{x}"))
            .x_desc("training step")
            .y_desc("loss")
            .y_label_formatter(&|y| if *y < 1e-4 { format!("{y:e}") } else { format!("{y}") })
            .draw()?;
        let faint = GRAY.mix(0.35).filled();
        let inside = batches.iter().filter(|(_, y)| (low..=high).contains(y));
        chart.draw_series(inside.map(|p| Circle::new(*p, pen.px(1.3), faint)))?;
        let line = full.iter().map(|(x, y)| (*x, y.clamp(low, high)));
        chart.draw_series(LineSeries::new(line, pen.line(DARK, 2.0)))?;
        let corner = chart.backend_coord(&(self.steps() * 0.992, high));
        let note = "line: all samples; dots: training batches";
        pen.note(area, note, (corner.0, corner.1 + pen.px(16.0)), HPos::Right, 12.0)
    }

    /// The right end of the horizontal axis.
    fn steps(&self) -> f64 {
        let all =
            self.loss.iter().chain(&self.dots).chain(self.curves.iter().flat_map(|c| &c.points));
        all.map(|p| p.0).fold(1.0, f64::max)
    }

    /// The upper end of the vertical axis: room for the lines and for nearly all dots, always with
    /// the threshold, never above four times it, so that a few outliers do not flatten the rest.
    fn top(&self) -> f64 {
        let mut dots: Vec<f64> = self.dots.iter().map(|p| p.1).filter(|y| y.is_finite()).collect();
        dots.sort_by(f64::total_cmp);
        let nearly_all = dots.len().saturating_sub(1) * 99 / 100;
        let lines = self.curves.iter().flat_map(|c| &c.points).map(|p| p.1).fold(0.0, f64::max);
        let needed = dots.get(nearly_all).copied().unwrap_or(0.0).max(lines);
        (1.1 * needed).clamp(1.25 * self.threshold, 4.0 * self.threshold)
    }
}
