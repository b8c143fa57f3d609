//! Which samples make a batch: seeded, replayable, on the host.

use burn::config::Config;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::{SliceRandom, index};
use rand::{RngExt, SeedableRng};

use crate::error::{Error, Result};

/// How the samples of mini-batches are chosen.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Each batch is a uniform subset: no sample twice within a batch, batches independent.
    WithoutReplacement,
    /// Each sample of each batch is drawn independently.
    WithReplacement,
    /// Consecutive batches of shuffled epochs, as in training; a last partial batch is dropped.
    Epoch,
}

/// Whether measurements see the same batches.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Draws {
    /// New batches at each measurement.
    Fresh,
    /// The batches of the first measurement again: differences between measurements are then due
    /// to the weights alone (common random numbers).
    Fixed,
}

/// The indices of `n_batches` batches of `batch_size` samples out of `n_samples`.
///
/// `draw` numbers the measurement: the same arguments give the same batches on every machine.
///
/// # Errors
/// [`Error::BatchSize`] for a batch size of zero or above `n_samples`.
///
/// ```
/// use burn_sharpness::estimator::{Sampling, draw_batches};
///
/// let batches = draw_batches(Sampling::Epoch, 10, 4, 2, 7, 0)?;
/// assert_eq!(batches.len(), 2);
/// assert_eq!(batches, draw_batches(Sampling::Epoch, 10, 4, 2, 7, 0)?);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
pub fn draw_batches(
    sampling: Sampling,
    n_samples: usize,
    batch_size: usize,
    n_batches: usize,
    seed: u64,
    draw: u64,
) -> Result<Vec<Vec<usize>>> {
    if batch_size == 0 || batch_size > n_samples {
        return Err(Error::BatchSize { batch_size, n_samples });
    }
    // One stream per measurement; the multiplier spreads small draws over the seed space.
    let stream = seed ^ draw.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream);
    let batches = match sampling {
        Sampling::WithoutReplacement => (0..n_batches)
            .map(|_| index::sample(&mut rng, n_samples, batch_size).into_vec())
            .collect(),
        Sampling::WithReplacement => (0..n_batches)
            .map(|_| (0..batch_size).map(|_| rng.random_range(0..n_samples)).collect())
            .collect(),
        Sampling::Epoch => {
            let mut batches = Vec::new();
            while batches.len() < n_batches {
                let mut order: Vec<usize> = (0..n_samples).collect();
                order.shuffle(&mut rng);
                batches.extend(order.chunks_exact(batch_size).map(<[usize]>::to_vec));
            }
            batches.truncate(n_batches);
            batches
        }
    };
    Ok(batches)
}
