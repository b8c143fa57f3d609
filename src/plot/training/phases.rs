//! Phases of training as a strip above the data.

use super::super::axis::Axis;
use super::super::header::{Header, Sample};
use super::super::palette::is_light;
use super::super::panel::Panel;
use super::super::scene::{Anchor, DARK, Ink, Mark, PAPER, Scene, text_width};
use crate::observe::{PhaseName, Row};

const HEIGHT: f64 = 18.0;
const SIZE: f64 = 12.0;

/// A phase from a step on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase {
    name: PhaseName,
    from: usize,
}

/// Phases in their order; each ends where the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strip(Vec<Phase>);

/// Colours that differ in lightness, so that they do without colour.
fn color(name: PhaseName) -> Ink {
    Ink::of(match name {
        PhaseName::Sharpening => (250, 215, 160),
        PhaseName::Flattening => (140, 195, 225),
        PhaseName::Plateau => (155, 155, 155),
        PhaseName::Unstable => (120, 30, 20),
        PhaseName::Undetermined => (240, 240, 240),
    })
}

impl Strip {
    /// Phases from the rows. That a phase has begun is known some rows later, so that a later row may move
    /// the end of the phase before it.
    pub fn of(rows: &[Row]) -> Self {
        let mut phases: Vec<Phase> = Vec::new();
        for row in rows {
            let Some(phase) = row.phase else { continue };
            let from = phase.since.unwrap_or(row.step);
            if phases.last().is_some_and(|last| last.name == phase.name) {
                continue;
            }
            while phases.last().is_some_and(|last| last.from >= from) {
                phases.pop();
            }
            if phases.last().is_none_or(|last| last.name != phase.name) {
                phases.push(Phase { name: phase.name, from });
            }
        }
        Self(phases)
    }

    /// Phases with their ends from left to right.
    fn stretches(&self, x: &Axis) -> Vec<(PhaseName, f64, f64)> {
        let panel = Panel::new(0.0, HEIGHT, *x, Axis::linear(0.0, 1.0));
        let place = |step: f64| panel.place(step.max(x.low), 0.0).0;
        let ends = self.0.iter().skip(1).map(|next| next.from as f64).chain([x.high]);
        let stretch =
            |(phase, end): (&Phase, f64)| (phase.name, place(phase.from as f64), place(end));
        self.0.iter().zip(ends).map(stretch).collect()
    }

    /// Names those phases in the legend that have no room for their name anywhere.
    pub fn describe(&self, x: &Axis, header: &mut Header) {
        let stretches = self.stretches(x);
        for name in PhaseName::ALL {
            let mut own = stretches.iter().filter(|s| s.0 == name).peekable();
            if own.peek().is_some() && !own.any(|s| fits(name, s.2 - s.1)) {
                header.entries.push((Sample::Swatch(color(name)), name.as_str().into()));
            }
        }
    }

    /// Draws the strip and says where the data may begin.
    pub fn draw(&self, scene: &mut Scene, x: &Axis, top: f64) -> f64 {
        if self.0.is_empty() {
            return top;
        }
        let bottom = top + HEIGHT;
        for (name, left, right) in self.stretches(x) {
            // The shortest phase is still seen.
            scene.rectangle((left, top), (right.max(left + 1.0), bottom), color(name));
            scene.path(vec![(left, top), (left, bottom)], PAPER, 1.0);
            if fits(name, right - left) {
                let ink = if is_light(color(name)) { DARK } else { PAPER };
                scene.marks.push(Mark::Words {
                    words: name.as_str().into(),
                    at: (0.5 * (left + right), 0.5 * (top + bottom)),
                    size: SIZE,
                    ink,
                    anchor: Anchor::Middle,
                    is_upright: false,
                });
            }
        }
        bottom + 4.0
    }
}

fn fits(name: PhaseName, width: f64) -> bool {
    text_width(name.as_str(), SIZE) + 8.0 <= width
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::RowPhase;

    fn row(step: usize, name: PhaseName, since: Option<usize>) -> Row {
        Row { phase: Some(RowPhase { name, since }), ..Row::at(step) }
    }

    #[test]
    fn a_phase_begins_where_a_later_row_says() {
        use PhaseName::{Plateau, Sharpening, Undetermined};
        let rows = [
            row(0, Undetermined, None),
            row(10, Undetermined, None),
            row(20, Sharpening, Some(0)),
            row(30, Sharpening, Some(0)),
            Row::at(35),
            row(40, Plateau, Some(25)),
            row(50, Plateau, Some(25)),
            row(60, Sharpening, Some(20)), // the plateau was none
        ];
        let found = |n: usize| Strip::of(&rows[..n]).0;
        let phase = |name, from| Phase { name, from };
        assert_eq!(found(2), [phase(Undetermined, 0)]);
        assert_eq!(found(4), [phase(Sharpening, 0)]);
        assert_eq!(found(7), [phase(Sharpening, 0), phase(Plateau, 25)]);
        assert_eq!(found(8), [phase(Sharpening, 0)]);
        assert_eq!(Strip::of(&[Row::at(3)]).0, []);
    }
}
