//! The picture of a run, in the manner of Figure 2 of the paper: sharpness against steps with the
//! threshold 2/η, and the loss below. Written as SVG and PNG; needs no fonts of the system.

use std::path::Path;
use std::sync::Once;

use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use super::error::{ExampleError, Result};
use super::raster::save_png;

/// Colours that people with any common colour vision tell apart (M. Okabe and K. Ito, 2008).
pub const VERMILLION: RGBColor = RGBColor(213, 94, 0);
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
pub const PURPLE: RGBColor = RGBColor(167, 78, 136);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const DARK: RGBColor = RGBColor(38, 38, 38);
const GRAY: RGBColor = RGBColor(110, 110, 110);

/// Size of the picture in units of length (pixels of the SVG).
const SIZE: (u32, u32) = (960, 720);

/// Height of the lines of text above the panels, and of the upper panel.
const HEADER: u32 = 92;
const UPPER: u32 = 420;

const FONT: &str = "sans-serif";

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

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;
type Area<B> = DrawingArea<B, Shift>;

impl Figure {
    /// Writes `stem`.svg and `stem`.png in `folder`.
    pub fn save(&self, folder: &Path, stem: &str) -> Result<()> {
        register_fonts();
        let svg = folder.join(format!("{stem}.svg"));
        self.draw(&SVGBackend::new(&svg, SIZE).into_drawing_area(), 1.0)
            .map_err(|e| ExampleError::write(&svg, e))?;
        save_png(&folder.join(format!("{stem}.png")), SIZE, |area, scale| self.draw(area, scale))
    }

    /// Draws everything; one unit of length is `scale` pixels.
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, scale: f64) -> Drawn<B> {
        area.fill(&WHITE)?;
        let pen = Pen { scale };
        let (header, panels) = area.split_vertically(pen.length(HEADER));
        let (upper, lower) = panels.split_vertically(pen.length(UPPER));
        self.draw_header(&header, pen)?;
        self.draw_sharpness(&upper, pen)?;
        self.draw_loss(&lower, pen)?;
        area.present()
    }

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
        for curve in &self.curves {
            let points: Vec<_> =
                curve.points.iter().map(|(x, y)| (*x, y.clamp(0.0, top))).collect();
            let style = pen.line(curve.color, curve.width);
            if curve.dashed {
                chart.draw_series(dashes(&points, pen, style))?;
            } else {
                chart.draw_series(LineSeries::new(points, style))?;
            }
        }
        let note = Pos::new(HPos::Left, VPos::Bottom);
        let place = (steps * 0.008, self.threshold + top * 0.012);
        let label = format!("2/η = {}", rounded(self.threshold));
        chart.draw_series([Text::new(label, place, pen.text(15.0, BLACK).pos(note))])?;
        self.note_clipped(&mut chart, &above, pen)
    }

    /// Says what lies above the range, if anything.
    fn note_clipped<B: DrawingBackend>(
        &self,
        chart: &mut ChartContext<'_, B, Plane>,
        above: &[(f64, f64)],
        pen: Pen,
    ) -> Drawn<B> {
        let largest = above.iter().map(|(_, y)| *y).fold(0.0, f64::max);
        let lines_clipped =
            self.curves.iter().flat_map(|c| &c.points).any(|(_, y)| *y > self.top());
        let mut note = match above.len() {
            0 => String::new(),
            n => format!(
                "▲ {n} of {} single batches lie above, up to {}",
                self.dots.len(),
                rounded(largest)
            ),
        };
        if lines_clipped {
            note += if note.is_empty() { "lines are clipped" } else { "; lines are clipped" };
        }
        let right = Pos::new(HPos::Right, VPos::Top);
        let place = (self.steps() * 0.99, self.top() * 0.965);
        chart.draw_series([Text::new(note, place, pen.text(12.0, GRAY).pos(right))])?;
        Ok(())
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
            .build_cartesian_2d(0.0..self.steps(), (low..high).log_scale())?;
        let mut mesh = chart.configure_mesh();
        pen.mesh(&mut mesh)
            .x_label_formatter(&|x| format!("{x}"))
            .x_desc("training step")
            .y_desc("loss")
            .y_label_formatter(&|y| power_of_ten(*y))
            .draw()?;
        let faint = GRAY.mix(0.35).filled();
        let inside = batches.iter().filter(|(_, y)| (low..=high).contains(y));
        chart.draw_series(inside.map(|p| Circle::new(*p, pen.px(1.3), faint)))?;
        let line = full.iter().map(|(x, y)| (*x, y.clamp(low, high)));
        chart.draw_series(LineSeries::new(line, pen.line(DARK, 2.0)))?;
        let right = Pos::new(HPos::Right, VPos::Top);
        let place = (self.steps() * 0.99, 10f64.powf(high.log10() - 0.04 * (high / low).log10()));
        let note = "line: all samples; dots: single training batches";
        chart.draw_series([Text::new(note, place, pen.text(12.0, GRAY).pos(right))])?;
        Ok(())
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

type Plane =
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>;

/// Sizes in units of length, made pixels.
#[derive(Clone, Copy)]
struct Pen {
    scale: f64,
}

impl Pen {
    fn px(self, length: f64) -> i32 {
        (length * self.scale).round() as i32
    }

    fn length(self, length: u32) -> i32 {
        self.px(f64::from(length))
    }

    fn line(self, color: RGBColor, width: f64) -> ShapeStyle {
        color.stroke_width(self.px(width).max(1) as u32)
    }

    fn text(self, size: f64, color: RGBColor) -> TextStyle<'static> {
        (FONT, size * self.scale).into_font().color(&color)
    }

    fn dot<C>(self, place: C) -> Circle<C, i32> {
        Circle::new(place, self.px(1.5), ORANGE.mix(0.45).filled())
    }

    /// Grid, axes and text of a panel.
    fn mesh<'m, 'a, 'b, X: Ranged, Y: Ranged, B: DrawingBackend>(
        self,
        mesh: &'m mut MeshStyle<'a, 'b, X, Y, B>,
    ) -> &'m mut MeshStyle<'a, 'b, X, Y, B> {
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(pen_grid(self))
            .axis_style(self.line(GRAY, 1.0))
            .label_style(self.text(13.0, DARK))
            .axis_desc_style(self.text(15.0, DARK))
            .x_labels(9)
            .y_labels(8)
            .set_all_tick_mark_size(self.px(4.0))
    }

    /// A panel with the margins that make both panels line up.
    fn chart<'a, 'b, B: DrawingBackend>(self, area: &'a Area<B>) -> ChartBuilder<'a, 'b, B> {
        let mut builder = ChartBuilder::on(area);
        builder
            .margin_top(self.px(4.0))
            .margin_left(self.px(14.0))
            .margin_right(self.px(16.0))
            .y_label_area_size(self.px(70.0))
            .right_y_label_area_size(self.px(62.0));
        builder
    }
}

fn pen_grid(pen: Pen) -> ShapeStyle {
    GRAY.mix(0.2).stroke_width(pen.px(1.0) as u32)
}

/// Dashes along `points`.
fn dashes(
    points: &[(f64, f64)],
    pen: Pen,
    style: ShapeStyle,
) -> DashedLineSeries<std::vec::IntoIter<(f64, f64)>, i32> {
    DashedLineSeries::new(points.to_vec(), pen.px(8.0), pen.px(5.0), style)
}

/// Three significant digits, without trailing zeros.
fn rounded(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{:.3}", value).trim_end_matches('0').trim_end_matches('.').to_string()
    }
}

/// 10ⁿ with n in superscript digits.
fn power_of_ten(value: f64) -> String {
    let exponent = value.log10().round() as i32;
    let superscript = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
    };
    format!("10{}", exponent.to_string().chars().map(superscript).collect::<String>())
}

fn register_fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Built-in bytes that are a font: the error cannot occur, and would only change glyphs.
        let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
}
