//! Which parameters span the space, and the arithmetic of its vectors.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Int, Tensor};
use burn_sharpness::graph::ModelState;
use burn_sharpness::prelude::*;
use burn_sharpness::{ParamBlock, ParamSpace};

use crate::common::{assert_close, float, wave};

#[derive(Module, Debug)]
struct Tower {
    layers: Vec<Linear>,
    scale: Param<Tensor<1>>,
    frozen: Linear,
    order: Param<Tensor<1, Int>>,
}

fn tower(device: &Device) -> Tower {
    let linear = || LinearConfig::new(3, 3).init(device);
    Tower {
        layers: vec![linear(), linear()],
        scale: Param::from_tensor(float(wave(3, 0.1), [3], DType::F32, device)),
        frozen: linear().no_grad(),
        order: Param::initialized(
            burn::module::ParamId::new(),
            Tensor::from_ints([2, 0, 1], device),
        ),
    }
}

fn loss(m: &Tower, x: Tensor<2>) -> Tensor<1> {
    let x = m.layers.iter().fold(x, |x, layer| layer.forward(x).tanh());
    let x = m.frozen.forward(x * m.scale.val().unsqueeze()).select(1, m.order.val());
    (x.powi_scalar(2)
        * Tensor::<1>::from_floats([1.0, 2.0, 3.0], &m.scale.val().device()).unsqueeze())
    .mean()
}

#[test]
fn trainable_parameters_in_visit_order() {
    for device in [Device::flex(), Device::flex().autodiff()] {
        let model = tower(&device);
        let state = ModelState::of(&model).unwrap();
        let entries: Vec<_> =
            state.space().entries().iter().map(|e| (e.name.as_str(), e.offset, e.len())).collect();
        let expected = [
            ("layers.0.weight", 0, 9),
            ("layers.0.bias", 9, 3),
            ("layers.1.weight", 12, 9),
            ("layers.1.bias", 21, 3),
            ("scale", 24, 3),
        ];
        assert_eq!(entries, expected);
        assert_eq!((state.space().n_params(), state.space().dtype()), (27, DType::F32));
        let values = state.params().to_values().unwrap();
        let bias: Vec<f64> =
            model.layers[1].bias.as_ref().unwrap().val().into_data().iter().collect();
        assert_eq!(&values[21..24], &bias);
        let named = state.params().param::<1>("layers.1.bias").unwrap();
        assert_eq!(named.into_data().iter::<f64>().collect::<Vec<_>>(), bias);
        assert!(state.params().param::<2>("layers.1.bias").is_none());
        assert!(state.params().param::<1>("nothing").is_none());
    }
}

#[test]
fn plain_and_autodiff_devices_give_the_same_bits() {
    let plain = tower(&Device::flex());
    let x = |device: &Device| float(wave(15, 0.6), [5, 3], DType::F32, device);
    let one = plain.sharpness(x(&Device::flex()), loss).unwrap();
    let device = Device::flex().autodiff();
    let tracked = plain.clone().train();
    assert!(tracked.scale.val().device().is_autodiff());
    let two = tracked.sharpness(x(&device), loss).unwrap();
    // And a plain batch for a tracked model.
    let three = tracked.sharpness(x(&Device::flex()), loss).unwrap();
    for other in [&two, &three] {
        assert_eq!(other.value.to_bits(), one.value.to_bits());
        assert_eq!(other.vector.to_values().unwrap(), one.vector.to_values().unwrap());
    }
}

#[test]
fn a_shared_weight_is_one_parameter() {
    // f(x) = x w w: shared, its second derivative is not that of two weights.
    #[derive(Module, Debug)]
    struct Twice {
        first: Param<Tensor<1>>,
        second: Param<Tensor<1>>,
    }
    let weight = Param::from_tensor(float(vec![1.5], [1], DType::F64, &Device::flex()));
    let model = Twice { first: weight.clone(), second: weight };
    let loss = |m: &Twice, x: Tensor<1>| (m.first.val() * m.second.val() * x).sum();
    let x = float(vec![2.0], [1], DType::F64, &Device::flex());
    let hessian = model.hessian(x, loss).unwrap();
    assert_eq!(hessian.to_dense().unwrap(), [[4.0]]); // d²(2w²)/dw²
    assert_eq!(hessian.gradient().to_values().unwrap(), [6.0]);
}

#[test]
fn parameters_without_influence_are_zero_rows() {
    #[derive(Module, Debug)]
    struct Spare {
        used: Param<Tensor<1>>,
        spare: Param<Tensor<1>>,
        linear: Param<Tensor<1>>,
    }
    let param = |v: f64| Param::from_tensor(float(vec![v], [1], DType::F64, &Device::flex()));
    let model = Spare { used: param(1.5), spare: param(1.0), linear: param(2.0) };
    let loss = |m: &Spare, x: Tensor<1>| (m.used.val().powi_scalar(2) * x + m.linear.val()).sum();
    let x = float(vec![2.0], [1], DType::F64, &Device::flex());
    let hessian = model.hessian(x, loss).unwrap();
    assert_eq!(hessian.to_dense().unwrap(), [[4.0, 0.0, 0.0], [0.0; 3], [0.0; 3]]);
    assert_eq!(hessian.gradient().to_values().unwrap(), [6.0, 0.0, 1.0]);
}

#[test]
fn a_loss_without_curvature_is_the_zero_operator() {
    let device = Device::flex();
    let model = LinearConfig::new(3, 2).init(&device);
    let x = float(wave(12, 0.2), [4, 3], DType::F32, &device);
    let top = model.sharpness(x, |m: &Linear, x: Tensor<2>| m.forward(x).mean()).unwrap();
    assert_eq!((top.value, top.residual_norm, top.converged), (0.0, 0.0, true));
}

/// Inner products of n f32 products summed in two levels: the error is below
/// (chunk + n/chunk) · 2⁻²⁴ · Σ|aᵢbᵢ|, where one running sum has n · 2⁻²⁴.
#[test]
fn inner_products_of_long_f32_vectors_keep_their_digits() {
    let n = 1 << 20;
    let space = ParamSpace::flat(n, DType::F32, &Device::flex());
    let a = space.from_values(&vec![0.1; n]).unwrap();
    let tenth = f64::from(0.1_f32);
    let exact = n as f64 * tenth * tenth;
    let levels = 4096.0 + n as f64 / 4096.0;
    assert!((a.dot(&a).unwrap() / exact - 1.0).abs() < levels / 2f64.powi(24));
}

#[test]
fn arithmetic_of_vectors() {
    let space = ParamSpace::flat(5, DType::F64, &Device::flex());
    let (a, b) = (wave(5, 0.1), wave(5, 0.9));
    let (va, vb) = (space.from_values(&a).unwrap(), space.from_values(&b).unwrap());
    let expected: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - 2.5 * b).collect();
    assert_close(&va.axpy(-2.5, &vb).unwrap().to_values().unwrap(), &expected, 1e-15, "axpy");
    let (unit, norm) = va.normalized().unwrap();
    assert!((norm - a.iter().map(|x| x * x).sum::<f64>().sqrt()).abs() < 1e-15);
    assert!((unit.norm().unwrap() - 1.0).abs() < 1e-15);
    assert_eq!(space.zeros().normalized().unwrap().1, 0.0);
    let block = ParamBlock::from_vectors(&[va.clone(), vb]).unwrap();
    assert_eq!((block.len(), block.is_empty()), (2, false));
    assert_eq!(block.vector(0).to_values().unwrap(), a);
}
