//! A picture as a list of marks, in units of length. SVG and PNG are drawn from the same list.

use std::sync::Once;

use plotters::prelude::IntoFont;
use plotters::style::{FontStyle, register_font};

/// A place, from the upper left corner.
pub(super) type Place = (f64, f64);

/// A colour and how much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink {
    pub color: (u8, u8, u8),
    pub opacity: f64,
}

impl Ink {
    pub const fn of(color: (u8, u8, u8)) -> Self {
        Self { color, opacity: 1.0 }
    }

    pub const fn faint(self, opacity: f64) -> Self {
        Self { opacity, ..self }
    }
}

pub(super) const DARK: Ink = Ink::of((38, 38, 38));
pub(super) const GRAY: Ink = Ink::of((110, 110, 110));
pub(super) const PAPER: Ink = Ink::of((255, 255, 255));

/// Which part of a text is at its place. All are centred vertically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    /// Lines of one look, each connected.
    Lines { lines: Vec<Vec<Place>>, ink: Ink, width: f64 },
    /// A filled polygon.
    Area { places: Vec<Place>, ink: Ink },
    /// Discs of one radius and colour.
    Dots { places: Vec<Place>, ink: Ink, radius: f64 },
    /// A line of text; an upright one reads from below.
    Words { words: String, at: Place, size: f64, ink: Ink, anchor: Anchor, is_upright: bool },
}

/// Marks on a white ground, the first at the bottom.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scene {
    pub size: (f64, f64),
    pub marks: Vec<Mark>,
}

impl Scene {
    pub fn new(width: f64, height: f64) -> Self {
        Self { size: (width, height), marks: Vec::new() }
    }

    pub fn path(&mut self, places: Vec<Place>, ink: Ink, width: f64) {
        self.lines(vec![places], ink, width);
    }

    pub fn lines(&mut self, mut lines: Vec<Vec<Place>>, ink: Ink, width: f64) {
        lines.retain(|places| places.len() > 1);
        if !lines.is_empty() {
            self.marks.push(Mark::Lines { lines, ink, width });
        }
    }

    /// A line in strokes and gaps of these lengths, solid for none.
    pub fn dashes(&mut self, places: &[Place], pattern: &[f64], ink: Ink, width: f64) {
        self.lines(strokes(places, pattern), ink, width);
    }

    pub fn area(&mut self, places: Vec<Place>, ink: Ink) {
        if places.len() > 2 {
            self.marks.push(Mark::Area { places, ink });
        }
    }

    pub fn rectangle(&mut self, (left, top): Place, (right, bottom): Place, ink: Ink) {
        self.area(vec![(left, top), (right, top), (right, bottom), (left, bottom)], ink);
    }

    pub fn dots(&mut self, places: Vec<Place>, ink: Ink, radius: f64) {
        if !places.is_empty() {
            self.marks.push(Mark::Dots { places, ink, radius });
        }
    }

    pub fn words(&mut self, words: impl Into<String>, at: Place, size: f64, anchor: Anchor) {
        let (words, ink, is_upright) = (readable(&words.into()), DARK, false);
        if !words.is_empty() {
            self.marks.push(Mark::Words { words, at, size, ink, anchor, is_upright });
        }
    }

    /// Text that reads from below, its middle at `at`.
    pub fn upright(&mut self, words: &str, at: Place, size: f64) {
        let (words, anchor, is_upright) = (readable(words), Anchor::Middle, true);
        self.marks.push(Mark::Words { words, at, size, ink: DARK, anchor, is_upright });
    }

    /// Text on a ground that keeps it readable on top of data.
    pub fn note(&mut self, words: &str, at: Place, size: f64, anchor: Anchor) {
        let width = text_width(words, size);
        let left = match anchor {
            Anchor::Start => at.0,
            Anchor::Middle => at.0 - 0.5 * width,
            Anchor::End => at.0 - width,
        };
        let half = 0.62 * size;
        let ground = ((left - 3.0, at.1 - half), (left + width + 3.0, at.1 + half));
        self.rectangle(ground.0, ground.1, PAPER.faint(0.85));
        self.words(words, at, size, anchor);
    }
}

/// What the font of the PNG has no letter for, in letters that it has; nothing that moves the pen.
fn readable(words: &str) -> String {
    let letter = |letter: char| match letter {
        'ᵀ' => '·',
        '‖' => '|',
        _ if letter.is_control() => ' ',
        _ => letter,
    };
    words.chars().map(letter).collect()
}

/// The pieces of a line that a pattern of strokes and gaps leaves.
fn strokes(places: &[Place], pattern: &[f64]) -> Vec<Vec<Place>> {
    if pattern.is_empty() {
        return vec![places.to_vec()];
    }
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    let (mut part, mut rest) = (0, pattern[0]);
    piece.extend(places.first());
    for ends in places.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let mut done = 0.0;
        while length - done > rest {
            done += rest;
            let t = done / length;
            let at = (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1));
            if part % 2 == 0 {
                piece.push(at);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![at];
            }
            part = (part + 1) % pattern.len();
            rest = pattern[part];
        }
        rest -= length - done;
        if part % 2 == 0 {
            piece.push(to);
        }
    }
    pieces.push(piece);
    pieces
}

/// The name under which the font is known to the PNG.
pub(super) const FONT: &str = "burn-sharpness";

/// Makes the built-in font known.
pub(super) fn register_fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Built-in bytes that are a font: the error cannot occur, and would only take the text away.
        let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
}

/// The width of a line of text.
pub(super) fn text_width(words: &str, size: f64) -> f64 {
    register_fonts();
    // Widths come in whole units: of a large font they are exact enough.
    const FINE: f64 = 32.0;
    let words = readable(words);
    match (FONT, FINE * size).into_font().box_size(&words) {
        Ok((width, _)) => f64::from(width) / FINE,
        Err(_) => 0.55 * size * words.chars().count() as f64,
    }
}

/// As much of a text as fits into a width, with an ellipsis where something is left out.
pub(super) fn fitted(words: &str, size: f64, width: f64) -> String {
    if text_width(words, size) <= width {
        return words.to_string();
    }
    let letters: Vec<char> = words.chars().collect();
    let cut = |n: usize| letters[..n].iter().chain(['…'].iter()).collect::<String>();
    let fits = (0..letters.len()).rev().map(cut).find(|text| text_width(text, size) <= width);
    fits.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strokes_have_the_lengths_of_the_pattern_around_corners() {
        // Ten to the right, then ten down, in strokes of four and gaps of two.
        let places = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)];
        let pieces = strokes(&places, &[4.0, 2.0]);
        let expected = [
            vec![(0.0, 0.0), (4.0, 0.0)],
            vec![(6.0, 0.0), (10.0, 0.0)],
            vec![(10.0, 2.0), (10.0, 6.0)],
            vec![(10.0, 8.0), (10.0, 10.0)],
        ];
        let length = |piece: &[Place]| {
            piece.windows(2).map(|e| (e[1].0 - e[0].0).hypot(e[1].1 - e[0].1)).sum::<f64>()
        };
        for (piece, expected) in pieces.iter().zip(&expected) {
            assert_eq!((piece[0], length(piece)), (expected[0], length(expected)));
        }
        assert_eq!(pieces.len(), 4);
        assert_eq!(strokes(&places, &[]), [places.to_vec()]);
        assert!(strokes(&[], &[4.0, 2.0]).concat().is_empty());
    }

    #[test]
    fn texts_are_cut_to_their_room() {
        assert_eq!(fitted("short", 14.0, 100.0), "short");
        let cut = fitted("a very long name of a very deep layer", 14.0, 100.0);
        assert!(cut.ends_with('…') && text_width(&cut, 14.0) <= 100.0, "{cut}");
        assert!(text_width("mm", 14.0) > 1.9 * text_width("m", 14.0));
        assert_eq!(fitted("anything", 14.0, 0.0), "");
    }
}
