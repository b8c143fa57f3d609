//! What burn's tensor API does not record (it writes the CTC loss out itself), on a graph made by
//! hand; what it records has rows in `tests/suite/rules/`.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation, module};
use burn_dispatch::{Dispatch, DispatchTensor};
use burn_ir::*;

use crate::capture::{LossGraph, Source};
use crate::ir::TensorGraph;
use crate::ir::replay::Value;
use crate::program::Program;

fn tensor(id: u64, shape: &[usize], dtype: DType) -> TensorIr {
    TensorIr::uninit(TensorId::new(id), shape.to_vec().into(), dtype)
}

/// Four steps, two sequences, three classes, of which 0 is the blank.
const SHAPE: [usize; 3] = [4, 2, 3];

fn ctc_graph(device: &Device) -> LossGraph {
    let int = device.settings().int_dtype.into();
    let inputs = vec![
        tensor(0, &SHAPE, DType::F64),
        tensor(1, &[2, 2], int),
        tensor(2, &[2], int),
        tensor(3, &[2], int),
    ];
    let (out, sum) = (tensor(4, &[2], DType::F64), tensor(5, &[1], DType::F64));
    let ctc = CtcLossOpIr {
        log_probs: inputs[0].clone(),
        targets: inputs[1].clone(),
        input_lengths: inputs[2].clone(),
        target_lengths: inputs[3].clone(),
        blank: 0,
        out: out.clone(),
    };
    let total = ReduceOpIr { input: out, out: sum.clone() };
    let ops = vec![
        OperationIr::Module(ModuleOperationIr::CtcLoss(ctc)),
        OperationIr::NumericFloat(DType::F64, NumericOperationIr::Sum(total)),
    ];
    LossGraph {
        graph: TensorGraph { inputs, ops, outputs: vec![sum] },
        sources: (0..4).map(|i| if i == 0 { Source::Param(0) } else { Source::Batch(i) }).collect(),
        constants: Vec::new(),
        n_params: 1,
        settings: device.settings(),
        training_means: Vec::new(),
        reference: None,
    }
}

fn log_probs(device: &Device) -> Tensor<3> {
    let scores: Vec<f64> = (0..24).map(|i| (1.7 * i as f64).sin()).collect();
    let scores = Tensor::from_data(TensorData::new(scores, SHAPE), (device, DType::F64));
    activation::log_softmax(scores, 2)
}

fn labels(device: &Device) -> [DispatchTensor; 3] {
    let lengths = |values: [i64; 2]| Tensor::<1, Int>::from_ints(values, device).into_dispatch();
    let targets = Tensor::<2, Int>::from_ints([[1, 2], [2, 0]], device).into_dispatch();
    [targets, lengths([4, 3]), lengths([2, 1])]
}

#[test]
fn a_recorded_ctc_loss_is_written_out() {
    let device = Device::flex();
    let expanded = ctc_graph(&device).expand().unwrap();
    assert!(!expanded.to_string().contains("CtcLoss"), "{expanded}");

    let gradient = expanded.differentiate().unwrap();
    let mut inputs = vec![log_probs(&device).into_dispatch()];
    inputs.extend(labels(&device));
    let input_of = |source: &Source| match source {
        Source::Param(_) => inputs[0].clone(),
        Source::Batch(i) => inputs[*i].clone(),
        Source::Fixed(data) => {
            match Value::<Dispatch>::from_data(data.clone(), device.as_dispatch()) {
                Value::Float(t) | Value::Int(t) | Value::Bool(t) => t,
            }
        }
        other => panic!("{other:?}"),
    };
    let values: Vec<_> = gradient.sources.iter().map(input_of).collect();
    let outputs = Program::compile(gradient.graph).run(values, &device).unwrap();

    let x = log_probs(&device.clone().autodiff()).require_grad();
    let [targets, steps, lengths] = labels(&device);
    let int = |t: DispatchTensor| Tensor::<1, Int>::from_dispatch(t).autodiff();
    let targets = Tensor::<2, Int>::from_dispatch(targets).autodiff();
    let loss = module::ctc_loss(x.clone(), targets, int(steps), int(lengths), 0).sum();
    let value: f64 = loss.clone().into_scalar();
    let expected = x.grad(&loss.backward()).unwrap().into_data();
    let found = Tensor::<1>::from_dispatch(outputs[0].clone()).into_scalar::<f64>();
    // Some thirty operations of f64 on numbers of order one.
    assert!((found - value).abs() < 1e-13, "{found} {value}");
    let ours = Tensor::<3>::from_dispatch(outputs[1].clone()).into_data();
    for (a, b) in ours.iter::<f64>().zip(expected.iter::<f64>()) {
        assert!((a - b).abs() < 1e-13, "{a} {b}");
    }
}

#[test]
fn a_graph_with_nothing_to_expand_stays_as_it_is() {
    let device = Device::flex();
    let expanded = ctc_graph(&device).expand().unwrap();
    assert_eq!(expanded.expand().unwrap().graph, expanded.graph);
}
