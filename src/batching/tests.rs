//! Each kind of row on graphs made by hand: the program for three copies of every combination of
//! the inputs against three single runs. What losses record is checked by the rows of
//! `tests/suite/rules`; here stand operations on indices and masks, and every combination of
//! batched factors.

use std::collections::BTreeSet;

use burn::tensor::{DType, Device, Tensor};
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::tensor::IndexingUpdateOp;
use burn_backend::{FloatDType, Shape};
use burn_dispatch::{Dispatch, DispatchTensor};
use burn_ir::*;

use super::batch;
use crate::ir::TensorGraph;
use crate::program::Program;

const K: usize = 3;
/// Output ids start here.
const OUT: u64 = 100;

fn int_dtype() -> DType {
    Device::flex().settings().int_dtype.into()
}

fn bool_dtype() -> DType {
    Device::flex().settings().bool_dtype.into()
}

fn tensor(id: u64, shape: &[usize], dtype: DType) -> TensorIr {
    TensorIr::uninit(TensorId::new(id), shape.to_vec().into(), dtype)
}

fn float(id: u64, shape: &[usize]) -> TensorIr {
    tensor(id, shape, DType::F64)
}

fn int(id: u64, shape: &[usize]) -> TensorIr {
    tensor(id, shape, int_dtype())
}

fn bool(id: u64, shape: &[usize]) -> TensorIr {
    tensor(id, shape, bool_dtype())
}

fn out() -> TensorId {
    TensorId::new(OUT)
}

/// Numbers of the kind of `tensor` in `shape`: floats between −1 and 1, indices 0, 1 and 2, masks.
fn value(tensor: &TensorIr, shape: Shape, phase: usize) -> DispatchTensor {
    let n = shape.num_elements();
    let wave = |i: usize| (1.7 * i as f64 + 0.9 * phase as f64).sin();
    let device = Device::flex();
    let floats = |at: &dyn Fn(usize) -> f64| {
        let values: Vec<f64> = (0..n).map(at).collect();
        Tensor::<1>::from_data(values.as_slice(), (&device, DType::F64)).into_dispatch()
    };
    if tensor.dtype.is_float() {
        Dispatch::float_reshape(floats(&wave), shape)
    } else if tensor.dtype.is_bool() {
        let mask = Dispatch::float_greater_elem(floats(&wave), 0.into(), bool_dtype().into());
        Dispatch::bool_reshape(mask, shape)
    } else {
        let indices = floats(&|i| ((i * 7 + phase * 2 + i / 3) % 3) as f64);
        Dispatch::int_reshape(Dispatch::float_into_int(indices, int_dtype().into()), shape)
    }
}

fn read(x: DispatchTensor, like: &TensorIr, n: usize) -> Vec<f64> {
    let shape = Shape::new([n]);
    let flat = if like.dtype.is_float() {
        Dispatch::float_reshape(x, shape)
    } else if like.dtype.is_bool() {
        Dispatch::bool_into_float(Dispatch::bool_reshape(x, shape), FloatDType::F64)
    } else {
        Dispatch::int_into_float(Dispatch::int_reshape(x, shape), FloatDType::F64)
    };
    Tensor::<1>::from_dispatch(flat).into_data().iter::<f64>().collect()
}

/// Copy `i` of stacked values.
fn copy(x: &DispatchTensor, like: &TensorIr, i: usize) -> DispatchTensor {
    let shape = super::with_axis(1, &like.shape);
    let mut ranges: Vec<_> = shape.iter().map(|&n| burn_backend::Slice::from(0..n)).collect();
    ranges[0] = burn_backend::Slice::from(i..i + 1);
    let (x, shape) = (x.clone(), like.shape.clone());
    if like.dtype.is_float() {
        Dispatch::float_reshape(Dispatch::float_slice(x, &ranges), shape)
    } else if like.dtype.is_bool() {
        Dispatch::bool_reshape(Dispatch::bool_slice(x, &ranges), shape)
    } else {
        Dispatch::int_reshape(Dispatch::int_slice(x, &ranges), shape)
    }
}

/// Compares for one choice of batched inputs, and returns what was looped.
fn check_one(graph: &TensorGraph, marked: &[bool]) -> BTreeSet<String> {
    let device = Device::flex();
    let several = batch(graph, marked, K, device.settings());
    let pairs = graph.inputs.iter().zip(marked).enumerate();
    let values: Vec<DispatchTensor> = pairs
        .map(|(i, (t, marked))| {
            let shape = if *marked { super::with_axis(K, &t.shape) } else { t.shape.clone() };
            value(t, shape, i)
        })
        .collect();
    let outputs = Program::compile(several.graph.clone()).run(values.clone(), &device).unwrap();
    let program = Program::compile(graph.clone());
    for i in 0..K {
        let one = |((x, t), marked): ((&DispatchTensor, &TensorIr), &bool)| {
            if *marked { copy(x, t, i) } else { x.clone() }
        };
        let inputs: Vec<_> = values.iter().zip(&graph.inputs).zip(marked).map(one).collect();
        let expected = program.run(inputs, &device).unwrap();
        for (j, (t, expected)) in graph.outputs.iter().zip(expected).enumerate() {
            let n = t.shape.num_elements();
            let expected = read(expected, t, n);
            let found = if several.batched_outputs[j] {
                read(outputs[j].clone(), t, K * n)[i * n..(i + 1) * n].to_vec()
            } else {
                read(outputs[j].clone(), t, n)
            };
            for (a, b) in found.iter().zip(&expected) {
                // Sums of up to a hundred products of numbers below one, in another order.
                assert!((a - b).abs() < 1e-13, "{:?}, {marked:?}: {a} is not {b}", graph.ops);
            }
        }
    }
    several.looped
}

/// Compares for every choice of batched inputs, and returns what was looped in any.
fn check(op: OperationIr) -> BTreeSet<String> {
    let mut inputs: Vec<TensorIr> = op.inputs().cloned().collect();
    inputs.dedup();
    let outputs = op.outputs().cloned().collect();
    let graph = TensorGraph { inputs, ops: vec![op], outputs };
    let n = graph.inputs.len();
    (1..1 << n)
        .flat_map(|choice| {
            let marked: Vec<bool> = (0..n).map(|i| choice >> i & 1 == 1).collect();
            check_one(&graph, &marked)
        })
        .collect()
}

fn is_never_looped(op: OperationIr) {
    let looped = check(op);
    assert!(looped.is_empty(), "{looped:?}");
}

#[test]
fn products_of_matrices() {
    use FloatOperationIr::Matmul;
    for (x, y) in [
        (&[2, 3][..], &[3, 4][..]),
        (&[2, 2, 3], &[2, 3, 4]),
        (&[2, 2, 3], &[1, 3, 4]),
        (&[1, 2, 3], &[2, 3, 4]),
        (&[2, 1, 2, 3], &[1, 2, 3, 4]),
    ] {
        let op = MatmulOpIr::create(float(0, x), float(1, y), out);
        is_never_looped(OperationIr::Float(DType::F64, Matmul(op)));
        let op = MatmulOpIr::create(int(0, x), int(1, y), out);
        is_never_looped(OperationIr::Int(IntOperationIr::Matmul(op)));
    }
}

#[test]
fn dense_layers() {
    use ModuleOperationIr as Op;
    let (x, w, b) = (float(0, &[2, 3, 4]), float(1, &[4, 5]), float(2, &[5]));
    for bias in [None, Some(b)] {
        let op = LinearOpIr::create(x.clone(), w.clone(), bias, out);
        is_never_looped(OperationIr::Module(Op::Linear(op)));
    }
    let g = float(3, &[2, 3, 5]);
    let op = LinearXBackwardOpIr::create(w, g.clone(), out);
    assert_eq!(check(OperationIr::Module(Op::LinearXBackward(op))).len(), 1);
    let op = LinearWeightBackwardOpIr::create(x, g.clone(), out);
    assert_eq!(check(OperationIr::Module(Op::LinearWeightBackward(op))).len(), 1);
    is_never_looped(OperationIr::Module(Op::LinearBiasBackward(LinearBiasBackwardOpIr::create(
        g, out,
    ))));
}

/// Every kind of tensor that a base operation takes.
fn on_every_kind(
    create: impl Fn(fn(u64, &[usize]) -> TensorIr) -> BaseOperationIr,
) -> BTreeSet<String> {
    let mut looped = check(OperationIr::BaseFloat(create(float)));
    looped.extend(check(OperationIr::BaseInt(create(int))));
    looped.extend(check(OperationIr::BaseBool(create(bool))));
    looped
}

#[test]
fn selections() {
    use BaseOperationIr as Op;
    for axis in 0..3 {
        let looped = on_every_kind(|x| {
            Op::Select(SelectOpIr::create(x(0, &[3, 4, 3]), axis, int(1, &[2]), out))
        });
        assert!(looped.is_empty());
        let mut shape = [3, 4, 3];
        shape[axis] = 2;
        let (i, update) = (int(1, &[2]), IndexingUpdateOp::Add);
        let op =
            SelectAssignOpIr::create(float(0, &[3, 4, 3]), axis, i, float(2, &shape), update, out);
        is_never_looped(OperationIr::BaseFloat(Op::SelectAssign(op)));
        let op = GatherOpIr::create(float(0, &[3, 4, 3]), axis, int(1, &[3, 4, 3]), out);
        is_never_looped(OperationIr::BaseFloat(Op::Gather(op)));
        let (i, v) = (int(1, &[3, 4, 3]), float(2, &[3, 4, 3]));
        let op = ScatterOpIr::create(float(0, &[3, 4, 3]), axis, i, v, update, out);
        is_never_looped(OperationIr::BaseFloat(Op::Scatter(op)));
    }
}

#[test]
fn selections_by_several_indices() {
    use BaseOperationIr as Op;
    let op = GatherNdOpIr::create(float(0, &[3, 3, 2]), int(1, &[4, 2]), out);
    assert_eq!(check(OperationIr::BaseFloat(Op::GatherNd(op))).len(), 1);
    let (x, i, v) = (float(0, &[3, 3, 2]), int(1, &[4, 2]), float(2, &[4, 2]));
    let op = ScatterNdOpIr::create(x, i, v, IndexingUpdateOp::Add, out);
    assert_eq!(check(OperationIr::BaseFloat(Op::ScatterNd(op))).len(), 1);
}

#[test]
fn embeddings() {
    use ModuleOperationIr as Op;
    let (w, i) = (float(0, &[3, 4]), int(1, &[2, 5]));
    let op = EmbeddingOpIr::create(w.clone(), i.clone(), out);
    is_never_looped(OperationIr::Module(Op::Embedding(op)));
    let op = EmbeddingBackwardOpIr::create(w, float(2, &[2, 5, 4]), i, out);
    is_never_looped(OperationIr::Module(Op::EmbeddingBackward(op)));
}

#[test]
fn rearrangements() {
    use BaseOperationIr as Op;
    let looped = [
        on_every_kind(|x| Op::Reshape(ShapeOpIr::reshape(x(0, &[2, 6]), [3, 4].into(), out))),
        on_every_kind(|x| Op::Expand(ShapeOpIr::expand(x(0, &[1, 3]), [2, 4, 3].into(), out))),
        on_every_kind(|x| Op::SwapDims(SwapDimsOpIr::create(x(0, &[2, 3, 4]), 0, 2, out))),
        on_every_kind(|x| Op::Permute(PermuteOpIr::create(x(0, &[2, 3, 4]), vec![2, 0, 1], out))),
        on_every_kind(|x| Op::Flip(FlipOpIr::create(x(0, &[2, 3, 4]), vec![0, 2], out))),
        on_every_kind(|x| Op::RepeatDim(RepeatDimOpIr::create(x(0, &[2, 3]), 1, 2, out))),
        on_every_kind(|x| Op::Cat(CatOpIr::create(vec![x(0, &[2, 3]), x(1, &[2, 1])], 1, out))),
        on_every_kind(|x| Op::Slice(SliceOpIr::create(x(0, &[4, 3]), vec![(1..3).into()], out))),
        on_every_kind(|x| {
            let (to, value) = (vec![(1..3).into(), (0..2).into()], x(1, &[2, 2]));
            Op::SliceAssign(SliceAssignOpIr::create(x(0, &[4, 3]), to, value, out))
        }),
        on_every_kind(|x| {
            let (mask, value) = (bool(1, &[2, 3]), x(2, &[2, 1]));
            Op::MaskWhere(MaskWhereOpIr::create(x(0, &[2, 3]), mask, value, out))
        }),
        on_every_kind(|x| {
            let (y, dtype) = (x(1, &[2, 3]), bool_dtype());
            Op::Equal(BinaryOpIr::create_comparison(x(0, &[2, 3]), y, dtype, out))
        }),
        on_every_kind(|x| Op::All(ReduceOpIr::create_bool(x(0, &[2, 3]), bool_dtype(), out))),
        on_every_kind(|x| Op::Any(ReduceOpIr::create_bool(x(0, &[2, 3]), bool_dtype(), out))),
        on_every_kind(|x| {
            Op::AnyDim(ReduceDimOpIr::create_bool(x(0, &[2, 3]), 1, 1, bool_dtype(), out))
        }),
    ];
    assert!(looped.iter().all(BTreeSet::is_empty), "{looped:?}");
}

#[test]
fn elements_and_reductions_of_integers() {
    use NumericOperationIr as Op;
    let (x, y) = (int(0, &[2, 3]), int(1, &[2, 3]));
    for variant in [Op::Add, Op::Sub, Op::Mul] {
        let op = BinaryOpIr::create(x.clone(), y.clone(), out);
        is_never_looped(OperationIr::NumericInt(int_dtype(), variant(op)));
    }
    for variant in [Op::Sum, Op::Max, Op::Min, Op::Prod] {
        let op = ReduceOpIr::create(x.clone(), out);
        is_never_looped(OperationIr::NumericInt(int_dtype(), variant(op)));
    }
    for variant in [Op::SumDim, Op::MaxDim, Op::ArgMax] {
        let op = ReduceDimOpIr::create(x.clone(), 1, 1, out);
        is_never_looped(OperationIr::NumericInt(int_dtype(), variant(op)));
    }
    for variant in [BoolOperationIr::And, BoolOperationIr::Or, BoolOperationIr::Xor] {
        let op = BinaryOpIr::create(bool(0, &[2, 3]), bool(1, &[2, 3]), out);
        is_never_looped(OperationIr::Bool(variant(op)));
    }
}

#[test]
fn several_outputs() {
    let x = float(0, &[4, 3]);
    let mut id = OUT;
    let op = SortWithIndicesOpIr::create(x, 1, true, int_dtype(), || {
        id += 1;
        TensorId::new(id)
    });
    is_never_looped(OperationIr::NumericFloat(DType::F64, NumericOperationIr::SortWithIndices(op)));
}

fn conv_options(groups: usize) -> Conv2dOptionsIr {
    Conv2dOptionsIr { stride: [2, 1], padding: [(1, 1), (0, 0)], dilation: [1, 2], groups }
}

#[test]
fn convolutions() {
    use ModuleOperationIr as Op;
    for groups in [1, 2] {
        let options = conv_options(groups);
        let (x, w, b) = (float(0, &[2, 4, 6, 5]), float(1, &[6, 4 / groups, 3, 2]), float(2, &[6]));
        for bias in [None, Some(b.clone())] {
            let op = Conv2dOpIr::create(x.clone(), w.clone(), bias, options.clone(), out);
            check(OperationIr::Module(Op::Conv2d(op)));
        }
        let op = Conv2dOpIr::create(x.clone(), w.clone(), None, options.clone(), out);
        let mut g = op.out;
        g.id = TensorId::new(3);
        let op = Conv2dXBackwardOpIr::create(x.clone(), w.clone(), g.clone(), options.clone(), out);
        check(OperationIr::Module(Op::Conv2dXBackward(op)));
        let op = Conv2dWeightBackwardOpIr::create(x.clone(), w, g.clone(), options, out);
        check(OperationIr::Module(Op::Conv2dWeightBackward(op)));
        let op = Conv2dBiasBackwardOpIr::create(x, b, g, out);
        is_never_looped(OperationIr::Module(Op::Conv2dBiasBackward(op)));
    }
}

#[test]
fn transposed_convolutions() {
    use ModuleOperationIr as Op;
    for groups in [1, 2] {
        let options = ConvTranspose2dOptionsIr {
            stride: [2, 1],
            padding: [1, 0],
            padding_out: [1, 0],
            dilation: [1, 2],
            groups,
        };
        let (x, w, b) = (float(0, &[2, 4, 3, 5]), float(1, &[4, 6 / groups, 3, 2]), float(2, &[6]));
        for bias in [None, Some(b.clone())] {
            let op = ConvTranspose2dOpIr::create(x.clone(), w.clone(), bias, options.clone(), out);
            check(OperationIr::Module(Op::ConvTranspose2d(op)));
        }
        let op = ConvTranspose2dOpIr::create(x.clone(), w.clone(), None, options.clone(), out);
        let mut g = op.out;
        g.id = TensorId::new(3);
        let op = ConvTranspose2dWeightBackwardOpIr::create(x.clone(), w, g.clone(), options, out);
        check(OperationIr::Module(Op::ConvTranspose2dWeightBackward(op)));
        let op = ConvTranspose2dBiasBackwardOpIr::create(x, b, g, out);
        is_never_looped(OperationIr::Module(Op::ConvTranspose2dBiasBackward(op)));
    }
}

/// Of the gradients of a convolution without groups, one batched factor is never looped over.
#[test]
fn one_batched_factor_of_a_convolution_is_folded() {
    use ModuleOperationIr as Op;
    let (x, w) = (float(0, &[2, 4, 6, 5]), float(1, &[6, 4, 3, 2]));
    let op = Conv2dOpIr::create(x.clone(), w.clone(), None, conv_options(1), out);
    let mut g = op.out.clone();
    g.id = TensorId::new(3);
    let x_backward =
        Conv2dXBackwardOpIr::create(x.clone(), w.clone(), g.clone(), conv_options(1), out);
    let w_backward = Conv2dWeightBackwardOpIr::create(x, w, g, conv_options(1), out);
    for op in
        [Op::Conv2d(op), Op::Conv2dXBackward(x_backward), Op::Conv2dWeightBackward(w_backward)]
    {
        let op = OperationIr::Module(op);
        let (inputs, outputs) = (op.inputs().cloned().collect::<Vec<_>>(), op.outputs().cloned());
        let (n, outputs) = (inputs.len(), outputs.collect());
        let graph = TensorGraph { inputs, ops: vec![op], outputs };
        for batched in 0..n {
            let marked: Vec<bool> = (0..n).map(|i| i == batched).collect();
            assert!(check_one(&graph, &marked).is_empty());
        }
    }
}

#[test]
fn normalization() {
    use ModuleOperationIr as Op;
    let (x, c) = (float(0, &[2, 3, 4]), |id| float(id, &[3]));
    let epsilon = ScalarIr::Float(2.0);
    let op = BatchNormOpIr::create(x.clone(), c(1), c(2), c(3), c(4), epsilon, out);
    is_never_looped(OperationIr::Module(Op::BatchNorm(op)));
    let op = LayerNormOpIr::create(x, float(1, &[4]), Some(float(2, &[4])), 0.1, out);
    assert_eq!(check(OperationIr::Module(Op::LayerNorm(op))).len(), 1);
}
