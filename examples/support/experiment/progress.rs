//! A bar with the time that remains; a line now and then where there is no terminal to draw a bar on.

use burn_sharpness::observe::{Measure, Row};
use burn_sharpness::plot::rounded;
use indicatif::{ProgressBar, ProgressStyle};

/// Lines of a run without a terminal.
const N_LINES: usize = 10;

pub struct Progress {
    bar: ProgressBar,
    title: String,
    steps_per_line: usize,
    next_line: usize,
    measured: String,
}

impl Progress {
    /// For steps `from` to `to`; what was done before does not count for the time that remains.
    pub fn new(title: &str, from: usize, to: usize) -> Self {
        let bar = ProgressBar::new(to as u64).with_position(from as u64);
        bar.reset_eta();
        let template = "{prefix}\n{bar:30} {pos}/{len}, {elapsed}, {eta} left\n{wide_msg}";
        // The template is fixed and valid; the default bar would do as well.
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("━╸─"));
        bar.set_prefix(title.to_string());
        if bar.is_hidden() && from < to {
            println!("{title}: {from} to {to}");
        }
        let steps_per_line = to.div_ceil(N_LINES).max(1);
        Self { bar, title: title.into(), steps_per_line, next_line: from, measured: String::new() }
    }

    /// Shows a row.
    pub fn measured(&mut self, row: &Row) {
        let names = [
            (Measure::MiniBatchSharpness, "mini-batch"),
            (Measure::BatchSharpness, "batch"),
            (Measure::FullBatchSharpness, "full-batch"),
        ];
        let values: Vec<String> = names
            .iter()
            .filter_map(|(measure, name)| Some(format!("{name} {}", rounded(row.mean(measure)?))))
            .collect();
        if values.is_empty() {
            return; // a live batch alone
        }
        let edge = row.threshold.map_or(String::new(), |edge| format!(", edge {}", rounded(edge)));
        self.measured = format!("sharpness: {}{edge}", values.join(", "));
        if self.bar.is_hidden() && row.step >= self.next_line {
            println!("  step {:>6}: {}", row.step, self.measured);
            self.next_line = row.step + self.steps_per_line;
        }
    }

    /// Shows that `step` steps are done, the last one with this loss of its batch.
    pub fn stepped(&mut self, step: usize, loss: f64) {
        self.bar.set_position(step as u64);
        // Text is costlier than a small step.
        if step.is_multiple_of(25) {
            self.bar.set_message(format!("loss {loss:.2e}, {}", self.measured));
        }
    }

    /// Shows that `done` parts of work other than steps are done, and what the last one gave.
    pub fn counted(&mut self, done: usize, result: &str) {
        self.bar.set_position(done as u64);
        self.bar.set_message(result.to_string());
        self.measured = result.into();
        if self.bar.is_hidden() {
            println!("  {result}");
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
        if !self.bar.is_hidden() {
            println!("{}: done. {}", self.title, self.measured);
        }
    }
}

impl Drop for Progress {
    /// Leaves the bar where it was when a run ends early.
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.abandon();
        }
    }
}
