//! Networks, data and tolerances that the tests share.

#![allow(dead_code)] // not every test binary uses everything

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_sharpness::{LinearOperator, ParamVector};

/// A dense layer y = x W + b with explicit parameters, W is `[in, out]`.
#[derive(Module, Debug)]
pub struct Dense {
    pub weight: Param<Tensor<2>>,
    pub bias: Param<Tensor<1>>,
}

impl Dense {
    /// Weights and bias are irregular numbers in f64.
    pub fn wavy(inputs: usize, outputs: usize, phase: f64) -> Self {
        let device = Device::flex();
        let weight = wave(inputs * outputs, phase).iter().map(|w| 0.6 * w).collect();
        Self {
            weight: Param::from_tensor(float(weight, [inputs, outputs], DType::F64, &device)),
            bias: Param::from_tensor(float(wave(outputs, phase), [outputs], DType::F64, &device)),
        }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

pub fn float<const D: usize>(
    values: Vec<f64>,
    shape: [usize; D],
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape).convert_dtype(dtype), (device, dtype))
}

/// Smooth, irregular numbers without a generator: sin of an arithmetic progression.
pub fn wave(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| (1.7 * i as f64 + phase).sin()).collect()
}

pub fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| v.abs().max(m))
}

/// max |a − b| / max |b|.
pub fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    max_abs(&difference) / max_abs(b).max(f64::MIN_POSITIVE)
}

pub fn assert_close(a: &[f64], b: &[f64], tolerance: f64, what: &str) {
    let error = relative_error(a, b);
    assert!(error <= tolerance, "{what}: relative error {error:.2e} > {tolerance:.2e}");
}

pub fn vector(operator: &dyn LinearOperator, values: &[f64]) -> ParamVector {
    operator.space().from_values(values).unwrap()
}

pub fn apply(operator: &dyn LinearOperator, values: &[f64]) -> Vec<f64> {
    operator.apply(&vector(operator, values)).unwrap().to_values().unwrap()
}
