//! The picture of a run: quantities with thresholds and phases, the loss below, and η where it changes.

mod curves;
mod lower;
mod phases;
mod values;

use super::Picture;
use super::axis::Axis;
use super::header::Header;
use super::panel::{FOOT, WIDTH};
use super::scene::Scene;
use crate::error::{Error, Result};
use crate::observe::{History, Row};

use curves::Curves;
use lower::Lower;
use phases::Strip;

const VALUES: f64 = 380.0;
const GAP: f64 = 16.0;

/// The training curve of a history.
///
/// Above: the mean of every quantity over training steps with its 95% interval, dots for single
/// mini-batches, the threshold as dashes that step where η changes, phases as a strip with their names.
/// Below: the loss, on a logarithmic axis where it is positive, and η where it changes. Quantities of single
/// training batches are drawn as their moving mean where there are many. The legend and what does not fit
/// on the axes, in words, are above the data.
///
/// # Errors
/// [`Error::NothingToDraw`] for a history without quantities and without a loss.
pub fn training(history: &History) -> Result<Picture> {
    let rows = history.rows();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(nothing());
    };
    let curves = Curves::of(history);
    let lower = Lower::all(rows);
    if curves.is_empty() && lower.is_empty() {
        return Err(nothing());
    }
    let strip = Strip::of(rows);
    let x = Axis::steps(first.step, last.step);

    let mut header = Header::default();
    curves.describe(&mut header);
    strip.describe(&x, &mut header);
    if let Some(note) = failures(rows) {
        header.notes.push(note);
    }
    // The height is known when the header is laid out.
    let mut scene = Scene::new(WIDTH, 0.0);
    let mut top = header.draw(&mut scene);
    top = strip.draw(&mut scene, &x, top);
    let mut is_last = lower.is_empty();
    if !curves.is_empty() {
        curves.draw(&mut scene, x, (top, top + VALUES), is_last);
        top += VALUES + GAP;
    }
    for (i, panel) in lower.iter().enumerate() {
        is_last = i + 1 == lower.len();
        panel.draw(&mut scene, x, top, is_last);
        top += panel.height() + GAP;
    }
    scene.size.1 = (top - GAP + FOOT).ceil();
    Ok(Picture::new(title(first, last), scene))
}

fn nothing() -> Error {
    Error::NothingToDraw {
        picture: "training curve",
        missing: "rows with quantities or a loss: nothing was measured, or nothing succeeded (rows have their \
                  errors). A short training affords little within a budget: `with_budget(Budget::Unlimited)`, \
                  or a shorter cadence",
    }
}

/// What the rows say of the run.
fn title(first: &Row, last: &Row) -> String {
    let mut title = match first.step == last.step {
        true => format!("step {}", first.step),
        false => format!("training steps {} to {}", first.step, last.step),
    };
    if let Some(batch_size) = last.batch_size {
        title += &format!(", batches of {batch_size}");
    }
    if let Some(rate) = first.learning_rate
        && Some(rate) == last.learning_rate
    {
        title += &format!(", η = {}", super::rounded(rate));
    }
    title
}

/// How many values are not what they seem, if any.
fn failures(rows: &[Row]) -> Option<String> {
    let unconverged = |row: &&Row| row.values.values().any(|value| value.n_unconverged > 0);
    let n_unconverged = rows.iter().filter(unconverged).count();
    let n_errors = rows.iter().filter(|row| row.error.is_some()).count();
    let mut parts = Vec::new();
    if n_unconverged > 0 {
        parts.push(format!(
            "{n_unconverged} of {} rows hold eigenvalues that did not converge: lower bounds",
            rows.len()
        ));
    }
    if n_errors > 0 {
        parts.push(format!("something failed in {n_errors} of {} rows", rows.len()));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
