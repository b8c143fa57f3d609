//! The bar while it runs; plain lines where there is no terminal to draw a bar on.

use burn_sharpness::plot::rounded;
use indicatif::{ProgressBar, ProgressStyle};

use crate::history::History;
use crate::options::Settings;

/// Lines of a run without a terminal.
const N_LINES: usize = 20;

pub struct Progress {
    bar: ProgressBar,
    threshold: f64,
    steps_per_line: usize,
    next_line: usize,
    measured: String,
}

impl Progress {
    pub fn new(settings: &Settings) -> Self {
        let bar = ProgressBar::new(settings.steps as u64);
        let template = "{bar:30} {pos}/{len} steps, {elapsed}, {eta} left\n{wide_msg}";
        // The template is fixed and valid; the default bar would do as well.
        bar.set_style(
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━╸─"),
        );
        let steps_per_line = settings.steps.div_ceil(N_LINES);
        let threshold = settings.threshold();
        Self { bar, threshold, steps_per_line, next_line: 0, measured: String::new() }
    }

    /// Shows the last measurement.
    pub fn measured(&mut self, history: &History) {
        let Some(last) = history.measurements.last() else { return };
        self.measured = format!(
            "mini-batch sharpness {:.1}, full-batch {:.1}, 2/η = {}",
            last.minibatch_sharpness,
            last.fullbatch_sharpness,
            rounded(self.threshold)
        );
        self.bar.set_message(format!("loss {:.2e}, {}", last.loss, self.measured));
        if self.bar.is_hidden() && last.step >= self.next_line {
            println!("step {:>6}: loss {:.2e}, {}", last.step, last.loss, self.measured);
            self.next_line = last.step + self.steps_per_line;
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

    pub fn finish(&self) {
        self.bar.finish();
    }
}

impl Drop for Progress {
    /// Leaves the bar where it was when a run ends early.
    fn drop(&mut self) {
        self.bar.abandon();
    }
}
