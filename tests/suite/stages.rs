//! The stages of the pipeline, by their text displays.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::graph::{LossGraph, ModelState};

use crate::common::{Dense, float, wave};

type Pair = (Tensor<2>, Tensor<2>);

fn forward() -> LossGraph {
    let device = Device::flex();
    let tensor = |n: usize, shape: [usize; 2]| float::<2>(wave(n, 0.1), shape, DType::F32, &device);
    let model = Dense {
        weight: Param::from_tensor(tensor(6, [3, 2])),
        bias: Param::from_tensor(float(wave(2, 0.1), [2], DType::F32, &device)),
    };
    let batch = (tensor(12, [4, 3]), tensor(8, [4, 2]));
    let loss = |m: &Dense, (x, y): Pair| (m.forward(x) - y).powi_scalar(2).mean();
    let state = ModelState::of(&model).unwrap();
    LossGraph::capture(&model, &state, &batch, &loss).unwrap()
}

#[test]
fn show() {
    println!("{}", forward());
    println!("{}", forward().differentiate().unwrap());
    println!("{}", forward().differentiate().unwrap().push_forward().unwrap());
    println!("{}", forward().differentiate().unwrap().push_forward().unwrap().linearize());
}
