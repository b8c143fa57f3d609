//! Curves and points with error bars over one pair of axes.

use super::Picture;
use super::axis::Axis;
use super::header::{Header, Sample};
use super::palette::{self, THRESHOLD, look_of};
use super::panel::{Datum, FOOT, Panel, WIDTH};
use super::scene::{Anchor, GRAY, Scene, text_width};
use super::thin;
use crate::error::{Error, Result};

const HEIGHT: f64 = 480.0;

/// Size of the names of points, and height of a row of them.
const NAME: f64 = 12.0;
const NAME_ROW: f64 = 15.0;

/// How the points of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A line.
    Line,
    /// A thin line: in the style of another series, and less important.
    Thin,
    /// Dashes in black: a bound or a threshold.
    Reference,
    /// Markers with error bars.
    Points,
}

/// A value, its abscissa, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The abscissa.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// The ends of its error bar.
    pub interval: Option<(f64, f64)>,
    /// What stands above it; may be empty.
    pub name: String,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name in the legend.
    pub label: String,
    /// Number of colour, dashes and marker: series that belong together share one.
    pub style: usize,
    /// How the points are drawn.
    pub look: Look,
    /// The points, in the order of x.
    pub points: Vec<Point>,
}

impl Series {
    /// A curve without error bars.
    pub fn curve(
        label: impl Into<String>,
        style: usize,
        look: Look,
        points: &[(f64, f64)],
    ) -> Self {
        let point = |&(x, y): &(f64, f64)| Point { x, y, interval: None, name: String::new() };
        Self { label: label.into(), style, look, points: points.iter().map(point).collect() }
    }

    fn style(&self) -> palette::Look {
        let style = look_of(self.style);
        match self.look {
            Look::Thin => palette::Look { width: 1.0, ink: style.ink.faint(0.6), ..style },
            Look::Reference => THRESHOLD,
            Look::Line | Look::Points => style,
        }
    }

    fn data(&self) -> impl Iterator<Item = Datum> + '_ {
        self.points.iter().map(|p| Datum { x: p.x, y: p.y, interval: p.interval })
    }
}

/// Series over one pair of axes, both linear from zero or both logarithmic: a picture for what the others do
/// not show.
///
/// ```
/// use burn_sharpness::plot::{Chart, Look, Series};
///
/// let chart = Chart {
///     title: "two runs".into(),
///     x_name: "training step".into(),
///     y_name: "sharpness / threshold".into(),
///     is_logarithmic: false,
///     series: vec![
///         Series::curve("SGD", 0, Look::Line, &[(0.0, 0.2), (100.0, 1.1)]),
///         Series::curve("momentum", 1, Look::Line, &[(0.0, 0.3), (100.0, 0.9)]),
///     ],
/// };
/// assert!(chart.picture()?.svg().contains("momentum"));
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What stands above.
    pub title: String,
    /// What x is, with its unit.
    pub x_name: String,
    /// What y is, with its unit.
    pub y_name: String,
    /// Whether both axes are logarithmic. What is at or below zero is then left out, and said to be.
    pub is_logarithmic: bool,
    /// What is drawn, the first on top.
    pub series: Vec<Series>,
}

impl Chart {
    /// The picture.
    ///
    /// # Errors
    /// [`Error::NothingToDraw`] where no point can be drawn, [`Error::NonFinite`] for one that is not finite.
    pub fn picture(&self) -> Result<Picture> {
        let mut chart = self.clone();
        let n_left_out = chart.leave_out_what_has_no_place()?;
        let mut header = Header::default();
        for series in &chart.series {
            let sample = match series.look {
                Look::Points => Sample::Point(series.style()),
                _ => Sample::Line(series.style()),
            };
            header.entries.push((sample, series.label.clone()));
        }
        if n_left_out > 0 {
            header.notes.push(format!("points at or below zero, not on the axes: {n_left_out}"));
        }
        let mut scene = Scene::new(WIDTH, 0.0);
        let top = header.draw(&mut scene);
        let panel = Panel::new(top, top + HEIGHT, chart.axis(|p| p.x), chart.y_axis());
        let panel = chart.draw_names(&mut scene, panel);
        scene.size.1 = panel.bottom + FOOT;
        chart.draw(&mut scene, &panel);
        Ok(Picture::new(chart.title, scene))
    }

    /// Takes points out that a logarithmic axis has no place for; says how many.
    fn leave_out_what_has_no_place(&mut self) -> Result<usize> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let ends = points().filter_map(|p| p.interval).flat_map(|(low, high)| [low, high]);
        let mut numbers = points().flat_map(|p| [p.x, p.y]).chain(ends);
        if let Some(value) = numbers.find(|value| !value.is_finite()) {
            return Err(Error::NonFinite { quantity: "a number of a chart", value });
        }
        let before = points().count();
        if self.is_logarithmic {
            self.series.iter_mut().for_each(|s| s.points.retain(|p| p.x > 0.0 && p.y > 0.0));
        }
        match self.series.iter().map(|series| series.points.len()).sum::<usize>() {
            0 => {
                let missing = "points, for logarithmic axes above zero; give at least one";
                Err(Error::NothingToDraw { picture: "chart", missing })
            }
            left => Ok(before - left),
        }
    }

    /// Names above the panel, straight above their points, in as many rows as they need; moves the panel down.
    fn draw_names(&self, scene: &mut Scene, mut panel: Panel) -> Panel {
        let named = self.series.iter().flat_map(|s| &s.points).filter(|p| !p.name.is_empty());
        let mut places: Vec<(f64, &str)> =
            named.map(|p| (panel.place(p.x, p.y).0, p.name.as_str())).collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        // The right end of what stands in each row, the lowest first.
        let mut rows: Vec<f64> = Vec::new();
        let mut row_of = Vec::new();
        for &(x, name) in &places {
            let half = 0.5 * text_width(name, NAME) + 3.0;
            let free = rows.iter().position(|end| *end <= x - half).unwrap_or(rows.len());
            rows.resize(rows.len().max(free + 1), 0.0);
            rows[free] = x + half;
            row_of.push(free);
        }
        let height = NAME_ROW * rows.len() as f64;
        (panel.top, panel.bottom) = (panel.top + height, panel.bottom + height);
        for ((x, name), row) in places.into_iter().zip(row_of) {
            let y = panel.top - NAME_ROW * (row as f64 + 0.5) - 3.0;
            scene.words(name, (x, y), NAME, Anchor::Middle);
            scene.path(vec![(x, panel.top), (x, y + 0.6 * NAME)], GRAY, 1.0);
        }
        panel
    }

    fn draw(&self, scene: &mut Scene, panel: &Panel) {
        panel.draw_axes(scene, Some(&self.x_name), &self.y_name);
        for series in self.series.iter().rev() {
            let (style, data) = (series.style(), series.data().collect::<Vec<_>>());
            let points: Vec<(f64, f64)> = data.iter().map(|d| (d.x, d.y)).collect();
            if series.look == Look::Points {
                data.iter().for_each(|datum| panel.error_bar(scene, datum, style.ink));
                panel.markers(scene, &points, &style);
            } else {
                panel.line(scene, &thin::line(&points), &style);
            }
        }
    }

    /// An axis for all values: from zero, or some way around them on a logarithmic one.
    fn axis(&self, of: fn(&Point) -> f64) -> Axis {
        let values = self.series.iter().flat_map(|s| &s.points).map(of);
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        match self.is_logarithmic {
            true => Axis::log(low, high),
            false => Axis::linear(low.min(0.0), high.max(0.0)),
        }
    }

    /// The same with room for error bars, but not without end.
    fn y_axis(&self) -> Axis {
        let axis = self.axis(|p| p.y);
        let ends = self.series.iter().flat_map(|s| &s.points).filter_map(|p| p.interval);
        let low = ends.clone().map(|e| e.0).fold(f64::INFINITY, f64::min);
        let high = ends.map(|e| e.1).fold(f64::NEG_INFINITY, f64::max);
        if self.is_logarithmic {
            let (low, high) =
                (low.clamp(0.2 * axis.low, axis.low), high.clamp(axis.high, 5.0 * axis.high));
            return Axis { low, high, ..axis };
        }
        let (low, high) = (low.min(axis.low), high.max(axis.high));
        let room = 0.05 * (high - low);
        Axis {
            low: if low < 0.0 { low - room } else { low },
            high: if high > 0.0 { high + room } else { high },
            ..axis
        }
    }
}
