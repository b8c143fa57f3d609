//! The panels below: the loss, and η where it changes.

use super::super::axis::Axis;
use super::super::palette::{Look, Marker};
use super::super::panel::Panel;
use super::super::scene::{DARK, Scene};
use super::super::thin;
use crate::observe::Row;

const LOSS: f64 = 150.0;
const RATE: f64 = 80.0;

const LINE: Look = Look { ink: DARK, width: 1.8, dashes: &[], marker: Marker::Disc };

/// A logarithmic axis for positive values that span more than this.
const WIDE: f64 = 3.0;

/// One panel.
#[derive(Clone, Debug)]
pub(super) struct Lower {
    name: &'static str,
    height: f64,
    points: Vec<(f64, f64)>,
    /// Values hold until the next one.
    is_staircase: bool,
}

impl Lower {
    pub fn all(rows: &[Row]) -> Vec<Self> {
        let of = |value: fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
            rows.iter().filter_map(|row| Some((row.step as f64, value(row)?))).collect()
        };
        let (losses, rates) = (of(|row| row.loss), of(|row| row.learning_rate));
        let changes = rates.windows(2).any(|pair| pair[0].1 != pair[1].1);
        let loss = Self { name: "loss", height: LOSS, points: losses, is_staircase: false };
        let rate = Self {
            name: "η",
            height: RATE,
            points: if changes { rates } else { Vec::new() },
            is_staircase: true,
        };
        [loss, rate].into_iter().filter(|panel| !panel.points.is_empty()).collect()
    }

    pub fn height(&self) -> f64 {
        self.height
    }

    pub fn draw(&self, scene: &mut Scene, x: Axis, top: f64, is_last: bool) {
        let panel = Panel::new(top, top + self.height, x, self.axis());
        panel.draw_axes(scene, is_last.then_some("training step"), self.name);
        let mut line = self.points.clone();
        if self.is_staircase {
            let end = (x.high, line.last().map_or(0.0, |last| last.1));
            let corner = |pair: &[(f64, f64)]| [pair[0], (pair[1].0, pair[0].1)];
            line.push(end);
            line = line.windows(2).flat_map(corner).chain([end]).collect();
        }
        panel.line(scene, &thin::line(&line), &LINE);
        if self.points.len() <= 2 && !self.is_staircase {
            panel.markers(scene, &self.points, &LINE);
        }
    }

    fn axis(&self) -> Axis {
        let values = self.points.iter().map(|p| p.1);
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        if low > 0.0 && high > WIDE * low {
            return Axis::log(low, high);
        }
        let axis = Axis::linear(low, high);
        let room = 0.08 * (axis.high - axis.low);
        Axis { low: axis.low - room, high: axis.high + room, ..axis }
    }
}
