//! Data sets that are not tensors in memory: the same numbers, and errors for those that do not answer.

mod bad;
#[cfg(feature = "train")]
mod burn_data;
mod ragged;
#[cfg(feature = "train")]
mod training;

use std::cell::RefCell;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::Result;
use burn_sharpness::estimator::{
    ContractionConfig, CriticalSharpnessConfig, GradientNoiseConfig, MiniBatchExtremesConfig,
    NoiseKernelConfig, draw_batches,
};
use burn_sharpness::prelude::*;

use crate::common::{Dense, float, wave};

type Pair = (Tensor<2>, Tensor<2>);

const N: usize = 20;

#[derive(Module, Debug)]
struct Net {
    hidden: Dense,
    head: Dense,
}

fn model() -> Net {
    Net { hidden: Dense::wavy(6, 8, 0.1), head: Dense::wavy(8, 3, 0.7) }
}

fn loss(model: &Net, (x, y): Pair) -> Tensor<1> {
    let hidden = model.hidden.forward(x).tanh();
    (model.head.forward(hidden) - y).powi_scalar(2).sum_dim(1).mean()
}

/// The numbers of sample i: six inputs and three targets.
fn item(i: usize) -> (Vec<f64>, Vec<f64>) {
    (wave(6, 0.3 + 1.1 * i as f64), wave(3, 0.4 + 0.7 * i as f64))
}

/// Some samples as one batch, made on the host.
fn batch(indices: &[usize]) -> Pair {
    let (x, y): (Vec<_>, Vec<_>) = indices.iter().map(|&i| item(i)).unzip();
    let device = Device::flex();
    let (n, x, y) = (indices.len(), x.concat(), y.concat());
    (float(x, [n, 6], DType::F64, &device), float(y, [n, 3], DType::F64, &device))
}

fn in_memory() -> Pair {
    batch(&(0..N).collect::<Vec<_>>())
}

/// Every parameter, bit by bit.
fn parameters(model: &Net) -> Vec<u64> {
    struct Collect(Vec<u64>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().to_data().iter::<f64>().map(f64::to_bits));
        }
    }
    let mut collect = Collect(Vec::new());
    model.visit(&mut collect);
    collect.0
}

/// What every estimator finds, twice each where a second measurement starts from the first.
fn measured<S: Samples<Batch = Pair>>(data: &S) -> Vec<(&'static str, Vec<f64>)> {
    let model = model();
    let before = parameters(&model);
    let mut found = Vec::new();
    let mut add = |what, values: Vec<f64>| found.push((what, values));
    // A target that is not reached: groups of four batches, then of one.
    let mini = MiniBatchSharpnessConfig::new(4).with_num_batches(7).with_min_batches(4);
    let mut mini = mini.with_target_relative_error(Some(1e-9)).init(loss);
    for _ in 0..2 {
        let measured = mini.measure(&model, data).unwrap();
        add("mini-batch sharpness", [measured.values, measured.residual_norms].concat());
    }
    let mut along = BatchSharpnessConfig::new(5).with_num_batches(6).init(loss);
    add("batch sharpness", along.measure(&model, data).unwrap().values);
    let buffer = model.hessian(in_memory(), loss).unwrap().gradient().clone();
    let momentum = along.measure_momentum(&model, data, 0.9, &buffer).unwrap();
    add("momentum sharpness", momentum.values.iter().map(|v| v.curvature).collect());
    for (chunk, memory) in [
        (6, ChunkMemory::Keep),
        (6, ChunkMemory::Recompute),
        (N, ChunkMemory::Keep),
        (99, ChunkMemory::Recompute),
    ] {
        let full = FullBatchSharpnessConfig::new().with_chunk_size(chunk).with_memory(memory);
        let mut full = full.init(loss);
        for _ in 0..2 {
            let top = full.measure(&model, data).unwrap();
            let numbers = vec![top.value, top.loss, top.residual_norm];
            add("full-batch sharpness", [numbers, top.vector.to_values().unwrap()].concat());
        }
    }
    let mut gap = SharpnessGapConfig::new(vec![2, 5]).with_num_batches(3).init(loss);
    let gap = gap.measure(&model, data).unwrap();
    let gaps = gap.gaps.iter().flat_map(|g| [g.gap.mean, g.plain.mean]);
    add("gap", gaps.chain(gap.second_order.map(|s| s.leading)).collect());
    for memory in [ChunkMemory::Keep, ChunkMemory::Recompute] {
        let noise = GradientNoiseConfig::new(4).with_learning_rate(Some(0.1)).with_memory(memory);
        let noise = noise.with_chunk_size(7).init(loss).measure(&model, data).unwrap();
        let step = noise.one_step.unwrap();
        let of_step = [step.measured.mean, step.measured_on_batch.mean, step.remainder.mean];
        add("gradient noise", [&[noise.curvature.mean][..], &of_step].concat());
    }
    let extremes = MiniBatchExtremesConfig::new(4).with_num_batches(3).init(loss);
    let extremes = { extremes }.measure(&model, data).unwrap();
    add("extremes", vec![extremes.max.mean, extremes.min.mean]);
    let kernel = NoiseKernelConfig::new(4, 0.05).init(loss).measure(&model, data).unwrap();
    add("noise kernel", vec![kernel.norm.mean, kernel.trace.mean]);
    let contraction = ContractionConfig::new(4, 0.05).with_num_samples(Some(9)).init(loss);
    let contraction = contraction.measure(&model, data).unwrap();
    add("contraction", vec![contraction.value, contraction.standard_error]);
    let mut critical = CriticalSharpnessConfig::new().with_chunk_size(7).init(loss);
    let critical = critical.measure(&model, data).unwrap();
    add("critical sharpness", vec![critical.bracket.0, critical.bracket.1, critical.slope]);
    assert_eq!(before, parameters(&model));
    found
}

/// Bit for bit: all sources make the same batches, and everything behind them is one path.
fn assert_same_numbers<S: Samples<Batch = Pair>>(data: &S) {
    for (expected, found) in measured(&in_memory()).into_iter().zip(measured(data)) {
        assert!(expected.1.iter().all(|value| value.is_finite()), "{expected:?}");
        assert_eq!(expected, found);
    }
}

#[test]
fn a_function_gives_the_numbers_of_tensors_in_memory() {
    assert_same_numbers(&IndexedSamples::new(N, |indices: &[usize]| Ok(batch(indices))));
}

/// Rows, and known to be: several batches in one call.
struct Rows;

impl Samples for Rows {
    type Batch = Pair;

    fn n_samples(&self) -> Result<usize> {
        Ok(N)
    }

    fn select(&self, indices: &[usize]) -> Result<Pair> {
        Ok(batch(indices))
    }

    fn is_row_wise(&self) -> bool {
        true
    }
}

#[test]
fn an_implementation_of_the_trait_gives_them_too_shared_or_not() {
    assert_same_numbers(&Rows);
    let shared: Arc<dyn Samples<Batch = Pair>> = Arc::new(Rows);
    assert!(shared.is_row_wise());
    assert_same_numbers(&shared);
    assert_same_numbers(&Arc::new(in_memory()));
}

#[test]
fn each_mini_batch_is_loaded_once_and_as_it_is() {
    let loaded = RefCell::new(Vec::new());
    let source = IndexedSamples::new(N, |indices: &[usize]| {
        loaded.borrow_mut().push(indices.to_vec());
        Ok(batch(indices))
    });
    let mut monitor = MiniBatchSharpnessConfig::new(4).with_num_batches(7).init(loss);
    monitor.measure(&model(), &source).unwrap();
    let expected = draw_batches(Sampling::WithoutReplacement, N, 4, 7, 0, 0).unwrap();
    assert_eq!(*loaded.borrow(), expected);
}

#[test]
fn tensors_in_memory_are_a_source_of_their_samples() {
    let data = in_memory();
    assert_eq!(data.n_samples().unwrap(), N);
    let values = |(x, y): Pair| -> Vec<f64> {
        x.into_data().iter::<f64>().chain(y.into_data().iter::<f64>()).collect()
    };
    let indices = [3, 19, 3, 0];
    assert_eq!(values(data.select(&indices).unwrap()), values(batch(&indices)));
    assert_eq!(values(data.range(4..7).unwrap()), values(batch(&[4, 5, 6])));
    assert_eq!(values(data.range(0..N).unwrap()), values(data));
}
