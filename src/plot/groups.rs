//! The sharpness of layers over time as a map of colours.

use super::Picture;
use super::axis::{Axis, Scale};
use super::palette::shade;
use super::panel::{FOOT, LEFT, Panel, WIDTH};
use super::scene::{Anchor, DARK, GRAY, Ink, PAPER, Scene, fitted, text_width};
use crate::error::{Error, Result};
use crate::observe::{History, Measure};

/// Columns of the map at most: more are averaged.
const MOST_COLUMNS: usize = 360;

/// A logarithmic scale for positive values that span more than this.
const WIDE: f64 = 10.0;

/// Height of a layer, and of the text that names it.
const TALLEST: f64 = 34.0;
const LEAST: f64 = 5.0;
const TALL: f64 = 560.0;
const NAME: f64 = 13.0;

/// Place of the bar that explains the colours, from the right end of the picture.
const BAR: f64 = 84.0;
const BAR_WIDTH: f64 = 16.0;
const SHADES: usize = 64;

const TOP: f64 = 48.0;

/// The sharpness of groups of parameters, for example layers ([`Measure::Group`]), as a heat map: a row for
/// each group, training steps from left to right. The scale is logarithmic where values are positive and
/// span more than a decade. What was not measured is hatched.
///
/// A colour holds from half-way to the row before until half-way to the row after; those of
/// the first and the last row begin and end with it, but for some width.
///
/// # Errors
/// [`Error::NothingToDraw`] for a history without groups.
pub fn groups(history: &History) -> Result<Picture> {
    let map = Map::of(history)?;
    let names = map.names.iter().map(|name| text_width(name, NAME)).fold(0.0, f64::max);
    let left = LEFT.max(names.min(0.35 * WIDTH) + 28.0);
    let n = map.names.len();
    let bottom = TOP + (TALL / n as f64).clamp(LEAST, TALLEST) * n as f64;
    let x = Axis { scale: Scale::Steps, low: map.columns[0].from, high: map.end() };
    let y = Axis { scale: Scale::Linear, low: n as f64, high: 0.0 };
    let panel = Panel { left, right: WIDTH - BAR - 34.0, top: TOP, bottom, x, y };
    // The bar has a height that its numbers can be read at, however few the groups.
    let end = bottom.max(TOP + 170.0);
    let mut scene = Scene::new(WIDTH, (end + FOOT).ceil());
    map.draw(&mut scene, &panel);
    map.draw_scale(&mut scene, end);
    Ok(Picture::new(map.title(history), scene))
}

/// Values of a stretch of steps, one for each group.
struct Column {
    from: f64,
    to: f64,
    values: Vec<Option<f64>>,
}

struct Map {
    names: Vec<String>,
    columns: Vec<Column>,
    scale: Axis,
}

impl Map {
    fn of(history: &History) -> Result<Self> {
        let is_group = |measure: &Measure| matches!(measure, Measure::Group(_));
        let mut measures: Vec<Measure> = history.measures().into_iter().filter(is_group).collect();
        measures.sort_by_key(|measure| natural(&name(measure)));
        let rows: Vec<_> =
            history.rows().iter().filter(|row| row.values.keys().any(is_group)).collect();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Err(Error::NothingToDraw {
                picture: "map of groups",
                missing: "rows with groups; measure `Measure::Group` of some layers",
            });
        };
        let middle = |i: usize| 0.5 * (rows[i - 1].step + rows[i].step) as f64;
        let from = |i: usize| if i == 0 { first.step as f64 } else { middle(i) };
        let end = last.step as f64 + (last.step as f64 - from(rows.len() - 1)).max(0.5);
        let to = |i: usize| if i + 1 == rows.len() { end } else { middle(i + 1) };
        let column = |i: usize| Column {
            from: from(i),
            to: to(i),
            values: measures.iter().map(|measure| rows[i].mean(measure)).collect(),
        };
        let columns = merged((0..rows.len()).map(column).collect());
        let scale =
            scale(columns.iter().flat_map(|column| column.values.iter().flatten().copied()));
        Ok(Self { names: measures.iter().map(name).collect(), columns, scale })
    }

    fn end(&self) -> f64 {
        self.columns.last().map_or(1.0, |column| column.to)
    }

    fn title(&self, history: &History) -> String {
        let batch = history.rows().iter().find_map(|row| row.batch_size);
        let batch = batch.map_or(String::new(), |size| format!(", batches of {size}"));
        format!(
            "λmax of the Hessian of all data on {} groups of parameters{batch}",
            self.names.len()
        )
    }

    fn draw(&self, scene: &mut Scene, panel: &Panel) {
        let Panel { left, right, top, bottom, .. } = *panel;
        let height = (bottom - top) / self.names.len() as f64;
        hatch(scene, panel);
        for group in 0..self.names.len() {
            let upper = top + height * group as f64;
            let color = |column: &Column| column.values[group].map(|value| self.color(value));
            // Neighbours of one colour are one rectangle.
            for run in self.columns.chunk_by(|a, b| color(a) == color(b)) {
                let Some(ink) = color(&run[0]) else { continue };
                let (from, _) = panel.place(run[0].from, 0.0);
                let (to, _) = panel.place(run[run.len() - 1].to, 0.0);
                // Without a gap where pixels are rounded.
                scene.rectangle((from, upper), ((to + 0.3).min(right), upper + height), ink);
            }
        }
        let every = (14.0 / height).ceil().max(1.0) as usize;
        for (i, name) in self.names.iter().enumerate().step_by(every) {
            let name = fitted(name, NAME, left - 20.0);
            scene.words(name, (left - 10.0, top + height * (i as f64 + 0.5)), NAME, Anchor::End);
        }
        for (value, number) in panel.x.ticks(7) {
            let (x, _) = panel.place(value, 0.0);
            scene.path(vec![(x, bottom), (x, bottom + 4.0)], GRAY, 1.0);
            scene.words(number, (x, bottom + 14.0), NAME, Anchor::Middle);
        }
        let corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)];
        scene.path(corners.to_vec(), GRAY, 1.0);
        scene.words("training step", (0.5 * (left + right), bottom + 37.0), 15.0, Anchor::Middle);
    }

    /// The bar of colours with its numbers.
    fn draw_scale(&self, scene: &mut Scene, bottom: f64) {
        let (left, top) = (WIDTH - BAR, TOP);
        let height = (bottom - top) / SHADES as f64;
        for i in 0..SHADES {
            let upper = bottom - height * (i + 1) as f64;
            let lower = if i == 0 { bottom } else { upper + height + 0.3 };
            let ink = shade((i as f64 + 0.5) / SHADES as f64);
            scene.rectangle((left, upper), (left + BAR_WIDTH, lower), ink);
        }
        let bar =
            Panel { left, right: left + BAR_WIDTH, top, bottom, x: self.scale, y: self.scale };
        bar.draw_right_axis(scene, self.scale, "λmax, curvature of the loss");
        for value in self.scale.fine_ticks() {
            let (_, y) = bar.place(self.scale.low, value);
            scene.path(vec![(bar.right, y), (bar.right + 2.0, y)], GRAY, 1.0);
        }
    }

    fn color(&self, value: f64) -> Ink {
        shade(self.scale.share(value))
    }
}

/// Stripes, which stay where nothing is drawn on them.
fn hatch(scene: &mut Scene, panel: &Panel) {
    let Panel { left, right, top, bottom, .. } = *panel;
    scene.rectangle((left, top), (right, bottom), PAPER);
    let height = bottom - top;
    let mut x = left - height;
    while x < right {
        // From below on the left to above on the right, inside of the panel.
        let (start, end) = ((left - x).max(0.0), (right - x).min(height));
        if start < end {
            scene.path(
                vec![(x + start, bottom - start), (x + end, bottom - end)],
                DARK.faint(0.25),
                1.0,
            );
        }
        x += 8.0;
    }
}

fn name(measure: &Measure) -> String {
    match measure {
        Measure::Group(path) if path.is_empty() => "all parameters".into(),
        Measure::Group(path) => path.clone(),
        other => other.label(),
    }
}

/// Numbers in names count as numbers: `layers.2` comes before `layers.10`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0)];
    let mut digits = String::new();
    for letter in name.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        if let Ok(number) = std::mem::take(&mut digits).parse() {
            let (text, _) = parts.pop().unwrap_or_default();
            parts.extend([(text, number), (String::new(), 0)]);
        }
        if let Some((text, _)) = parts.last_mut() {
            text.push(letter);
        }
    }
    if let (Ok(number), Some((_, last))) = (digits.parse(), parts.last_mut()) {
        *last = number;
    }
    parts
}

/// Neighbouring columns averaged until there are few enough.
fn merged(columns: Vec<Column>) -> Vec<Column> {
    let size = columns.len().div_ceil(MOST_COLUMNS).max(1);
    let mean = |columns: &[Column], group: usize| {
        let values: Vec<f64> = columns.iter().filter_map(|column| column.values[group]).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let merge = |columns: &[Column]| Column {
        from: columns[0].from,
        to: columns[columns.len() - 1].to,
        values: (0..columns[0].values.len()).map(|group| mean(columns, group)).collect(),
    };
    columns.chunks(size).map(merge).collect()
}

/// The scale of the colours, without room beyond the values.
fn scale(values: impl Iterator<Item = f64> + Clone) -> Axis {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    match low > 0.0 && high > WIDE * low {
        true => Axis { scale: Scale::Log, low: low.max(1e-9 * high), high },
        false => Axis::linear(low, high),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_in_the_order_of_their_numbers() {
        let mut names =
            ["b", "layers.10.weight", "layers.2.weight", "layers.2", "layers.10", "a2c", "a10"];
        names.sort_by_key(|name| natural(name));
        let expected =
            ["a2c", "a10", "b", "layers.2", "layers.2.weight", "layers.10", "layers.10.weight"];
        assert_eq!(names, expected);
    }

    #[test]
    fn merged_columns_cover_the_same_steps_and_average_what_is_there() {
        let column = |i: usize| Column {
            from: i as f64,
            to: i as f64 + 1.0,
            values: vec![Some(i as f64), (i % 2 == 0).then_some(5.0), None],
        };
        let merged = merged((0..720).map(column).collect());
        assert_eq!(merged.len(), 360);
        assert_eq!((merged[0].from, merged[0].to), (0.0, 2.0));
        assert_eq!(merged[359].to, 720.0);
        assert_eq!(merged[1].values, [Some(2.5), Some(5.0), None]);
    }
}
