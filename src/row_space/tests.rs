//! Which weights are in row space, and what is left of them in the programs. That the numbers are those
//! of dense products is tested on whole networks (`tests/suite/models/side_by_side.rs`).

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Distribution, Tensor};

use super::{Role, RowSpaceGraph};
use crate::capture::LossGraph;
use crate::ir::TensorGraph;
use crate::model_state::ModelState;

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    head: Linear,
}

const WIDTHS: [usize; 3] = [48, 40, 24];

fn row_space(
    batch: usize,
    everywhere: bool,
    loss: impl Fn(&Net, Tensor<2>) -> Tensor<1>,
) -> (RowSpaceGraph, Vec<String>) {
    let device = Device::flex();
    let layer = |i: usize| LinearConfig::new(WIDTHS[i], WIDTHS[i + 1]).init(&device);
    let model = Net { hidden: layer(0), head: layer(1) };
    let x = Tensor::random([batch, WIDTHS[0]], Distribution::Default, &device);
    let state = ModelState::of(&model).unwrap();
    let forward = LossGraph::capture(&model, &state, &x, &loss).unwrap();
    let graph = forward.differentiate().unwrap().push_forward().unwrap().row_space(everywhere);
    let names = graph.parts.iter().filter(|part| part.role != Role::Dense);
    let name =
        |role: Role, param: usize| format!("{}.{role:?}", state.space().entries()[param].name);
    let names = names.map(|part| name(part.role, part.param)).collect();
    (graph, names)
}

fn mean_square(model: &Net, x: Tensor<2>) -> Tensor<1> {
    model.head.forward(tanh(model.hidden.forward(x))).powi_scalar(2).mean()
}

/// The first layer has no tangent of its input, so no C; biases are dense.
#[test]
fn dense_layers_are_found() {
    let (graph, names) = row_space(3, true, mean_square);
    assert_eq!(names, ["hidden.weight.Left", "head.weight.Left", "head.weight.Right"]);
    assert_eq!(graph.parts.len(), 5);
    // The gradient is hᵀδ: A = δ, C = 0.
    let has_gradient: Vec<bool> = graph.parts.iter().map(|part| part.gradient.is_some()).collect();
    assert_eq!(has_gradient, [true, true, true, false, true]);
}

fn largest(graph: &TensorGraph, made: bool) -> usize {
    let outputs = graph.ops.iter().flat_map(|op| op.outputs());
    let sizes = outputs.chain(graph.inputs.iter().filter(|_| !made));
    sizes.map(|t| t.shape.num_elements()).max().unwrap_or(0)
}

/// What a solver repeats makes nothing of the size of a weight, and neither does the primal part: no
/// gradient of a weight is formed.
#[test]
fn no_weight_sized_tensor_is_made() {
    let (graph, _) = row_space(3, true, mean_square);
    let weight = WIDTHS[1] * WIDTHS[2];
    assert!(largest(&graph.tangent.graph, true) < weight);
    assert!(largest(&graph.metric.graph, false) < weight);
    // Transposes of weights are views.
    let matmuls = graph.primal.ops.iter().filter(|op| format!("{op:?}").contains("Matmul"));
    let made = matmuls.flat_map(|op| op.outputs()).map(|t| t.shape.num_elements()).max();
    assert!(made.unwrap() < weight);
    assert!(largest(&graph.expansion.graph, true) >= weight, "only the expansion makes blocks");
}

/// A penalty on a weight, or a second product with it, leaves it dense.
#[test]
fn other_uses_leave_a_weight_dense() {
    let penalty = |model: &Net, x: Tensor<2>| {
        let square = model.hidden.weight.val().powi_scalar(2).sum() * 0.1;
        mean_square(model, x) + square
    };
    assert_eq!(row_space(3, true, penalty).1, ["head.weight.Left", "head.weight.Right"]);
    let twice = |model: &Net, x: Tensor<2>| {
        let (first, second) = (model.hidden.forward(x.clone()), model.hidden.forward(x * 2.0));
        model.head.forward(tanh(first) + tanh(second)).powi_scalar(2).mean()
    };
    assert_eq!(row_space(3, true, twice).1, ["head.weight.Left", "head.weight.Right"]);
    let frozen_direction = |model: &Net, x: Tensor<2>| {
        let weight = model.head.weight.val();
        tanh(model.hidden.forward(x)).matmul(weight.clone().abs()).mean()
    };
    assert_eq!(row_space(3, true, frozen_direction).1, ["hidden.weight.Left"]);
}

/// Weights that meet their data as x·Wᵀ: h and δ change places.
#[test]
fn a_transposed_weight_is_found() {
    let loss = |model: &Net, x: Tensor<2>| {
        let hidden = tanh(model.hidden.forward(x));
        let head = model.head.weight.val().transpose(); // stored transposed
        hidden.matmul(head.transpose()).powi_scalar(2).mean()
    };
    let names = row_space(3, true, loss).1;
    assert_eq!(names, ["hidden.weight.Left", "head.weight.Left", "head.weight.Right"]);
}

/// Small batches are in row space, large ones are not.
#[test]
fn the_cost_decides() {
    assert_eq!(row_space(3, false, mean_square).1.len(), 3);
    assert_eq!(row_space(2000, false, mean_square).1.len(), 0);
}
