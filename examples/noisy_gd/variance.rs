//! The variance of the samples' gradients, for each parameter, without a gradient per sample.
//!
//! The gradient of one sample with respect to a dense layer's weight is a product aδᵀ of the layer's input and of
//! the derivative by its output, so that the sum over samples of its squares is (a²)ᵀ(δ²): one matrix product, as
//! the sum itself is. Samples are taken in chunks, and nothing grows with their number.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::support::mlp::{Batch, Mlp};

/// Samples whose activations are in memory at a time.
const CHUNK: usize = 1024;

/// Sums over samples of gradients, and of their squares, by parameter.
struct Sums {
    plain: Vec<Tensor<1>>,
    squares: Vec<Tensor<1>>,
}

/// The unbiased variance over the samples of `data` of each parameter's gradient of the sample's squared error:
/// all parameters in the order in which a module visits them, `[parameters]`.
pub fn of_gradients(model: &Mlp, data: &Batch) -> Tensor<1> {
    let n = data.0.dims()[0];
    let frozen = model.clone().no_grad();
    let mut total: Option<Sums> = None;
    for from in (0..n).step_by(CHUNK) {
        let length = CHUNK.min(n - from);
        let chunk =
            (data.0.clone().narrow(0, from, length), data.1.clone().narrow(0, from, length));
        let sums = of_chunk(&frozen, chunk);
        total = Some(match total {
            None => sums,
            Some(total) => total.plus(sums),
        });
    }
    let variance = |(sum, squares): (Tensor<1>, Tensor<1>)| {
        // Rounding can leave less than nothing where all samples agree.
        (squares - sum.powi_scalar(2) / n as f64).clamp_min(0.0) / (n.max(2) - 1) as f64
    };
    let sums = total.into_iter().flat_map(|total| total.plain.into_iter().zip(total.squares));
    Tensor::cat(sums.map(variance).collect(), 0)
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        let add = |a: Vec<Tensor<1>>, b: Vec<Tensor<1>>| {
            a.into_iter().zip(b).map(|(a, b)| a + b).collect()
        };
        Self { plain: add(self.plain, other.plain), squares: add(self.squares, other.squares) }
    }
}

fn of_chunk(model: &Mlp, (features, one_hot): Batch) -> Sums {
    let (device, n) = (features.device(), features.dims()[0]);
    let (mut x, mut inputs, mut taps) = (features, Vec::new(), Vec::new());
    for (number, layer) in model.layers().iter().enumerate() {
        let input = if number == 0 { x } else { relu(x) };
        inputs.push(input.clone().without_autodiff());
        // Zeros that are added to an output have its derivative.
        let width = layer.weight.val().dims()[1];
        let tap = Tensor::<2>::zeros([n, width], &device).require_grad();
        x = layer.forward(input) + tap.clone();
        taps.push(tap);
    }
    let gradients = (x - one_hot).powi_scalar(2).sum().backward();
    let (mut plain, mut squares) = (Vec::new(), Vec::new());
    for ((input, tap), layer) in inputs.into_iter().zip(taps).zip(model.layers()) {
        // Without a derivative the layer has no part in the loss.
        let delta = tap.grad(&gradients).unwrap_or_else(|| tap.without_autodiff());
        for (sums, power) in [(&mut plain, 1), (&mut squares, 2)] {
            let (a, d) = (input.clone().powi_scalar(power), delta.clone().powi_scalar(power));
            sums.push(a.transpose().matmul(d.clone()).flatten(0, 1));
            if layer.bias.is_some() {
                sums.push(d.sum_dim(0).flatten(0, 1));
            }
        }
    }
    Sums { plain, squares }
}

#[cfg(test)]
mod tests {
    use burn::module::{ModuleVisitor, Param};
    use burn::optim::GradientsParams;
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::support::mlp::{loss, select};

    struct Flat<'a>(&'a GradientsParams, Vec<f64>);

    impl ModuleVisitor for Flat<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id).unwrap();
            self.1.extend(gradient.into_data().iter::<f64>());
        }
    }

    #[test]
    fn it_is_the_variance_of_the_gradients_one_by_one() {
        let device = Device::flex().autodiff();
        let model = Mlp::new(&[5, 7, 3], 1.0, 3, &device);
        let n = 20;
        let random = |width| Tensor::<2>::random([n, width], Distribution::Default, &device);
        let data = (random(5), random(3));
        let each: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                let gradients = loss(&model, select(&data, &[i])).backward();
                let gradients = GradientsParams::from_grads(gradients, &model);
                let mut flat = Flat(&gradients, Vec::new());
                model.visit(&mut flat);
                flat.1
            })
            .collect();
        let variances: Vec<f64> = of_gradients(&model, &data).into_data().iter::<f64>().collect();
        assert_eq!(variances.len(), each[0].len());
        for (j, found) in variances.into_iter().enumerate() {
            let mean = each.iter().map(|g| g[j]).sum::<f64>() / n as f64;
            let squares = each.iter().map(|g| (g[j] - mean).powi(2)).sum::<f64>();
            let expected = squares / (n - 1) as f64;
            assert!((found - expected).abs() <= 1e-4 * expected + 1e-7, "{j}: {found} {expected}");
        }
    }
}
