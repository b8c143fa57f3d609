//! A live line in a terminal for loops of one's own.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Observe, Row};
use crate::error::Result;

/// One line of a terminal that shows the latest row: how far it is to the edge, the quantities, the phase
/// and the cost. Nothing when the standard error stream is no terminal.
///
/// ```
/// use burn_sharpness::observe::Live;
/// use burn_sharpness::prelude::*;
/// # use burn::{nn::Linear, tensor::Tensor};
/// # let loss = |model: &Linear, x: Tensor<2>| model.forward(x).mean();
///
/// let monitor = SharpnessMonitorConfig::new(8).init(loss)?.with_sink(Live::new());
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Live {
    line: ProgressBar,
}

/// Cells of the scale from 0 to [`SCALE_END`] times the edge.
const CELLS: usize = 20;
const SCALE_END: f64 = 2.0;

impl Live {
    /// A line on the standard error stream.
    pub fn new() -> Self {
        Self::on(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()))
    }

    /// A line among others, for a loop with progress bars of its own:
    /// `Live::on(bars.add(ProgressBar::no_length()))`, `bars` being a
    /// [`MultiProgress`](indicatif::MultiProgress).
    pub fn on(line: ProgressBar) -> Self {
        // The template has no placeholder but one that exists.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            line.set_style(style);
        }
        Self { line }
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.line.finish_and_clear();
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Observe for Live {
    fn on_row(&mut self, row: &Row) -> Result<()> {
        self.line.set_message(text(row));
        self.line.tick();
        Ok(())
    }
}

/// The line of a row.
fn text(row: &Row) -> String {
    let mut text = format!("step {:>7} ", row.step);
    // Writing to a string does not fail.
    if let Some(ratio) = row.ratio() {
        let _ = write!(text, "{} {ratio:.2} of the edge  ", scale(ratio));
    }
    for (measure, value) in &row.values {
        let name = measure.to_string().replace("_sharpness", "").replace('_', "-");
        let _ = write!(text, "{name} {:.3}", value.mean);
        if let Some(error) = value.standard_error.filter(|_| value.count > 1) {
            let _ = write!(text, "±{error:.2}");
        }
        text.push_str("  ");
    }
    if let Some(threshold) = row.threshold {
        let _ = write!(text, "edge {threshold:.3}  ");
    }
    if let Some(phase) = row.phase {
        let _ = write!(text, "{}  ", phase.name.as_str());
    }
    if let Some(overhead) = row.cost.overhead {
        let _ = write!(text, "cost {:.1}%", 100.0 * overhead);
    }
    if let Some(error) = &row.error {
        let _ = write!(text, "  not measured: {error}");
    }
    text.trim_end().to_string()
}

/// A scale with the edge in its middle: `━━━━━━━━──┃─────────`.
fn scale(ratio: f64) -> String {
    let filled = (ratio / SCALE_END * CELLS as f64).round().clamp(0.0, CELLS as f64) as usize;
    let cell = |i: usize| match i {
        _ if i == CELLS / 2 => '┃',
        _ if i < filled => '━',
        _ => '─',
    };
    (0..CELLS).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Cost, Measure, PhaseName, RowPhase, Value};
    use super::*;

    #[test]
    fn the_line_says_where_training_stands() {
        let value = Value { standard_error: Some(0.5), count: 16, ..Value::of(15.0) };
        let row = Row {
            values: [(Measure::MiniBatchSharpness, value)].into(),
            watched: Some(Measure::MiniBatchSharpness),
            threshold: Some(20.0),
            phase: Some(RowPhase { name: PhaseName::Sharpening, since: Some(3) }),
            cost: Cost { overhead: Some(0.031), ..Cost::default() },
            ..Row::at(1200)
        };
        assert_eq!(
            text(&row),
            "step    1200 ━━━━━━━━──┃───────── 0.75 of the edge  mini-batch 15.000±0.50  \
             edge 20.000  sharpening  cost 3.1%"
        );
        assert_eq!(scale(7.0), "━━━━━━━━━━┃━━━━━━━━━");
        assert_eq!(scale(-1.0), "──────────┃─────────");
    }
}
