//! The strokes of the figure.

use burn_sharpness::solver::EigenPair;
use plotters::coord::Shift;
use plotters::coord::combinators::LogCoord;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::measured::NODES;
use crate::picture::{FLOOR, FONT, Figure, ROWS};
use crate::support::number::rounded;
use crate::support::pen::{BLUE, VERMILLION};

const DARK: RGBColor = RGBColor(38, 38, 38);
const GRAY: RGBColor = RGBColor(110, 110, 110);
const COLORS: [RGBColor; 2] = [VERMILLION, BLUE];

type Area<B> = DrawingArea<B, Shift>;
type Chart<'c, B> = ChartContext<'c, B, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;
type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

impl Figure<'_> {
    /// Draws everything; one unit of length is `scale` pixels.
    pub fn draw<B: DrawingBackend>(&self, area: &Area<B>, scale: f64) -> Drawn<B> {
        area.fill(&WHITE)?;
        let pen = Pen { scale };
        let (header, panel) = area.split_vertically(pen.px(92.0));
        self.draw_header(&header, pen)?;
        let (low, high) = self.y;
        let mut chart = ChartBuilder::on(&panel)
            .margin(pen.px(12.0))
            .x_label_area_size(pen.px(44.0))
            .y_label_area_size(pen.px(76.0))
            .build_cartesian_2d(self.x.0..self.x.1, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRAY.mix(0.2).stroke_width(pen.px(1.0) as u32))
            .axis_style(pen.line(GRAY, 1.0))
            .label_style(pen.text(13.0))
            .axis_desc_style(pen.text(15.0))
            .set_all_tick_mark_size(pen.px(4.0))
            .x_desc("λ")
            .y_desc("eigenvalues per unit of λ")
            .x_label_formatter(&|x| format!("{x}"))
            .y_label_formatter(&|y| rounded(*y))
            .draw()?;
        self.draw_densities(&mut chart, pen)?;
        self.draw_marks(&mut chart, pen)?;
        area.present()
    }

    fn draw_header<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<B> {
        let text = |words: String, x: f64, y: f64, size: f64| {
            let left = Pos::new(HPos::Left, VPos::Center);
            area.draw(&Text::new(words, (pen.px(x), pen.px(y)), pen.text(size).pos(left)))
        };
        text(self.title.to_string(), 88.0, 22.0, 16.0)?;
        for (i, (m, color)) in self.measured.iter().zip(COLORS).enumerate() {
            let x = 88.0 + 160.0 * i as f64;
            let ends = vec![(pen.px(x), pen.px(50.0)), (pen.px(x + 32.0), pen.px(50.0))];
            area.draw(&PathElement::new(ends, pen.line(color, 2.4)))?;
            text(m.name.to_string(), x + 42.0, 50.0, 14.0)?;
        }
        let note = format!(
            "bands: 95% over {} random vectors of {NODES} nodes; kernel σ = {}, seen to 4σ from λ = 0; ticks: the {} largest \
             and λmin, by Lanczos",
            self.measured[0].density.quadratures.len(),
            rounded(self.width),
            self.measured[0].top.len()
        );
        text(note, 88.0, 75.0, 13.0)
    }

    fn draw_densities<B: DrawingBackend>(&self, chart: &mut Chart<'_, B>, pen: Pen) -> Drawn<B> {
        let floor = FLOOR * self.single;
        for (points, color) in self.densities.iter().zip(COLORS) {
            // Pieces above the floor: nothing is drawn where there is nothing.
            for piece in points.split(|p| p.1 < floor) {
                let up = piece.iter().map(|p| (p.0, p.2.1.min(self.y.1)));
                let down = piece.iter().rev().map(|p| (p.0, p.2.0.max(floor)));
                let band: Vec<_> = up.chain(down).collect();
                chart.draw_series([Polygon::new(band, color.mix(0.15).filled())])?;
                let curve = piece.iter().map(|p| (p.0, p.1));
                chart.draw_series(LineSeries::new(curve, pen.line(color, 1.8)))?;
            }
        }
        Ok(())
    }

    /// The rows of ticks, the height of one eigenvalue, and 2/η.
    fn draw_marks<B: DrawingBackend>(&self, chart: &mut Chart<'_, B>, pen: Pen) -> Drawn<B> {
        let ((low, high), (left, right)) = (self.y, self.x);
        for (row, (m, color)) in self.measured.iter().zip(COLORS).enumerate() {
            let at = |part: f64| low * ROWS.powf(0.42 * row as f64 + part);
            let tick = |p: &EigenPair| {
                let ends = vec![(p.value, at(0.08)), (p.value, at(0.42))];
                PathElement::new(ends, pen.line(color, 1.6))
            };
            chart.draw_series(m.top.iter().chain([&m.least]).map(tick))?;
        }
        let dashed = |ends: [(f64, f64); 2], style| {
            DashedLineSeries::new(ends.to_vec(), pen.px(7.0), pen.px(5.0), style)
        };
        let (single, edge) = (self.single, self.threshold);
        chart.draw_series(dashed([(left, single), (right, single)], pen.line(GRAY, 1.0)))?;
        chart.draw_series(dashed([(edge, low), (edge, high)], pen.line(BLACK, 1.4)))?;
        let shift = 0.008 * (right - left);
        let label = |words: String, x: f64, y: f64, size: f64| {
            let end = Pos::new(HPos::Right, VPos::Center);
            Text::new(words, (x - shift, y), pen.text(size).pos(end))
        };
        let words = format!("2/η = {}", rounded(edge));
        chart.draw_series([
            label(words, edge, high / 2.5, 15.0),
            label("one eigenvalue".to_string(), right, 1.45 * single, 12.0),
        ])?;
        Ok(())
    }
}

/// Sizes in units of length, made pixels.
#[derive(Clone, Copy)]
struct Pen {
    scale: f64,
}

impl Pen {
    fn px(self, length: f64) -> i32 {
        (length * self.scale).round() as i32
    }

    fn line(self, color: RGBColor, width: f64) -> ShapeStyle {
        color.stroke_width(self.px(width).max(1) as u32)
    }

    fn text(self, size: f64) -> TextStyle<'static> {
        (FONT, size * self.scale).into_font().color(&DARK)
    }
}
