//! The noise of [`Mode::TrainWithNoise`](crate::Mode::TrainWithNoise): random tensors drawn on the
//! host, the same for every program that reads them.

use burn::tensor::{DType, Distribution, TensorData};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::error::{Error, Result, catch_panic};

/// Whose noise it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoiseOf {
    /// Number of the measurement of an estimator.
    pub measurement: u64,
    /// Number of the operator among those of the measurement: a mini-batch, a chunk.
    pub operator: u64,
}

impl NoiseOf {
    /// The seed of random tensor number `index`.
    pub fn seed(self, seed: u64, index: usize) -> u64 {
        // Apart from the streams of batches and start vectors, which may have the same seed.
        let start = seed ^ 0x6e6f_6973_6520_6f66;
        [self.measurement, self.operator, index as u64].iter().fold(mix(start), |s, n| mix(s ^ n))
    }
}

/// A bijection of 64 bits in which every bit of the input moves half of those of the output (the
/// finalizer of SplitMix64; Steele, Lea, Flood 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Draws a tensor as burn does: in its own dtype, so that a uniform number stays below its bound.
///
/// # Errors
/// [`Error::Execution`] for a distribution without meaning (a negative deviation, ...).
pub(crate) fn draw(
    shape: &[usize],
    distribution: Distribution,
    dtype: DType,
    seed: u64,
) -> Result<TensorData> {
    if let Distribution::Uniform(low, high) = distribution
        && low == high
    {
        let data = TensorData::full(shape.to_vec(), low);
        return Ok(data.convert_dtype(dtype));
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    macro_rules! random {
        ($type:ty) => {
            TensorData::random::<$type, _, _>(shape.to_vec(), distribution, &mut rng)
        };
    }
    let draw = || {
        Ok(match dtype {
            DType::F64 => random!(f64),
            DType::I64 => random!(i64),
            DType::I32 => random!(i32),
            DType::I16 => random!(i16),
            DType::I8 => random!(i8),
            DType::U64 => random!(u64),
            DType::U32 => random!(u32),
            DType::U16 => random!(u16),
            DType::U8 => random!(u8),
            _ => random!(f32).convert_dtype(dtype),
        })
    };
    let describe = |m| Error::Execution { message: format!("cannot draw {distribution:?}: {m}") };
    catch_panic(draw, describe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_number() {
        let mut seeds = std::collections::BTreeSet::new();
        for seed in 0..4 {
            for measurement in 0..4 {
                for operator in 0..4 {
                    let of = NoiseOf { measurement, operator };
                    seeds.extend((0..4).map(|index| of.seed(seed, index)));
                }
            }
        }
        assert_eq!(seeds.len(), 256);
    }

    #[test]
    fn every_dtype_is_drawn_and_nonsense_is_an_error() {
        let of = |distribution, dtype| draw(&[1000], distribution, dtype, 3);
        let default = Distribution::Default;
        for dtype in [DType::F32, DType::F64, DType::F16, DType::I64, DType::I32, DType::U8] {
            assert_eq!(of(default, dtype).unwrap().dtype(), dtype);
        }
        let below_one = of(default, DType::F32).unwrap();
        assert!(below_one.iter::<f32>().all(|u| (0.0..1.0).contains(&u)));
        let constant = of(Distribution::Uniform(0.25, 0.25), DType::F32).unwrap();
        assert!(constant.iter::<f32>().all(|u| u == 0.25));
        let error = of(Distribution::Bernoulli(1.5), DType::F32).unwrap_err();
        assert!(matches!(error, Error::Execution { .. }), "{error:?}");
    }
}
