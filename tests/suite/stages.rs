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
fn capture_records_the_loss() {
    let expected = "\
LossGraph: 7 operations
  in  %0: F32[3, 2] = parameter 0
  in  %1: F32[2] = parameter 1
  in  %2: F32[4, 3] = batch 0
  in  %3: F32[4, 2] = batch 1
  %4: F32[4, 2] = float.Matmul(%2, %0)
  %5: F32[1, 2] = base.Reshape(%1)
  %6: F32[4, 2] = numeric.Add(%4, %5)
  %7: F32[4, 2] = numeric.Sub(%6, %3)
  %8: F32[4, 2] = numeric.Mul(%7, %7)
  %9: F32[1] = numeric.Mean(%8)
  %10: F32[1] = base.Reshape(%9)
  out %10 = loss
";
    assert_eq!(forward().to_string(), expected);
}

/// Lines of `text` that contain `needle`.
fn count(text: &str, needle: &str) -> usize {
    text.lines().filter(|line| line.contains(needle)).count()
}

#[test]
fn differentiate_adds_burns_reverse_pass() {
    let text = forward().differentiate().unwrap().to_string();
    let forward = forward().to_string();
    let body = forward.lines().skip(1).filter(|line| !line.contains("out"));
    assert!(body.into_iter().all(|line| text.contains(line)), "{text}");
    // y = x W once, dL/dW = xᵀ δ once; no product for the data, which needs no gradient.
    assert_eq!(count(&text, "Matmul"), 2, "{text}");
    assert_eq!((count(&text, "out %10 = loss"), count(&text, "= gradient")), (1, 2), "{text}");
}

#[test]
fn push_forward_follows_the_parameters_only() {
    let text = forward().differentiate().unwrap().push_forward().unwrap().to_string();
    assert_eq!(count(&text, "= tangent of parameter"), 2, "{text}");
    assert_eq!(count(&text, "= tangent of gradient"), 2, "{text}");
    // One tangent for each product: the data's tangent is a symbolic zero.
    assert_eq!(count(&text, "Matmul"), 4, "{text}");
}

#[test]
fn linearize_leaves_the_tangent_part_without_primal_work() {
    let text = forward().differentiate().unwrap().push_forward().unwrap().linearize().to_string();
    let (primal, tangent) = text.split_once("tangent part").unwrap();
    assert_eq!(count(primal, "Matmul"), 2, "{primal}");
    assert_eq!(count(primal, "= residual"), count(tangent, "= residual"));
    // δ̇ = 2 · (x V + v) / n, the constant a scalar and each half computed once, then xᵀ δ̇ and its sum: the loss itself is not evaluated.
    let expected = [
        "= float.Matmul(%0, %2)",
        "= base.Reshape(%3)",
        "= numeric.Add(%4, %5)",
        "= numeric.MulScalar(%6, Float(0.125))",
        "= numeric.Add(%7, %7)",
        "= numeric.SumDim(%8)",
        "= base.Reshape(%9)",
        "= float.Matmul(%1, %8)",
    ];
    let operations: Vec<_> = tangent.lines().filter(|line| line.contains('(')).collect();
    assert_eq!(operations.len(), expected.len(), "{tangent}");
    assert!(operations.iter().zip(expected).all(|(line, end)| line.ends_with(end)), "{tangent}");
}

#[test]
fn equal_losses_have_equal_texts() {
    assert_eq!(forward().to_string(), forward().to_string());
    let compiled = forward().differentiate().unwrap().push_forward().unwrap().linearize().compile();
    assert_eq!(compiled.n_ops(), (12, 8));
}
