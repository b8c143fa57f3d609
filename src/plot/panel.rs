//! A pair of axes with data on it.

use super::axis::{Axis, Scale};
use super::palette::Look;
use super::scene::{Anchor, GRAY, Ink, Place, Scene};

/// Where the data of pictures begins and ends, from left to right.
pub(super) const LEFT: f64 = 88.0;
pub(super) const RIGHT: f64 = 888.0;
pub(super) const WIDTH: f64 = 960.0;

/// Room for numbers and name of a horizontal axis.
pub(super) const FOOT: f64 = 50.0;

const NUMBER: f64 = 13.0;
const NAME: f64 = 15.0;
const TICK: f64 = 4.0;

/// A rectangle with a value along each side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    pub x: Axis,
    pub y: Axis,
}

/// A value, its abscissa, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Datum {
    pub x: f64,
    pub y: f64,
    pub interval: Option<(f64, f64)>,
}

impl Panel {
    /// Over the width of the picture.
    pub fn new(top: f64, bottom: f64, x: Axis, y: Axis) -> Self {
        Self { left: LEFT, right: RIGHT, top, bottom, x, y }
    }

    pub fn place(&self, x: f64, y: f64) -> Place {
        let (along, up) = (self.x.share(x), self.y.share(y));
        (self.left + along * (self.right - self.left), self.bottom - up * (self.bottom - self.top))
    }

    /// The same with what is above or below at the edge.
    fn place_inside(&self, x: f64, y: f64) -> Place {
        // A logarithmic axis has no place for zero.
        self.place(x, y.clamp(self.y.low, self.y.high))
    }

    /// Grid, axes and their numbers. The name of the horizontal one is `None` where a panel below has it.
    pub fn draw_axes(&self, scene: &mut Scene, x_name: Option<&str>, y_name: &str) {
        let Self { left, right, top, bottom, .. } = *self;
        for (value, number) in self.y.ticks_up(bottom - top) {
            let (_, y) = self.place(self.x.low, value);
            scene.path(vec![(left, y), (right, y)], GRAY.faint(0.2), 1.0);
            scene.path(vec![(left - TICK, y), (left, y)], GRAY, 1.0);
            scene.words(number, (left - 8.0, y), NUMBER, Anchor::End);
        }
        for value in self.y.fine_ticks() {
            let (_, y) = self.place(self.x.low, value);
            scene.path(vec![(left - 0.5 * TICK, y), (left, y)], GRAY, 1.0);
        }
        for (value, number) in self.x.ticks(((right - left) / 90.0).max(2.0) as usize) {
            let (x, _) = self.place(value, self.y.low);
            scene.path(vec![(x, top), (x, bottom)], GRAY.faint(0.2), 1.0);
            scene.path(vec![(x, bottom), (x, bottom + TICK)], GRAY, 1.0);
            if x_name.is_some() {
                scene.words(number, (x, bottom + 14.0), NUMBER, Anchor::Middle);
            }
        }
        for value in self.x.fine_ticks() {
            let (x, _) = self.place(value, self.y.low);
            scene.path(vec![(x, bottom), (x, bottom + 0.5 * TICK)], GRAY, 1.0);
        }
        scene.path(vec![(left, top), (left, bottom), (right, bottom)], GRAY, 1.0);
        scene.upright(y_name, (left - 70.0, 0.5 * (top + bottom)), NAME);
        if let Some(name) = x_name {
            scene.words(name, (0.5 * (left + right), bottom + 37.0), NAME, Anchor::Middle);
        }
    }

    /// The vertical axis in other units, on the right.
    pub fn draw_right_axis(&self, scene: &mut Scene, y: Axis, name: &str) {
        let Self { right, top, bottom, .. } = *self;
        let other = Self { y, ..*self };
        for (value, number) in y.ticks_up(bottom - top) {
            let (_, y) = other.place(self.x.low, value);
            scene.path(vec![(right, y), (right + TICK, y)], GRAY, 1.0);
            scene.words(number, (right + 8.0, y), NUMBER, Anchor::Start);
        }
        scene.path(vec![(right, top), (right, bottom)], GRAY, 1.0);
        scene.upright(name, (right + 54.0, 0.5 * (top + bottom)), NAME);
    }

    /// A line through points in the order of x, cut off at the ends of the vertical axis.
    pub fn line(&self, scene: &mut Scene, points: &[(f64, f64)], look: &Look) {
        let inside: Vec<(f64, f64)> = match self.y.scale {
            Scale::Log => points.iter().map(|p| (p.0, p.1.max(1e-300))).collect(),
            _ => points.to_vec(),
        };
        let places: Vec<Place> = inside.iter().map(|p| self.place(p.0, p.1)).collect();
        for piece in cut(&places, self.top, self.bottom) {
            scene.dashes(&piece, look.dashes, look.ink, look.width);
        }
    }

    /// The area between the ends of intervals.
    pub fn band(&self, scene: &mut Scene, data: &[Datum], ink: Ink) {
        let ends = |datum: &Datum| datum.interval.map(|(low, high)| (datum.x, low, high));
        // Where an interval is missing, the band has a gap.
        for piece in data.split(|datum| datum.interval.is_none()) {
            let ends: Vec<_> = piece.iter().filter_map(ends).collect();
            let up = ends.iter().map(|e| self.place_inside(e.0, e.2));
            let down = ends.iter().rev().map(|e| self.place_inside(e.0, e.1));
            scene.area(up.chain(down).collect(), ink);
        }
    }

    /// The interval of a point, with a cap at each end that is inside.
    pub fn error_bar(&self, scene: &mut Scene, datum: &Datum, ink: Ink) {
        let Some((low, high)) = datum.interval else { return };
        if high < self.y.low || low > self.y.high {
            return;
        }
        let ends = [low, high].map(|y| self.place_inside(datum.x, y));
        scene.path(ends.to_vec(), ink, 1.4);
        for (value, (x, y)) in [low, high].into_iter().zip(ends) {
            if self.y.contains(value) {
                scene.path(vec![(x - 4.0, y), (x + 4.0, y)], ink, 1.4);
            }
        }
    }

    /// A marker at each point that is inside.
    pub fn markers(&self, scene: &mut Scene, points: &[(f64, f64)], look: &Look) {
        for &(x, y) in points.iter().filter(|point| self.y.contains(point.1)) {
            look.marker.draw(scene, self.place(x, y), 3.6, look.ink);
        }
    }

    /// A dot at each point inside, and a triangle at the end of the axis for those beyond.
    pub fn dots(&self, scene: &mut Scene, points: &[(f64, f64)], ink: Ink, radius: f64) {
        let inside = points.iter().filter(|point| self.y.contains(point.1));
        scene.dots(inside.map(|p| self.place(p.0, p.1)).collect(), ink, radius);
        // One triangle says as much as several at its place.
        let mut drawn: Vec<Place> = Vec::new();
        for &(x, y) in points.iter().filter(|point| !self.y.contains(point.1)) {
            let (x, edge) = self.place_inside(x, y);
            if drawn.iter().rev().any(|d| (d.0 - x).abs() < 0.5 && d.1 == edge) {
                continue;
            }
            drawn.push((x, edge));
            let up = if y > self.y.high { 1.0 } else { -1.0 };
            let tip = edge + 1.0 * up;
            let foot = edge + 6.5 * up;
            scene.area(vec![(x, tip), (x + 3.5, foot), (x - 3.5, foot)], ink.faint(0.9));
        }
    }
}

/// The pieces of a line between two heights.
fn cut(places: &[Place], top: f64, bottom: f64) -> Vec<Vec<Place>> {
    let (mut pieces, mut piece): (Vec<Vec<Place>>, Vec<Place>) = (Vec::new(), Vec::new());
    let is_inside = |at: Place| at.1 >= top - 1e-6 && at.1 <= bottom + 1e-6;
    for ends in places.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let crossing = |edge: f64| {
            let t = (edge - from.1) / (to.1 - from.1);
            (t > 0.0 && t < 1.0).then_some((t, (from.0 + t * (to.0 - from.0), edge)))
        };
        let mut stops: Vec<(f64, Place)> =
            [crossing(top), crossing(bottom)].into_iter().flatten().collect();
        stops.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut at = from;
        for (_, stop) in stops.into_iter().chain([(1.0, to)]) {
            let middle = (0.5 * (at.0 + stop.0), 0.5 * (at.1 + stop.1));
            if is_inside(middle) {
                if piece.is_empty() {
                    piece.push(at);
                }
                piece.push(stop);
            } else if !piece.is_empty() {
                pieces.push(std::mem::take(&mut piece));
            }
            at = stop;
        }
    }
    pieces.push(piece);
    pieces.retain(|piece| piece.len() > 1);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_they_leave() {
        // Up through the panel between 0 and 10 (heights grow downwards), and back.
        let places = [(0.0, 20.0), (4.0, 0.0), (8.0, -4.0), (10.0, 5.0)];
        let pieces = cut(&places, 0.0, 10.0);
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0], [(2.0, 10.0), (4.0, 0.0)]);
        assert_eq!(pieces[1].last(), Some(&(10.0, 5.0)));
        assert!((pieces[1][0].0 - (8.0 + 2.0 * 4.0 / 9.0)).abs() < 1e-12);
        assert!(cut(&[(0.0, 20.0), (5.0, 30.0)], 0.0, 10.0).is_empty());
        assert_eq!(cut(&[(0.0, 20.0), (5.0, -20.0)], 0.0, 10.0), [vec![(1.25, 10.0), (2.5, 0.0)]]);
        assert!(cut(&[(0.0, 1.0)], 0.0, 10.0).is_empty());
    }
}
