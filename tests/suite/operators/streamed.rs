//! The Hessian over data that a closure loads.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use burn_sharpness::operator::{ChunkMemory, FullBatchHessian, StreamedHessian};
use burn_sharpness::prelude::*;
use burn_sharpness::{Error, Result};

use super::curvature::{cross_entropy, parameters};
use super::*;

fn loss(model: &Mlp, (x, y): Samples<2>) -> Tensor<1> {
    cross_entropy(model.forward(x), y, ())
}

fn slice((x, y): &Samples<2>, range: &Range<usize>) -> Samples<2> {
    let narrow = |start, len| (x.clone().narrow(0, start, len), y.clone().narrow(0, start, len));
    narrow(range.start, range.len())
}

#[test]
fn it_is_the_hessian_of_all_samples_for_every_chunk_size() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let before = parameters(&model);
    let whole = HessianOperator::new(&model, data.clone(), loss).unwrap();
    let dense = whole.to_dense().unwrap();
    for chunk_size in [1, 2, 3, 7, 100] {
        let load = |range: Range<usize>| Ok(slice(&data, &range));
        let sizes = (7, chunk_size);
        let streamed = StreamedHessian::new(&model, sizes, load, loss, Mode::Train).unwrap();
        check_dense(&streamed, &dense, &format!("chunks of {chunk_size}"));
        assert!((streamed.loss() - whole.loss()).abs() <= F64 * whole.loss());
        let gradients = (streamed.gradient().to_values().unwrap(), whole.gradient());
        assert_close(&gradients.0, &gradients.1.to_values().unwrap(), F64, "gradient");
    }
    assert_eq!(before, parameters(&model));
}

/// Each product loads each chunk once, in order, and nothing else.
#[test]
fn a_product_loads_every_chunk_once() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let loaded = RefCell::new(Vec::new());
    let load = |range: Range<usize>| {
        loaded.borrow_mut().push(range.clone());
        Ok(slice(&data, &range))
    };
    let streamed = StreamedHessian::new(&model, (7, 3), load, loss, Mode::Train).unwrap();
    loaded.borrow_mut().clear();
    let v = streamed.gradient().clone();
    streamed.apply(&v).unwrap();
    assert_eq!(*loaded.borrow(), [0..3, 3..6, 6..7]);
    assert_eq!(streamed.n_applies(), 1);
}

/// As in memory, chunk by chunk, noise included.
#[test]
fn modes_are_those_of_the_hessian_in_memory() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let noisy = |model: &Mlp, (x, y): Samples<2>| {
        let noise = Tensor::random_like(&x, burn::tensor::Distribution::Normal(0.0, 0.3));
        loss(model, (x + noise, y))
    };
    let mode = Mode::TrainWithNoise { seed: 5 };
    let load = |range: Range<usize>| Ok(slice(&data, &range));
    let streamed = StreamedHessian::new(&model, (7, 3), load, noisy, mode).unwrap();
    let memory = ChunkMemory::Recompute;
    let in_memory = FullBatchHessian::in_mode(&model, &data, noisy, 3, memory, mode).unwrap();
    check_dense(&streamed, &in_memory.to_dense().unwrap(), "noise");
}

#[test]
fn bad_data_and_bad_losses_are_errors() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let load = |range: Range<usize>| Ok(slice(&data, &range));
    let error = |sizes, loss: fn(&Mlp, Samples<2>) -> Tensor<1>| {
        StreamedHessian::new(&model, sizes, load, loss, Mode::Train).map(drop).unwrap_err()
    };
    assert!(matches!(error((7, 0), loss), Error::InvalidSetting { setting: "chunk_size", .. }));
    assert!(matches!(error((0, 3), loss), Error::EmptyBatch { .. }));
    let sum = |model: &Mlp, (x, _): Samples<2>| model.forward(x).powi_scalar(2).sum();
    assert!(matches!(error((7, 3), sum), Error::NotAMeanOverSamples { .. }));
    // Of a data set that ends earlier: a smaller chunk, or a panic of burn's for an empty one.
    let short = |range: Range<usize>| Ok(slice(&data, &(range.start..range.end.min(6))));
    let error = StreamedHessian::new(&model, (7, 4), short, loss, Mode::Train).map(drop);
    assert_eq!(error.unwrap_err(), Error::SampleCountMismatch { expected: 3, found: 2 });
    let error = StreamedHessian::new(&model, (7, 3), short, loss, Mode::Train).map(drop);
    let error = error.unwrap_err();
    assert!(matches!(&error, Error::Execution { message } if message.contains("6..7")), "{error}");
    // Errors of the loader come through.
    let message = "no such file".to_string();
    let failing = |_: Range<usize>| -> Result<Samples<2>> {
        Err(Error::Execution { message: message.clone() })
    };
    let error = StreamedHessian::new(&model, (7, 3), failing, loss, Mode::Train).map(drop);
    assert_eq!(error.unwrap_err(), Error::Execution { message: message.clone() });
}

/// A loader that shuffles would give a product of no matrix.
#[test]
fn a_loader_that_changes_is_found_out() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let shift = Cell::new(0.0);
    let load = |range: Range<usize>| {
        let (x, y) = slice(&data, &range);
        Ok((x.add_scalar(shift.get()), y))
    };
    let streamed = StreamedHessian::new(&model, (7, 3), load, loss, Mode::Train).unwrap();
    let v = streamed.gradient().clone();
    assert!(streamed.apply(&v).is_ok());
    shift.set(0.5);
    let error = streamed.apply(&v).unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { setting: "load", .. }), "{error}");
}
