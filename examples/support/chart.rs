//! Pictures of measurements: curves and points with error bars over one pair of axes, and bars.

use std::ops::Range;

use plotters::chart::ChartContext;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::number::rounded;
use super::pen::{Area, DARK, Drawn, Pen, Picture, dashes};

const SIZE: (u32, u32) = (960, 600);
const BARS: (u32, u32) = (960, 520);

/// Where text and panels begin.
const LEFT: f64 = 84.0;

/// How the points of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    Line,
    Faint,
    Dashes,
    /// Discs with error bars.
    Points,
}

/// A value, its abscissa, and the interval of its error bar.
#[derive(Clone, Debug)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub interval: (f64, f64),
    /// What stands beside it; may be empty.
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub label: String,
    pub color: RGBColor,
    pub look: Look,
    pub points: Vec<Point>,
}

impl Series {
    /// A curve without error bars.
    pub fn curve(label: String, color: RGBColor, look: Look, points: Vec<(f64, f64)>) -> Self {
        let point = |(x, y)| Point { x, y, interval: (y, y), name: String::new() };
        Self { label, color, look, points: points.into_iter().map(point).collect() }
    }
}

/// Series over one pair of axes, both linear from zero or both logarithmic.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub is_logarithmic: bool,
    pub series: Vec<Series>,
}

impl Picture for Chart {
    fn size(&self) -> (u32, u32) {
        SIZE
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<B> {
        area.fill(&WHITE)?;
        let rows = self.series.len().div_ceil(2) as f64;
        let (header, panel) = area.split_vertically(pen.px(44.0 + 23.0 * rows));
        draw_title(&header, pen, &self.title)?;
        for (i, series) in self.series.iter().enumerate() {
            let place = (LEFT + 420.0 * (i % 2) as f64, 51.0 + 23.0 * (i / 2) as f64);
            draw_entry(&header, pen, place, series)?;
        }
        let (x, y) =
            (self.range(|p| vec![p.x]), self.range(|p| vec![p.y, p.interval.0, p.interval.1]));
        if self.is_logarithmic {
            self.draw_in(&panel, pen, (x.log_scale(), y.clone().log_scale()), y.start)?;
        } else {
            let last = self.series.iter().flat_map(|s| &s.points).map(|p| p.x).fold(0.0, f64::max);
            self.draw_in(&panel, pen, (0.0..last.max(f64::MIN_POSITIVE), y), 0.0)?;
        }
        area.present()
    }
}

impl Chart {
    /// Room for everything: from zero, or some way around it on a logarithmic axis.
    fn range(&self, of: impl Fn(&Point) -> Vec<f64>) -> Range<f64> {
        let values = self.series.iter().flat_map(|s| &s.points).flat_map(of);
        let values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
        let high = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        if !self.is_logarithmic {
            return 0.0..1.05 * high;
        }
        let low = values.iter().copied().filter(|v| *v > 0.0).fold(high, f64::min);
        let margin = (high / low).powf(0.1).max(1.2);
        // An error bar that reaches to zero must not stretch the axis without end.
        (low / margin).max(high * 1e-5)..high * margin
    }

    /// Draws the panel; values below `floor` end there.
    fn draw_in<B, X, Y>(&self, area: &Area<B>, pen: Pen, axes: (X, Y), floor: f64) -> Drawn<B>
    where
        B: DrawingBackend,
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut builder = pen.chart(area);
        builder.right_y_label_area_size(0).margin_right(pen.px(28.0)).margin_bottom(pen.px(8.0));
        let mut chart =
            builder.x_label_area_size(pen.px(46.0)).build_cartesian_2d(axes.0, axes.1)?;
        pen.mesh(&mut chart.configure_mesh())
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .x_desc(self.x_label.as_str())
            .y_desc(self.y_label.as_str())
            .draw()?;
        for point in self.series.iter().flat_map(|s| &s.points).filter(|p| !p.name.is_empty()) {
            let (x, y) = chart.backend_coord(&(point.x, point.y));
            pen.note(area, &point.name, (x - pen.px(9.0), y - pen.px(11.0)), HPos::Right, 12.0)?;
        }
        for series in &self.series {
            draw_series(&mut chart, pen, series, floor)?;
        }
        Ok(())
    }
}

fn draw_series<B, X, Y>(
    chart: &mut ChartContext<'_, B, Cartesian2d<X, Y>>,
    pen: Pen,
    series: &Series,
    floor: f64,
) -> Drawn<B>
where
    B: DrawingBackend,
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let style = stroke(pen, series);
    let places: Vec<(f64, f64)> = series.points.iter().map(|p| (p.x, p.y.max(floor))).collect();
    match series.look {
        Look::Line | Look::Faint => drop(chart.draw_series(LineSeries::new(places, style))?),
        Look::Dashes => drop(chart.draw_series(dashes(&places, pen, style))?),
        Look::Points => {
            for Point { x, interval: (low, high), .. } in &series.points {
                let ends = vec![(*x, low.max(floor)), (*x, high.max(floor))];
                chart.draw_series([PathElement::new(ends.clone(), style)])?;
                let cap = |end: (f64, f64)| {
                    let half = pen.px(5.0);
                    EmptyElement::at(end) + PathElement::new(vec![(-half, 0), (half, 0)], style)
                };
                chart.draw_series(ends.into_iter().filter(|e| e.1 > floor).map(cap))?;
            }
            let disc = |place| Circle::new(place, pen.px(4.5), series.color.filled());
            chart.draw_series(places.into_iter().map(disc))?;
        }
    }
    Ok(())
}

fn draw_title<B: DrawingBackend>(area: &Area<B>, pen: Pen, title: &str) -> Drawn<B> {
    let left = Pos::new(HPos::Left, VPos::Center);
    let style = pen.text(16.0, DARK).pos(left);
    area.draw(&Text::new(title.to_string(), (pen.px(LEFT), pen.px(22.0)), style))
}

fn stroke(pen: Pen, series: &Series) -> ShapeStyle {
    match series.look {
        Look::Faint => series.color.mix(0.5).stroke_width(pen.px(1.3).max(1) as u32),
        _ => pen.line(series.color, 2.2),
    }
}

/// A line of the legend.
fn draw_entry<B: DrawingBackend>(
    area: &Area<B>,
    pen: Pen,
    (x, y): (f64, f64),
    series: &Series,
) -> Drawn<B> {
    let at = |x: f64| (pen.px(x), pen.px(y));
    let strokes: &[(f64, f64)] = match series.look {
        Look::Line | Look::Faint => &[(0.0, 32.0)],
        Look::Dashes => &[(0.0, 13.0), (19.0, 32.0)],
        Look::Points => &[],
    };
    for (from, to) in strokes {
        let style = stroke(pen, series);
        area.draw(&PathElement::new(vec![at(x + from), at(x + to)], style))?;
    }
    if series.look == Look::Points {
        area.draw(&Circle::new(at(x + 16.0), pen.px(4.5), series.color.filled()))?;
    }
    let left = Pos::new(HPos::Left, VPos::Center);
    area.draw(&Text::new(series.label.clone(), at(x + 42.0), pen.text(14.0, DARK).pos(left)))
}

/// Bars that lie on their side, in groups, with their numbers at their ends.
#[derive(Clone, Debug)]
pub struct Bars {
    pub title: String,
    pub x_label: String,
    /// What the bars of each group are, from the top.
    pub kinds: Vec<(String, RGBColor)>,
    /// A name, and one value above or at zero for each kind.
    pub groups: Vec<(String, Vec<f64>)>,
}

impl Picture for Bars {
    fn size(&self) -> (u32, u32) {
        BARS
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<B> {
        area.fill(&WHITE)?;
        let (header, panel) = area.split_vertically(pen.px(76.0));
        draw_title(&header, pen, &self.title)?;
        let left = Pos::new(HPos::Left, VPos::Center);
        for (i, (label, color)) in self.kinds.iter().enumerate() {
            let (x, y) = (LEFT + 420.0 * i as f64, 51.0);
            let at = |dx: f64, dy: f64| (pen.px(x + dx), pen.px(y + dy));
            area.draw(&Rectangle::new([at(0.0, -7.0), at(32.0, 7.0)], color.filled()))?;
            header.draw(&Text::new(
                label.clone(),
                at(42.0, 0.0),
                pen.text(14.0, DARK).pos(left),
            ))?;
        }
        let highest =
            self.groups.iter().flat_map(|g| &g.1).copied().fold(f64::MIN_POSITIVE, f64::max);
        let n = self.groups.len() as f64;
        let mut builder = pen.chart(&panel);
        builder
            .right_y_label_area_size(0)
            .margin_bottom(pen.px(8.0))
            .y_label_area_size(pen.px(150.0));
        let mut chart = builder
            .x_label_area_size(pen.px(46.0))
            .build_cartesian_2d(0.0..1.12 * highest, n..0.0)?;
        pen.mesh(&mut chart.configure_mesh())
            .disable_y_mesh()
            .y_labels(0)
            .x_label_formatter(&|x| short(*x))
            .x_desc(self.x_label.as_str())
            .draw()?;
        for (i, (name, values)) in self.groups.iter().enumerate() {
            let (top, height) = (i as f64 + 0.14, 0.72 / values.len() as f64);
            for (j, (value, (_, color))) in values.iter().zip(&self.kinds).enumerate() {
                let from = top + height * j as f64;
                let bar = [(0.0, from), (*value, from + 0.94 * height)];
                chart.draw_series([Rectangle::new(bar, color.filled())])?;
                let (x, y) = chart.backend_coord(&(*value, from + 0.47 * height));
                pen.note(&panel, &rounded(*value), (x + pen.px(8.0), y), HPos::Left, 13.0)?;
            }
            let (x, y) = chart.backend_coord(&(0.0, i as f64 + 0.5));
            pen.note(&panel, name, (x - pen.px(12.0), y), HPos::Right, 14.0)?;
        }
        area.present()
    }
}

/// A number at a tick.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1e5 || (magnitude > 0.0 && magnitude < 1e-3) {
        format!("{value:.0e}")
    } else {
        rounded(value)
    }
}
