//! What of a history two runs have in common.

use burn_sharpness::observe::{History, Row};

/// Rows without their wall times.
pub fn timeless(history: &History) -> Vec<Row> {
    let timeless = |row: &Row| {
        let mut row = row.clone();
        (row.cost.seconds, row.cost.overhead) = (0.0, None);
        row.values.values_mut().for_each(|value| value.seconds = 0.0);
        row
    };
    history.rows().iter().map(timeless).collect()
}
