//! Where a quantity settled.

use burn_sharpness::estimator::Estimate;
use burn_sharpness::observe::{History, Measure};

/// The plateau is the last part of the run: this share of its steps.
pub const LAST: f64 = 0.2;

/// What the standard error of a level is that of, in words.
pub const OF_BLOCKS: &str =
    "over five blocks of measurements, or over the measurements where they are fewer than ten";

/// Mean and standard error of `measure` over the last fifth of the steps.
///
/// Successive rows see nearly the same weights: the standard error is that of 5 means of blocks one after the
/// other, where there are rows for that, and of the rows where there are not.
pub fn plateau(history: &History, measure: &Measure) -> Option<Estimate> {
    let last = history.rows().last()?.step;
    let first = history.rows().first()?.step;
    let from = last as f64 - LAST * (last - first) as f64;
    level(history, measure, from as usize, last)
}

/// As [`plateau`], over the steps `from` to `to`.
pub fn level(history: &History, measure: &Measure, from: usize, to: usize) -> Option<Estimate> {
    let inside = |step: &usize| (from..=to).contains(step);
    let values: Vec<f64> =
        history.series(measure).filter(|(step, _)| inside(step)).map(|(_, v)| v.mean).collect();
    const BLOCKS: usize = 5;
    if values.len() < 2 * BLOCKS {
        return Estimate::of(&values);
    }
    let size = values.len() / BLOCKS;
    // A remainder goes to the blocks' front: the oldest rows.
    let blocks = values[values.len() - BLOCKS * size..].chunks_exact(size);
    let means: Vec<f64> = blocks.map(|b| b.iter().sum::<f64>() / size as f64).collect();
    Estimate::of(&means)
}

#[cfg(test)]
mod tests {
    use burn_sharpness::observe::{Row, Value};

    use super::*;

    #[test]
    fn the_plateau_is_the_last_fifth_in_blocks() {
        let mut history = History::default();
        for step in 0..=100 {
            let mut row = Row::at(step);
            let value = if step < 80 { 0.0 } else { 2.0 + f64::from(step % 2 == 0) };
            row.values.insert(Measure::FullBatchSharpness, Value::of(value));
            history.push(row).unwrap();
        }
        let level = plateau(&history, &Measure::FullBatchSharpness).unwrap();
        assert_eq!(level.count, 5);
        assert!((level.mean - 2.5).abs() < 1e-12, "{level:?}");
        assert!(plateau(&history, &Measure::BatchSharpness).is_none());
    }
}
