//! Bars that lie on their side, in groups, with their numbers at their ends.

use super::Picture;
use super::axis::Axis;
use super::header::{Header, Sample};
use super::number::rounded;
use super::palette::look_of;
use super::panel::{FOOT, LEFT, Panel, RIGHT, WIDTH};
use super::scene::{Anchor, GRAY, Scene, fitted, text_width};
use crate::error::{Error, Result};

const NAME: f64 = 14.0;
const NUMBER: f64 = 13.0;
/// Height of one bar, and what is between groups.
const BAR: f64 = 20.0;
const BETWEEN: f64 = 14.0;

/// Bars in groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// What stands above.
    pub title: String,
    /// What the length of a bar is, with its unit.
    pub x_name: String,
    /// What the bars of each group are, from the top.
    pub kinds: Vec<String>,
    /// A name, and one value for each kind.
    pub groups: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// The picture.
    ///
    /// # Errors
    /// [`Error::NothingToDraw`] without a bar, [`Error::NonFinite`] for one that is not finite.
    pub fn picture(&self) -> Result<Picture> {
        let values = || self.groups.iter().flat_map(|group| group.1.iter().copied());
        if let Some(value) = values().find(|value| !value.is_finite()) {
            return Err(Error::NonFinite { quantity: "the length of a bar", value });
        }
        if values().next().is_none() {
            let missing = "bars; give at least one group with a value";
            return Err(Error::NothingToDraw { picture: "bar chart", missing });
        }
        let kind = |(i, kind): (usize, &String)| (Sample::Swatch(look_of(i).ink), kind.clone());
        let header = Header {
            entries: self.kinds.iter().enumerate().map(kind).collect(),
            notes: Vec::new(),
        };
        let mut scene = Scene::new(WIDTH, 0.0);
        let top = header.draw(&mut scene);
        let bottom = top + self.groups.iter().map(|g| height(&g.1)).sum::<f64>();
        scene.size.1 = bottom + FOOT;

        // The names of groups stand where other pictures have numbers.
        let widest = self.groups.iter().map(|g| text_width(&g.0, NAME)).fold(0.0, f64::max);
        let left = LEFT.max(widest.min(0.4 * WIDTH) + 24.0);
        let (low, high) =
            values().fold((0.0_f64, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        let x = Axis::linear(1.12 * low, 1.12 * high);
        // Numbers of the vertical axis are not drawn: it counts groups.
        let y = Axis { low: 0.0, high: 1.0, ..x };
        let panel = Panel { left, right: RIGHT, top, bottom, x, y };
        self.draw(&mut scene, &panel);
        Ok(Picture::new(self.title.clone(), scene))
    }

    fn draw(&self, scene: &mut Scene, panel: &Panel) {
        let Panel { left, right, top, bottom, x, .. } = *panel;
        for (value, number) in x.ticks(8) {
            let (at, _) = panel.place(value, 0.0);
            scene.path(vec![(at, top), (at, bottom)], GRAY.faint(0.2), 1.0);
            scene.path(vec![(at, bottom), (at, bottom + 4.0)], GRAY, 1.0);
            scene.words(number, (at, bottom + 14.0), NUMBER, Anchor::Middle);
        }
        scene.path(vec![(left, bottom), (right, bottom)], GRAY, 1.0);
        scene.words(
            self.x_name.as_str(),
            (0.5 * (left + right), bottom + 37.0),
            15.0,
            Anchor::Middle,
        );
        let (zero, _) = panel.place(0.0, 0.0);
        let mut y = top;
        for (name, values) in &self.groups {
            let name = fitted(name, NAME, left - 20.0);
            scene.words(name, (left - 12.0, y + 0.5 * height(values)), NAME, Anchor::End);
            for (i, value) in values.iter().enumerate() {
                let upper = y + 0.5 * BETWEEN + BAR * i as f64;
                let (end, middle) = (panel.place(*value, 0.0).0, upper + 0.47 * BAR);
                let corners = ((zero.min(end), upper), (zero.max(end), upper + 0.94 * BAR));
                scene.rectangle(corners.0, corners.1, look_of(i).ink);
                let (at, anchor) = if *value < 0.0 {
                    (end - 6.0, Anchor::End)
                } else {
                    (end + 6.0, Anchor::Start)
                };
                scene.note(&rounded(*value), (at, middle), NUMBER, anchor);
            }
            y += height(values);
        }
        scene.path(vec![(zero, top), (zero, bottom)], GRAY, 1.0);
    }
}

fn height(values: &[f64]) -> f64 {
    BAR * values.len() as f64 + BETWEEN
}
