//! Other backends against flex, for those that are compiled in (`cargo test --features ndarray`).

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, activation};
use burn_sharpness::prelude::*;

use crate::common::{Dense, float, max_abs, wave};

#[derive(Module, Debug)]
struct Mlp {
    hidden: Dense,
    head: Dense,
}

type Pair = (Tensor<2>, Tensor<1, Int>);

fn dense(inputs: usize, outputs: usize, phase: f64, device: &Device) -> Dense {
    let weight = wave(inputs * outputs, phase).iter().map(|w| 0.5 * w).collect();
    Dense {
        weight: Param::from_tensor(float(weight, [inputs, outputs], DType::F32, device)),
        bias: Param::from_tensor(float(wave(outputs, phase), [outputs], DType::F32, device)),
    }
}

fn cross_entropy(model: &Mlp, (x, y): Pair) -> Tensor<1> {
    let hidden = model.hidden.forward(x).tanh();
    let log_p = activation::log_softmax(model.head.forward(hidden), 1);
    -log_p.gather(1, y.unsqueeze_dim(1)).mean()
}

/// Loss, gradient, one product and λ_max on `device`.
fn measure(device: &Device) -> (f64, Vec<f64>, Vec<f64>, f64) {
    let model = Mlp { hidden: dense(7, 9, 0.1, device), head: dense(9, 4, 0.7, device) };
    let labels: Vec<i64> = (0..12).map(|i| (3 * i + 1) % 4).collect();
    let x = float(wave(12 * 7, 0.3), [12, 7], DType::F32, device);
    let batch = (x, Tensor::from_ints(labels.as_slice(), device));
    let hessian = model.hessian(batch.clone(), cross_entropy).unwrap();
    let v = hessian.space().from_values(&wave(hessian.dim(), 1.3)).unwrap();
    let product = hessian.apply(&v).unwrap().to_values().unwrap();
    let gradient = hessian.gradient().to_values().unwrap();
    let top = model.sharpness(batch, cross_entropy).unwrap();
    assert!(top.converged);
    (hessian.loss(), gradient, product, top.value)
}

/// f32, about ten operations deep with sums of up to twelve terms: a hundred roundings of 1.2e-7 at
/// most, relative to the largest entry.
fn agrees_with_flex(device: &Device) {
    let close = |a: &[f64], b: &[f64]| {
        let difference = a.iter().zip(b).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
        assert!(difference <= 1.2e-5 * max_abs(b), "{difference} of {}", max_abs(b));
    };
    let (here, there) = (measure(&Device::flex()), measure(device));
    close(&[there.0], &[here.0]);
    close(&there.1, &here.1);
    close(&there.2, &here.2);
    close(&[there.3], &[here.3]);
}

#[test]
fn flex_agrees_with_itself() {
    agrees_with_flex(&Device::flex());
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // by burn, which still ships it
#[test]
fn ndarray_agrees_with_flex() {
    agrees_with_flex(&Device::ndarray());
}

/// Needs a graphics driver; Mesa's software Vulkan will do.
#[cfg(feature = "wgpu")]
#[test]
fn wgpu_agrees_with_flex() {
    agrees_with_flex(&Device::wgpu(Default::default()));
}
