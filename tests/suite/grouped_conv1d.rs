//! A gradient that burn 0.22.1 computes wrongly on some backends: of a grouped Conv1d whose stride
//! leaves the end of its input unread. Here it is right or an error, never wrong.

use burn::module::{Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Tensor, module};
use burn_sharpness::Error;
use burn_sharpness::prelude::*;

use crate::common::{float, relative_error, wave};
use crate::device;

#[derive(Module, Debug)]
struct Kernel {
    weight: Param<Tensor<3>>,
}

fn kernel(dtype: DType, device: &Device) -> Kernel {
    Kernel { weight: Param::from_tensor(float(wave(12, 0.1), [4, 1, 3], dtype, device)) }
}

fn sequence(dtype: DType, device: &Device) -> Tensor<3> {
    float(wave(16, 0.7), [2, 2, 4], dtype, device)
}

fn grouped(model: &Kernel, x: Tensor<3>) -> Tensor<1> {
    module::conv1d(x, model.weight.val(), None, ConvOptions::new([2], [0], [1], 2)).sin().sum()
}

/// The same, as a convolution of images of height one.
fn as_images(model: &Kernel, x: Tensor<3>) -> Tensor<1> {
    let (x, weight) = (x.unsqueeze_dim::<4>(2), model.weight.val().unsqueeze_dim::<4>(2));
    module::conv2d(x, weight, None, ConvOptions::new([1, 2], [0, 0], [1, 1], 2)).sin().sum()
}

fn product(hessian: &HessianOperator) -> Vec<f64> {
    let v = hessian.space().from_values(&wave(12, 0.3)).unwrap();
    hessian.apply(&v).unwrap().to_values().unwrap()
}

#[test]
fn a_grouped_convolution_that_leaves_an_end_unread_is_right_or_an_error() {
    let (cpu, device) = (Device::flex(), device::under_test());
    let images = kernel(DType::F64, &cpu).hessian(sequence(DType::F64, &cpu), as_images).unwrap();
    match kernel(DType::F32, &device).hessian(sequence(DType::F32, &device), grouped) {
        // Some twenty operations of f32 on numbers of order one.
        Ok(hessian) => assert!(relative_error(&product(&hessian), &product(&images)) < 1e-5),
        Err(Error::UnsupportedOps(ops)) => {
            assert!(["flex", "ndarray"].contains(&device::name().as_str()), "{ops:?}");
            assert_eq!(ops[0].name, "module.Conv1d");
            assert!(ops[0].reason.contains("burn 0.22.1 is wrong"), "{ops:?}");
        }
        Err(error) => panic!("{error:?}"),
    }
}
