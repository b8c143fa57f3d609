//! The Hessian over data that a function loads.

use std::cell::{Cell, RefCell};

use burn_sharpness::operator::FullBatchHessian;
use burn_sharpness::prelude::*;
use burn_sharpness::{Error, Result};

use super::curvature::{cross_entropy, parameters};
use super::*;

const RECOMPUTE: ChunkMemory = ChunkMemory::Recompute;

fn loss(model: &Mlp, (x, y): Labelled<2>) -> Tensor<1> {
    cross_entropy(model.forward(x), y, ())
}

/// Rows one by one, from the host: nothing of what the crate does in memory.
fn rows((x, y): &Labelled<2>, indices: &[usize]) -> Labelled<2> {
    let [_, width] = x.dims();
    let (x, y) = (x.to_data(), y.to_data());
    let (x, y): (Vec<f64>, Vec<i64>) = (x.iter::<f64>().collect(), y.iter::<i64>().collect());
    let chosen: Vec<f64> = indices.iter().flat_map(|i| x[i * width..][..width].to_vec()).collect();
    let labels: Vec<i64> = indices.iter().map(|i| y[*i]).collect();
    let x = float(chosen, [indices.len(), width], DType::F64, &device());
    (x, Tensor::from_ints(labels.as_slice(), &device()))
}

#[test]
fn it_is_the_hessian_of_all_samples_for_every_chunk_size() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let before = parameters(&model);
    let whole = HessianOperator::new(&model, data.clone(), loss).unwrap();
    let dense = whole.to_dense().unwrap();
    let source = IndexedSamples::new(7, |indices: &[usize]| Ok(rows(&data, indices)));
    for chunk_size in [1, 2, 3, 7, 100] {
        for memory in [RECOMPUTE, ChunkMemory::Keep] {
            let streamed = FullBatchHessian::new(&model, &source, loss, chunk_size, memory);
            let streamed = streamed.unwrap();
            check_dense(&streamed, &dense, &format!("chunks of {chunk_size}"));
            assert!((streamed.loss() - whole.loss()).abs() <= F64 * whole.loss());
            let gradients = (streamed.gradient().to_values().unwrap(), whole.gradient());
            assert_close(&gradients.0, &gradients.1.to_values().unwrap(), F64, "gradient");
        }
    }
    assert_eq!(before, parameters(&model));
}

/// Each product, and each block of products, loads each chunk once, in order, and nothing else; none does
/// where chunks are kept.
#[test]
fn a_product_loads_every_chunk_once() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let loaded = RefCell::new(Vec::new());
    let source = IndexedSamples::new(7, |indices: &[usize]| {
        loaded.borrow_mut().push(indices.to_vec());
        Ok(rows(&data, indices))
    });
    let chunks = [vec![0, 1, 2], vec![3, 4, 5], vec![6]];
    for (memory, expected) in [(RECOMPUTE, &chunks[..]), (ChunkMemory::Keep, &[])] {
        loaded.borrow_mut().clear();
        let streamed = FullBatchHessian::new(&model, &source, loss, 3, memory).unwrap();
        // Four samples together and one by one are how the loss is tried.
        let mut made = loaded.borrow().clone();
        made.retain(|indices| chunks.contains(indices));
        assert_eq!((made, loaded.borrow().len()), (chunks.to_vec(), 3 + 1 + 4));
        loaded.borrow_mut().clear();
        let v = streamed.gradient().clone();
        let product = streamed.apply(&v).unwrap();
        assert_eq!((&loaded.borrow()[..], streamed.n_applies()), (expected, 1));
        loaded.borrow_mut().clear();
        let block = burn_sharpness::ParamBlock::from_vectors(&[v.clone(), product.clone()]);
        let products = streamed.apply_block(&block.unwrap()).unwrap();
        assert_eq!((&loaded.borrow()[..], streamed.n_applies()), (expected, 3));
        let (one, of_block) = (product.to_values().unwrap(), products.vector(0));
        assert_close(&of_block.to_values().unwrap(), &one, F64, "block");
    }
}

/// As in memory, chunk by chunk, noise included.
#[test]
fn modes_are_those_of_the_hessian_in_memory() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let noisy = |model: &Mlp, (x, y): Labelled<2>| {
        let noise = Tensor::random_like(&x, burn::tensor::Distribution::Normal(0.0, 0.3));
        loss(model, (x + noise, y))
    };
    let mode = Mode::TrainWithNoise { seed: 5 };
    let source = IndexedSamples::new(7, |indices: &[usize]| Ok(rows(&data, indices)));
    let streamed = FullBatchHessian::in_mode(&model, &source, noisy, 3, RECOMPUTE, mode).unwrap();
    let in_memory = FullBatchHessian::in_mode(&model, &data, noisy, 3, RECOMPUTE, mode).unwrap();
    check_dense(&streamed, &in_memory.to_dense().unwrap(), "noise");
}

#[test]
fn bad_data_and_bad_losses_are_errors() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let error = |n, chunk_size, loss: fn(&Mlp, Labelled<2>) -> Tensor<1>| {
        let source = IndexedSamples::new(n, |indices: &[usize]| Ok(rows(&data, indices)));
        let made = FullBatchHessian::new(&model, &source, loss, chunk_size, RECOMPUTE);
        made.map(drop).unwrap_err()
    };
    assert!(matches!(error(7, 0, loss), Error::InvalidSetting { setting: "chunk_size", .. }));
    assert!(matches!(error(0, 3, loss), Error::EmptyBatch { .. }));
    let sum = |model: &Mlp, (x, _): Labelled<2>| model.forward(x).powi_scalar(2).sum();
    assert!(matches!(error(7, 3, sum), Error::NotAMeanOverSamples { .. }));
    // Of a data set that ends earlier: a smaller chunk.
    let short = IndexedSamples::new(7, |indices: &[usize]| {
        let indices: Vec<_> = indices.iter().copied().filter(|i| *i < 6).collect();
        Ok(rows(&data, &indices))
    });
    let error = FullBatchHessian::new(&model, &short, loss, 4, RECOMPUTE).map(drop);
    assert_eq!(error.unwrap_err(), Error::LoadedSampleCount { asked: 3, found: 2 });
    // Errors of the source come through, and panics become one.
    let failing = IndexedSamples::new(7, |indices: &[usize]| -> Result<Labelled<2>> {
        Err(Error::load(indices, "no such file"))
    });
    let expected = Error::load(&[0, 1, 2], "no such file");
    let error = FullBatchHessian::new(&model, &failing, loss, 3, RECOMPUTE).map(drop);
    assert_eq!(error.unwrap_err(), expected);
    let panicking = IndexedSamples::new(7, |indices: &[usize]| {
        assert!(!indices.contains(&6), "no such file");
        Ok(rows(&data, indices))
    });
    let error = FullBatchHessian::new(&model, &panicking, loss, 3, RECOMPUTE).map(drop);
    assert_eq!(error.unwrap_err(), Error::load(&[6], "no such file"));
}

/// A source that shuffles would give a product of no matrix.
#[test]
fn a_source_that_changes_is_found_out() {
    let (model, data) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let (shift, width) = (Cell::new(0.0), Cell::new(4));
    let source = IndexedSamples::new(7, |indices: &[usize]| {
        let (x, y) = rows(&data, indices);
        Ok((x.add_scalar(shift.get()).narrow(1, 0, width.get()), y))
    });
    let streamed = FullBatchHessian::new(&model, &source, loss, 3, RECOMPUTE).unwrap();
    let v = streamed.gradient().clone();
    assert!(streamed.apply(&v).is_ok());
    let expected = Error::SamplesChanged { samples: vec![0, 1, 2] };
    shift.set(0.5);
    assert_eq!(streamed.apply(&v).unwrap_err(), expected);
    shift.set(0.0);
    assert!(streamed.apply(&v).is_ok());
    width.set(3);
    assert_eq!(streamed.apply(&v).unwrap_err(), expected);
}
