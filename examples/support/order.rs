//! The order in which training sees its samples.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

/// Consecutive batches of shuffled epochs; a last partial batch is dropped.
pub struct Order {
    rng: Xoshiro256PlusPlus,
    samples: Vec<usize>,
    next: usize,
}

impl Order {
    pub fn new(n_samples: usize, seed: u64) -> Self {
        let samples: Vec<usize> = (0..n_samples).collect();
        let (rng, next) = (Xoshiro256PlusPlus::seed_from_u64(seed), samples.len());
        Self { rng, samples, next }
    }

    /// The numbers of the next `batch_size` samples, at most as many as there are.
    pub fn next_batch(&mut self, batch_size: usize) -> &[usize] {
        if self.next + batch_size > self.samples.len() {
            self.samples.shuffle(&mut self.rng);
            self.next = 0;
        }
        let start = self.next;
        self.next += batch_size;
        &self.samples[start..self.next]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_every_sample_once_and_the_next_another_order() {
        let mut order = Order::new(12, 3);
        let mut epoch =
            || -> Vec<usize> { (0..3).flat_map(|_| order.next_batch(4).to_vec()).collect() };
        let (mut first, mut second) = (epoch(), epoch());
        assert_ne!(first, second);
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!((first, second), ((0..12).collect(), (0..12).collect()));
    }
}
