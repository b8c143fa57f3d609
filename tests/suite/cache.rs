//! Graph work happens once per kind of loss; a changed loss is never taken for an old one.

use burn::module::Param;
use burn::tensor::{DType, Device, Int, Tensor};
use burn_sharpness::Batch;
use burn_sharpness::graph::graph_work;
use burn_sharpness::prelude::*;

use crate::common::{Dense, float, wave};

type Pair = (Tensor<2>, Tensor<2>);

// Each test has a width of its own: the cache is shared by the process.
fn model(width: usize, dtype: DType) -> Dense {
    let device = Device::flex();
    Dense {
        weight: Param::from_tensor(float(wave(width * 2, 0.1), [width, 2], dtype, &device)),
        bias: Param::from_tensor(float(wave(2, 0.2), [2], dtype, &device)),
    }
}

fn data(n: usize, width: usize, dtype: DType) -> Pair {
    let device = Device::flex();
    let x = float(wave(n * width, 0.3), [n, width], dtype, &device);
    (x, float(wave(n * 2, 0.4), [n, 2], dtype, &device))
}

fn loss(model: &Dense, (x, y): Pair) -> Tensor<1> {
    (model.forward(x).tanh() - y).powi_scalar(2).mean()
}

/// Compilations and captures that `f` causes on this thread.
fn work(f: impl FnOnce()) -> (usize, usize) {
    let before = graph_work();
    f();
    let after = graph_work();
    (after.compilations - before.compilations, after.captures - before.captures)
}

#[test]
fn a_second_measurement_compiles_nothing() {
    let (model, set) = (model(31, DType::F32), data(12, 31, DType::F32));
    let mut monitor = MiniBatchSharpnessConfig::new(4).with_num_batches(5).init(loss);
    // One recording for the five batches of a measurement.
    assert_eq!(work(|| drop(monitor.measure(&model, &set).unwrap())), (1, 1));
    assert_eq!(work(|| drop(monitor.measure(&model, &set).unwrap())), (0, 1));
    assert_eq!(work(|| drop(model.sharpness(data(4, 31, DType::F32), loss).unwrap())), (0, 1));
    // A ragged last chunk is another shape.
    let mut full = FullBatchSharpnessConfig::new().with_chunk_size(5).init(loss);
    assert_eq!(work(|| drop(full.measure(&model, &set).unwrap())), (2, 2));
    assert_eq!(work(|| drop(full.measure(&model, &set).unwrap())), (0, 2));
}

#[test]
fn shape_and_dtype_are_part_of_the_key() {
    let hessian = |n, dtype| drop(model(32, dtype).hessian(data(n, 32, dtype), loss).unwrap());
    assert_eq!(work(|| hessian(4, DType::F32)).0, 1);
    assert_eq!(work(|| hessian(5, DType::F32)).0, 1);
    assert_eq!(work(|| hessian(4, DType::F64)).0, 1);
    assert_eq!(work(|| hessian(4, DType::F32)).0, 0);
}

#[test]
fn a_closure_that_changed_is_noticed() {
    let (model, batch) = (model(33, DType::F64), data(6, 33, DType::F64));
    let value = |weight_decay: f64, squares: bool| {
        let loss = move |m: &Dense, (x, y): Pair| {
            let error = m.forward(x) - y;
            let data =
                if squares { error.powi_scalar(2).mean() } else { error.powi_scalar(4).mean() };
            data + m.weight.val().powi_scalar(2).sum() * weight_decay
        };
        model.sharpness(batch.clone(), loss).unwrap().value
    };
    let plain = value(0.0, true);
    // Weight decay c‖W‖² adds 2c to the curvature of every weight; the top eigenvector also has a
    // bias part, to which nothing is added.
    let decayed = value(3.0, true);
    assert!(decayed > plain + 5.0 && decayed <= plain + 6.0 + 1e-6, "{plain} {decayed}");
    assert_ne!(value(0.0, false), plain);
    assert_eq!(value(0.0, true), plain);
}

#[test]
fn constants_are_bound_not_baked_in() {
    // The recorded graphs are equal, the constants' values are not.
    let (model, batch) = (model(34, DType::F64), data(6, 34, DType::F64));
    let value = |scale: f64| {
        let loss = move |m: &Dense, (x, y): Pair| {
            let scale = Tensor::<1>::from_data([scale].as_slice(), (&x.device(), DType::F64));
            ((m.forward(x) - y).powi_scalar(2) * scale.unsqueeze()).mean()
        };
        model.sharpness(batch.clone(), loss).unwrap().value
    };
    let one = value(1.0);
    let (three, graph) = (value(3.0), work(|| assert!((value(5.0) / one - 5.0).abs() < 1e-9)));
    assert!((three / one - 3.0).abs() < 1e-9);
    assert_eq!(graph, (0, 1));
}

#[test]
fn a_batch_with_other_fields_is_recorded_each_time() {
    #[derive(Clone)]
    struct Prefix {
        x: Tensor<2>,
        length: usize,
    }
    impl Batch for Prefix {
        const TENSORS_ONLY: bool = false;
        fn map_tensors<M: burn_sharpness::TensorMapper>(self, mapper: &mut M) -> Self {
            Self { x: self.x.map_tensors(mapper), length: self.length }
        }
    }
    let model = model(35, DType::F64);
    let loss = |m: &Dense, b: Prefix| m.forward(b.x.narrow(0, 0, b.length)).powi_scalar(2).mean();
    // One recording would serve both lanes.
    let prefix = |length| Prefix { x: data(6, 35, DType::F64).0, length };
    let lanes = |batches: &[Prefix]| {
        burn_sharpness::operator::HessianLanes::new(&model, batches, loss).map(|l| l.losses().len())
    };
    assert_eq!(lanes(&[prefix(3)]).unwrap(), 1);
    let error = lanes(&[prefix(3), prefix(6)]).unwrap_err();
    assert!(
        matches!(error, burn_sharpness::Error::InvalidSetting { setting: "batches", .. }),
        "{error:?}"
    );
    let value = |length| {
        let x = data(6, 35, DType::F64).0;
        model.hessian(Prefix { x, length }, loss).unwrap().loss()
    };
    assert_ne!(value(2), value(5));
    let chunks = FullBatchSharpnessConfig::new().with_chunk_size(3);
    let set = Prefix { x: data(6, 35, DType::F64).0, length: 2 };
    assert_eq!(work(|| drop(chunks.init(loss).measure(&model, &set).unwrap())).1, 2);
}

#[derive(Clone, Debug)]
struct Labelled {
    x: Tensor<2>,
    labels: Tensor<1, Int>,
}
burn_sharpness::batch!(Labelled { x, labels });

#[test]
fn a_struct_is_a_batch_by_one_line() {
    let device = Device::flex();
    let loss = |m: &Dense, b: Labelled| {
        let log_p = burn::tensor::activation::log_softmax(m.forward(b.x), 1);
        -log_p.gather(1, b.labels.unsqueeze_dim(1)).mean()
    };
    let x = data(6, 36, DType::F64).0;
    let labels = Tensor::from_ints([0, 1, 1, 0, 1, 0], &device);
    let model = model(36, DType::F64);
    let set = Labelled { x: x.clone(), labels: labels.clone() };
    let measured =
        MiniBatchSharpnessConfig::new(6).with_num_batches(1).init(loss).measure(&model, &set);
    let pair =
        |m: &Dense, (x, labels): (Tensor<2>, Tensor<1, Int>)| loss(m, Labelled { x, labels });
    let single = model.sharpness((x, labels), pair).unwrap();
    assert!((measured.unwrap().estimate.mean / single.value - 1.0).abs() < 1e-3);
}

#[test]
fn threads_measure_at_once() {
    let value = |n: usize| {
        let model = model(37, DType::F64);
        model.sharpness(data(n, 37, DType::F64), loss).unwrap().value
    };
    let expected: Vec<_> = (2..8).map(value).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (2..8).map(value).collect::<Vec<_>>())).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}

#[test]
fn a_measurement_inside_a_loss_works() {
    // Whoever nests them gets their own capture device, and thus the right number.
    let (model, batch) = (model(38, DType::F64), data(6, 38, DType::F64));
    let inner = model.sharpness(batch.clone(), loss).unwrap().value;
    let nested = |m: &Dense, b: Pair| {
        let weight = model.sharpness(batch.clone(), loss).unwrap().value;
        loss(m, b) * weight
    };
    let outer = model.sharpness(batch.clone(), nested).unwrap().value;
    assert!((outer / (inner * inner) - 1.0).abs() < 1e-9);
}
