//! Random vectors z with E[z·zᵀ] = 1: then E[zᵀA·z] = tr A.

use std::sync::Arc;

use burn::config::Config;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::error::{Error, Result};
use crate::operator::LinearOperator;
use crate::params::{ParamBlock, ParamSpace, ParamVector};

/// The distribution of the entries, which are independent.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Probe {
    /// ±1 with probability 1/2. Var[zᵀA·z] = 2·Σ_{i≠j} Aᵢⱼ²: the diagonal does not count.
    Rademacher,
    /// Standard normal. Var[zᵀA·z] = 2·‖A‖_F², in every basis.
    Gaussian,
}

impl Probe {
    /// Probe number `number`, from a stream of its own.
    fn draw(self, space: &Arc<ParamSpace>, seed: u64, number: usize) -> Result<ParamVector> {
        let stream = seed ^ (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream);
        match self {
            Self::Gaussian => Ok(space.random(&mut rng)),
            Self::Rademacher => {
                let sign = |_| if rng.random::<bool>() { 1.0 } else { -1.0 };
                space.from_values(&(0..space.n_params()).map(sign).collect::<Vec<_>>())
            }
        }
    }

    /// The probes of numbers `numbers`, at least one.
    pub(super) fn block(
        self,
        space: &Arc<ParamSpace>,
        seed: u64,
        numbers: std::ops::Range<usize>,
    ) -> Result<ParamBlock> {
        let probes = numbers.map(|number| self.draw(space, seed, number));
        ParamBlock::from_vectors(&probes.collect::<Result<Vec<_>>>()?)
    }
}

/// Ranges of at most `at_once` numbers that cover `0..count`.
pub(super) fn groups(count: usize, at_once: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let at_once = at_once.max(1);
    (0..count).step_by(at_once).map(move |first| first..count.min(first + at_once))
}

/// A·V, `at_once` vectors at a time.
pub(super) fn products(
    operator: &dyn LinearOperator,
    block: &ParamBlock,
    at_once: usize,
) -> Result<ParamBlock> {
    let (vectors, mut products) = (block.vectors(), Vec::new());
    for group in groups(vectors.len(), at_once) {
        let group = ParamBlock::from_vectors(&vectors[group])?;
        products.extend(operator.apply_block(&group)?.vectors());
    }
    ParamBlock::from_vectors(&products)
}

/// Fails unless `value` is at least `least`.
pub(super) fn at_least(
    setting: &'static str,
    value: usize,
    least: usize,
    expected: &'static str,
) -> Result<()> {
    if value >= least {
        return Ok(());
    }
    Err(Error::InvalidSetting { setting, value: value.to_string(), expected })
}
