//! Initial weights from the host: a seed means the same network on every device.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};

/// Which side of a layer the variance is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    In,
    Out,
}

/// `model` with weights that are normal with standard deviation `scale`·√(2/fan), and biases zero (He et al.
/// 2015; the paper scales it down so that training starts where curvature is low).
///
/// Parameters of one dimension are biases, those of two the linear layers' `[inputs, outputs]`, those of four
/// the convolutions' `[outputs, inputs, height, width]`.
pub fn normal<M: Module>(model: M, fan: Fan, scale: f64, seed: u64) -> M {
    let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    model.map(&mut Normal { fan, scale, rng })
}

struct Normal {
    fan: Fan,
    scale: f64,
    rng: Xoshiro256PlusPlus,
}

impl ModuleMapper for Normal {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        let field: usize = shape[2.min(D)..].iter().product();
        let fans = match D {
            0 | 1 => None,
            2 => Some((shape[0], shape[1])),
            _ => Some((shape[1] * field, shape[0] * field)),
        };
        let deviation = fans.map_or(0.0, |(inputs, outputs)| {
            let fan = if self.fan == Fan::In { inputs } else { outputs };
            self.scale * (2.0 / fan as f64).sqrt()
        });
        let mut value = || -> f64 {
            match deviation {
                0.0 => 0.0,
                _ => {
                    deviation * {
                        let z: f64 = StandardNormal.sample(&mut self.rng);
                        z
                    }
                }
            }
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| value() as f32).collect();
        param.map(|old| {
            let new = Tensor::from_data(TensorData::new(values, shape), &old.device());
            if old.is_require_grad() { new.require_grad() } else { new }
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::conv::Conv2dConfig;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;

    fn deviation<const D: usize>(weight: Tensor<D>) -> f64 {
        let values: Vec<f32> = weight.into_data().iter().collect();
        (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn weights_have_the_deviation_of_their_fan_and_biases_are_zero() {
        let device = Device::flex();
        let linear: Linear = LinearConfig::new(200, 50).init(&device);
        let linear = normal(linear, Fan::In, 0.5, 1);
        // 10⁴ values: relative error 1/√(2·10⁴) = 0.7%; 4 of them.
        let expected = 0.5 * (2.0f64 / 200.0).sqrt();
        assert!((deviation(linear.weight.val()) / expected - 1.0).abs() < 0.03);
        assert_eq!(deviation(linear.bias.unwrap().val()), 0.0);
        let conv = Conv2dConfig::new([20, 60], [3, 3]).init(&device);
        let conv = normal(conv, Fan::Out, 1.0, 1);
        let expected = (2.0f64 / 540.0).sqrt();
        assert!((deviation(conv.weight.val()) / expected - 1.0).abs() < 0.03);
    }
}
