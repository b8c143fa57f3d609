//! Drawing in units of length, into SVG and PNG alike; needs no fonts of the system.

use std::fs;
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
pub const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub const DARK: RGBColor = RGBColor(38, 38, 38);
pub const GRAY: RGBColor = RGBColor(110, 110, 110);

/// Pixels of the SVG per unit of length: strokes have whole numbers of pixels.
const SVG_SCALE: u32 = 2;

/// Width of the axis on the right, which the lower panel leaves empty.
pub const RIGHT: f64 = 56.0;

const FONT: &str = "sans-serif";

pub type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;
pub type Area<B> = DrawingArea<B, Shift>;

/// Something to look at.
pub trait Picture {
    /// Width and height in units of length.
    fn size(&self) -> (u32, u32);

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<B>;

    /// Writes `stem`.svg and `stem`.png in `folder`, which is made if need be.
    fn save(&self, folder: &Path, stem: &str) -> Result<()> {
        register_fonts();
        fs::create_dir_all(folder).map_err(|e| ExampleError::write(folder, e))?;
        let svg = folder.join(format!("{stem}.svg"));
        let (width, height) = self.size();
        let area = SVGBackend::new(&svg, (width * SVG_SCALE, height * SVG_SCALE));
        self.draw(&area.into_drawing_area(), Pen { scale: f64::from(SVG_SCALE) })
            .map_err(|e| ExampleError::write(&svg, e))?;
        save_png(&folder.join(format!("{stem}.png")), (width, height), |area, scale| {
            self.draw(area, Pen { scale })
        })
    }
}

/// Sizes in units of length, made pixels.
#[derive(Clone, Copy)]
pub struct Pen {
    pub scale: f64,
}

impl Pen {
    pub fn px(self, length: f64) -> i32 {
        (length * self.scale).round() as i32
    }

    pub fn length(self, length: u32) -> i32 {
        self.px(f64::from(length))
    }

    pub fn line(self, color: RGBColor, width: f64) -> ShapeStyle {
        color.stroke_width(self.px(width).max(1) as u32)
    }

    pub fn text(self, size: f64, color: RGBColor) -> TextStyle<'static> {
        (FONT, size * self.scale).into_font().color(&color)
    }

    pub fn dot<C>(self, place: C) -> Circle<C, i32> {
        Circle::new(place, self.px(1.4), ORANGE.mix(0.4).filled())
    }

    /// Text on a white ground that keeps it readable on top of data. `place` is the middle of its
    /// left or right end.
    pub fn note<B: DrawingBackend>(
        self,
        area: &Area<B>,
        text: &str,
        place: (i32, i32),
        end: HPos,
        size: f64,
    ) -> Drawn<B> {
        if text.is_empty() {
            return Ok(());
        }
        // A chart gives places on the whole picture, an area draws at places of its own.
        let (x, y) = area.get_base_pixel();
        let place = (place.0 - x, place.1 - y);
        let style = self.text(size, DARK);
        let (width, _) = area.estimate_text_size(text, &style)?;
        let left = if matches!(end, HPos::Right) { place.0 - width as i32 } else { place.0 };
        let (margin, half) = (self.px(3.0), self.px(0.62 * size));
        let ground =
            [(left - margin, place.1 - half), (left + width as i32 + margin, place.1 + half)];
        area.draw(&Rectangle::new(ground, WHITE.mix(0.85).filled()))?;
        let anchor = Pos::new(HPos::Left, VPos::Center);
        area.draw(&Text::new(text.to_string(), (left, place.1), style.pos(anchor)))
    }

    /// Grid, axes and text of a panel.
    pub fn mesh<'m, 'a, 'b, X: Ranged, Y: Ranged, B: DrawingBackend>(
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
    pub fn chart<'a, 'b, B: DrawingBackend>(self, area: &'a Area<B>) -> ChartBuilder<'a, 'b, B> {
        let mut builder = ChartBuilder::on(area);
        builder
            .margin_top(self.px(4.0))
            .margin_left(self.px(14.0))
            .margin_right(self.px(16.0))
            .y_label_area_size(self.px(70.0))
            .right_y_label_area_size(self.px(RIGHT));
        builder
    }
}

fn pen_grid(pen: Pen) -> ShapeStyle {
    GRAY.mix(0.2).stroke_width(pen.px(1.0) as u32)
}

/// Dashes along `points`.
pub fn dashes(
    points: &[(f64, f64)],
    pen: Pen,
    style: ShapeStyle,
) -> DashedLineSeries<std::vec::IntoIter<(f64, f64)>, i32> {
    DashedLineSeries::new(points.to_vec(), pen.px(8.0), pen.px(5.0), style)
}

fn register_fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Built-in bytes that are a font: the error cannot occur, and would only change glyphs.
        let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
}
