//! Rules that burn's tensor API does not reach in 0.22.1 (its dispatch layer writes dense layers
//! as matmul and add, floats to integer tensors as powf, NaN tests as comparisons), checked on
//! graphs made by hand: the pushed tangent against central differences of the program itself.

use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_dispatch::DispatchTensor;
use burn_ir::*;

use super::push_forward;
use crate::ir::TensorGraph;
use crate::program::Program;

fn tensor(id: u64, shape: &[usize], dtype: DType) -> TensorIr {
    TensorIr::uninit(TensorId::new(id), shape.to_vec().into(), dtype)
}

fn input(id: u64, shape: &[usize]) -> TensorIr {
    tensor(id, shape, DType::F64)
}

fn value(shape: &[usize], at: impl Fn(usize) -> f64) -> DispatchTensor {
    let n: usize = shape.iter().product();
    let data = TensorData::new((0..n).map(at).collect::<Vec<_>>(), [n]);
    let flat = Tensor::<1>::from_data(data, (&Device::flex(), DType::F64));
    match *shape {
        [a] => flat.reshape([a]).into_dispatch(),
        [a, b] => flat.reshape([a, b]).into_dispatch(),
        _ => panic!("rank of a test tensor"),
    }
}

fn read(tensor: DispatchTensor) -> Vec<f64> {
    use burn_backend::TensorMetadata;
    let data = match tensor.shape().num_dims() {
        1 => Tensor::<1>::from_dispatch(tensor).into_data(),
        _ => Tensor::<2>::from_dispatch(tensor).into_data(),
    };
    data.iter::<f64>().collect()
}

/// The tangent of the output, from the inputs and the tangents of those at `wrt`.
fn tangent_of(primal: &TensorGraph, wrt: &[usize]) -> Program {
    let pushed = push_forward(primal, wrt, Device::flex().settings()).unwrap();
    let mut graph = TensorGraph { ops: pushed.ops, ..primal.clone() };
    graph.inputs.extend(pushed.tangent_inputs);
    graph.outputs = vec![pushed.tangent_outputs[0].clone().expect("a tangent")];
    Program::compile(graph)
}

/// Checks the tangent of the last operation's output with respect to the float inputs `wrt`.
fn check(inputs: Vec<TensorIr>, ops: Vec<OperationIr>, output: TensorIr, wrt: &[usize]) {
    let device = Device::flex();
    let primal = TensorGraph { inputs: inputs.clone(), ops, outputs: vec![output] };
    let point = |p: usize, i: usize| 1.0 + 0.5 * (1.7 * i as f64 + p as f64).sin();
    let direction = |p: usize, i: usize| (0.9 * i as f64 + 2.0 * p as f64).cos();
    let at = |h: f64| {
        let moved = |(p, t): (usize, &TensorIr)| {
            if t.dtype.is_float() {
                let step = if wrt.contains(&p) { h } else { 0.0 };
                value(t.shape.as_slice(), |i| point(p, i) + step * direction(p, i))
            } else {
                let powers = Tensor::<1, burn::tensor::Int>::from_ints([3, 1, 2, 0], &device);
                powers.into_dispatch()
            }
        };
        inputs.iter().enumerate().map(moved).collect::<Vec<_>>()
    };
    let tangents = wrt.iter().map(|&p| value(inputs[p].shape.as_slice(), |i| direction(p, i)));
    let tangent = tangent_of(&primal, wrt).run(at(0.0).into_iter().chain(tangents), &device);
    let tangent = read(tangent.unwrap().remove(0));
    let program = Program::compile(primal);
    let run = |h: f64| read(program.run(at(h), &device).unwrap().remove(0));
    let h = 1e-5;
    for ((t, above), below) in tangent.iter().zip(run(h)).zip(run(-h)) {
        // h² times third derivatives of order one, and ε/h.
        assert!((t - (above - below) / (2.0 * h)).abs() < 1e-8, "{t}");
    }
}

#[test]
fn dense_layer() {
    let (x, w, b) = (input(0, &[3, 4]), input(1, &[4, 2]), input(2, &[2]));
    let linear = |bias: Option<TensorIr>| {
        let op = LinearOpIr::create(x.clone(), w.clone(), bias, || TensorId::new(9));
        (op.out.clone(), vec![OperationIr::Module(ModuleOperationIr::Linear(op))])
    };
    for wrt in [&[0, 1, 2][..], &[0, 1], &[1, 2], &[0], &[1], &[2]] {
        let (out, ops) = linear(Some(b.clone()));
        check(vec![x.clone(), w.clone(), b.clone()], ops, out, wrt);
    }
    let (out, ops) = linear(None);
    check(vec![x.clone(), w.clone()], ops, out, &[0, 1]);
}

#[test]
fn dense_layer_backward() {
    let (x, w, g) = (input(0, &[3, 4]), input(1, &[4, 2]), input(2, &[3, 2]));
    let id = || TensorId::new(9);
    let op = LinearXBackwardOpIr::create(w.clone(), g.clone(), id);
    let (out, op) = (op.out.clone(), ModuleOperationIr::LinearXBackward(op));
    check(vec![w, g.clone()], vec![OperationIr::Module(op)], out, &[0, 1]);

    let op = LinearWeightBackwardOpIr::create(x.clone(), g.clone(), id);
    let (out, op) = (op.out.clone(), ModuleOperationIr::LinearWeightBackward(op));
    check(vec![x, g.clone()], vec![OperationIr::Module(op)], out, &[0, 1]);

    let op = LinearBiasBackwardOpIr::create(g.clone(), id);
    let (out, op) = (op.out.clone(), ModuleOperationIr::LinearBiasBackward(op));
    check(vec![g], vec![OperationIr::Module(op)], out, &[0]);
}

fn powi() -> TensorGraph {
    let (x, n) = (input(0, &[4]), tensor(1, &[4], Device::flex().settings().int_dtype.into()));
    let out = input(9, &[4]);
    let op = BinaryOpIr { lhs: x.clone(), rhs: n.clone(), out: out.clone() };
    let op = OperationIr::NumericFloat(DType::F64, NumericOperationIr::Powi(op));
    TensorGraph { inputs: vec![x, n], ops: vec![op], outputs: vec![out] }
}

#[test]
fn float_to_integer_tensor_power() {
    let TensorGraph { inputs, ops, mut outputs } = powi();
    check(inputs, ops, outputs.remove(0), &[0]);
}

/// n x^(n−1) at x = 0: 1 for n = 1, else 0, for n = 0 too.
#[test]
fn integer_powers_at_zero() {
    let powers = Tensor::<1, burn::tensor::Int>::from_ints([3, 1, 2, 0], &Device::flex());
    let inputs = [value(&[4], |_| 0.0), powers.into_dispatch(), value(&[4], |_| 1.0)];
    let tangent = tangent_of(&powi(), &[0]).run(inputs, &Device::flex()).unwrap().remove(0);
    assert_eq!(read(tangent), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn tests_for_nan_and_infinity_have_no_tangent() {
    let x = input(0, &[4]);
    for variant in [FloatOperationIr::IsNan, FloatOperationIr::IsInf] {
        let out = tensor(9, &[4], Device::flex().settings().bool_dtype.into());
        let op = variant(UnaryOpIr { input: x.clone(), out: out.clone() });
        let ops = vec![OperationIr::Float(DType::F64, op)];
        let graph = TensorGraph { inputs: vec![x.clone()], ops, outputs: vec![out] };
        let pushed = push_forward(&graph, &[0], Device::flex().settings()).unwrap();
        assert!(pushed.tangent_outputs[0].is_none());
        let run = Program::compile(graph).run([value(&[4], |i| 1.0 / i as f64)], &Device::flex());
        let flags = Tensor::<1, burn::tensor::Bool>::from_dispatch(run.unwrap().remove(0));
        let infinite = flags.into_data().iter::<bool>().filter(|f| *f).count();
        assert!(infinite <= 1);
    }
}

#[test]
fn custom_operations_are_reported_by_their_id() {
    let (x, y) = (input(0, &[2, 2]), input(1, &[2, 2]));
    let graph = TensorGraph { inputs: vec![x], ops: Vec::new(), outputs: vec![y] };
    let op = OperationIr::Custom(CustomOpIr::new("my_kernel", &graph.inputs, &graph.outputs));
    let graph = TensorGraph { ops: vec![op], ..graph };
    let ops = super::unsupported_ops(&graph);
    assert_eq!(ops[0].name, "custom.my_kernel");
    assert_eq!(ops[0].shapes, [[2, 2]]);
}
