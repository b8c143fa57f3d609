//! What stands above the data: title, legend, notes.

use super::palette::Look;
use super::panel::{LEFT, WIDTH};
use super::scene::{Anchor, Ink, Scene, fitted, text_width};

/// What a line of the legend shows in front of its words.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sample {
    Line(Look),
    /// A line through markers.
    Marked(Look),
    /// A marker with an error bar.
    Point(Look),
    Dots(Ink),
    Swatch(Ink),
}

/// Legend and notes.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    pub entries: Vec<(Sample, String)>,
    pub notes: Vec<String>,
}

pub(super) const TITLE: f64 = 16.0;
const ENTRY: f64 = 14.0;
const NOTE: f64 = 12.0;
const TOP: f64 = 51.0;
const ROW: f64 = 22.0;
const NOTE_ROW: f64 = 17.0;
const SAMPLE: f64 = 32.0;
const INDENT: f64 = 42.0;
const ROOM: f64 = WIDTH - LEFT - 16.0;

impl Header {
    /// Draws it and says where the data may begin.
    pub fn draw(&self, scene: &mut Scene) -> f64 {
        let columns = self.columns();
        let width = ROOM / columns as f64;
        for (i, (sample, words)) in self.entries.iter().enumerate() {
            let x = LEFT + width * (i % columns) as f64;
            let y = TOP + ROW * (i / columns) as f64;
            draw_sample(scene, sample, x, y);
            let words = fitted(words, ENTRY, width - INDENT - 6.0);
            scene.words(words, (x + INDENT, y), ENTRY, Anchor::Start);
        }
        let mut y = TOP + ROW * self.entries.len().div_ceil(columns) as f64;
        for line in self.note_lines() {
            scene.words(line, (LEFT, y - 2.0), NOTE, Anchor::Start);
            y += NOTE_ROW;
        }
        y
    }

    /// As many columns as have room for the longest entry.
    fn columns(&self) -> usize {
        let widths = self.entries.iter().map(|(_, words)| INDENT + text_width(words, ENTRY) + 12.0);
        let widest = widths.fold(1.0, f64::max);
        ((ROOM / widest) as usize).clamp(1, 4)
    }

    /// The notes, as many in a line as fit.
    fn note_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for note in &self.notes {
            let joined = |line: &String| format!("{line}; {note}");
            match lines.last_mut().filter(|line| text_width(&joined(line), NOTE) <= ROOM) {
                Some(line) => *line = joined(line),
                None => lines.push(fitted(note, NOTE, ROOM)),
            }
        }
        lines
    }
}

fn draw_sample(scene: &mut Scene, sample: &Sample, x: f64, y: f64) {
    let middle = (x + 0.5 * SAMPLE, y);
    match sample {
        Sample::Line(look) | Sample::Marked(look) => {
            scene.dashes(&[(x, y), (x + SAMPLE, y)], look.dashes, look.ink, look.width);
            if matches!(sample, Sample::Marked(_)) {
                look.marker.draw(scene, middle, 3.6, look.ink);
            }
        }
        Sample::Point(look) => {
            scene.path(vec![(middle.0, y - 8.0), (middle.0, y + 8.0)], look.ink, 1.4);
            look.marker.draw(scene, middle, 3.6, look.ink);
        }
        Sample::Dots(ink) => {
            let places = [(4.0, 2.0), (12.0, -3.0), (20.0, 3.0), (28.0, -1.0)];
            scene.dots(places.map(|(dx, dy)| (x + dx, y + dy)).to_vec(), *ink, 1.6);
        }
        Sample::Swatch(ink) => scene.rectangle((x, y - 7.0), (x + SAMPLE, y + 7.0), *ink),
    }
}
