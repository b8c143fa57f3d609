//! Rows as events of `tracing`.

use tracing::{info, warn};

use super::{Observe, Row};
use crate::error::Result;

/// Emits each row as one event of target `burn_sharpness`: level info, or warn where something that was due
/// is missing. Measurements run in a span `measure_sharpness` with their step.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingEvents;

impl Observe for TracingEvents {
    fn on_row(&mut self, row: &Row) -> Result<()> {
        for (measure, value) in &row.values {
            let error = value.standard_error;
            let (mean, n_hvps, seconds) = (value.mean, value.n_hvps, value.seconds);
            info!(
                target: "burn_sharpness",
                step = row.step, %measure, mean, standard_error = error, n_hvps, seconds, "measured"
            );
        }
        let phase = row.phase.map(|phase| phase.name.as_str());
        let Row { step, threshold, .. } = *row;
        let (ratio, overhead) = (row.ratio(), row.cost.overhead);
        info!(target: "burn_sharpness", step, ratio, threshold, phase, overhead, "row");
        if let Some(error) = &row.error {
            warn!(target: "burn_sharpness", step, error = error.as_str(), "not measured");
        }
        Ok(())
    }
}
