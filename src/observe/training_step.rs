//! Where training stands.

/// Where training stands: what a monitor cannot see by itself.
///
/// A `usize` is a step of which nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TrainingStep {
    /// Updates that the parameters have had.
    pub step: usize,
    /// Passes through the data before this step. Without it, `step` · `batch_size` / samples.
    pub epoch: Option<usize>,
    /// η of the update that follows.
    pub learning_rate: Option<f64>,
    /// The training loss, for the history.
    pub loss: Option<f64>,
}

impl TrainingStep {
    /// Step number `step`: the parameters have had that many updates.
    pub fn new(step: usize) -> Self {
        Self { step, ..Self::default() }
    }

    /// With the epoch.
    pub fn with_epoch(self, epoch: usize) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    /// With the learning rate η of the update that follows: the threshold is that of η.
    pub fn with_learning_rate(self, learning_rate: f64) -> Self {
        Self { learning_rate: Some(learning_rate), ..self }
    }

    /// With the training loss.
    pub fn with_loss(self, loss: f64) -> Self {
        Self { loss: Some(loss), ..self }
    }
}

impl From<usize> for TrainingStep {
    fn from(step: usize) -> Self {
        Self::new(step)
    }
}
