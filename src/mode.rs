//! [`Mode`]: which network is differentiated.

use burn::config::Config;

/// Which network a measurement differentiates: burn's layers act differently in training and in
/// evaluation.
///
/// The model decides layer by layer, as it does for burn: a layer whose `training` flag is off
/// (frozen sub-modules) acts as in evaluation in every mode. Whether the model is on a plain or an
/// autodiff device makes no difference. Running statistics, flags and random streams of the model
/// stay untouched.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The network that a training step differentiates, without its noise: batch normalization
    /// uses the statistics of the batch, and gradients flow through them; dropout, Gaussian noise
    /// and randomized activations are off. The default.
    Train,
    /// The network as it is evaluated (`Module::valid`): running statistics, no noise.
    Eval,
    /// The network that a training step differentiates, noise included, with fixed draws: dropout
    /// masks and whatever else the loss draws with `Tensor::random` are drawn once per operator
    /// from `seed` and are the same for all its products.
    ///
    /// The number is the curvature of the loss at these draws, not of the mean loss over draws: a
    /// thinned network often has another λ_max than the whole one. The operators of one measurement
    /// (mini-batches, chunks of a data set) and the measurements of an estimator with fresh draws
    /// have different noise; the same seed gives the same sequence. It comes from a host generator
    /// of its own.
    TrainWithNoise {
        /// Seed of the draws.
        seed: u64,
    },
}

// `#[default]` inside is not accepted by burn's `Config`.
#[allow(clippy::derivable_impls)]
impl Default for Mode {
    fn default() -> Self {
        Self::Train
    }
}
