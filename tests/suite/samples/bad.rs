//! Sources that do not answer as they should: typed errors, and a model as it was.

use std::cell::Cell;

use burn_sharpness::estimator::{CriticalSharpnessConfig, draw_batches};
use burn_sharpness::prelude::*;
use burn_sharpness::{Error, Result};

use super::{N, Net, Pair, batch, in_memory, loss, model, parameters};

/// The error of every kind of estimator; the model is left alone.
fn errors_of(data: &impl Samples<Batch = Pair>) -> [Error; 5] {
    let model = model();
    let before = parameters(&model);
    let mini = MiniBatchSharpnessConfig::new(4).init(loss).measure(&model, data).map(drop);
    let along = BatchSharpnessConfig::new(4).init(loss).measure(&model, data).map(drop);
    let full = FullBatchSharpnessConfig::new().init(loss).measure(&model, data).map(drop);
    let gap = SharpnessGapConfig::new(vec![4]).init(loss).measure(&model, data).map(drop);
    let critical = CriticalSharpnessConfig::new().init(loss).measure(&model, data).map(drop);
    assert_eq!(before, parameters(&model));
    [mini, along, full, gap, critical].map(Result::unwrap_err)
}

#[test]
fn sources_that_fail_or_panic() {
    let failing = IndexedSamples::new(N, |indices: &[usize]| -> Result<Pair> {
        Err(Error::load(indices, "the disk is gone"))
    });
    for error in errors_of(&failing) {
        let message = "the disk is gone".to_string();
        assert!(matches!(&error, Error::Load { message: m, .. } if *m == message), "{error}");
    }
    let panicking = IndexedSamples::new(N, |_: &[usize]| -> Result<Pair> { panic!("no disk") });
    for error in errors_of(&panicking) {
        assert!(matches!(&error, Error::Load { message, .. } if message == "no disk"), "{error}");
    }
    let error = panicking.select(&[3]).unwrap_err();
    assert_eq!(error, Error::load(&[3], "no disk"));
    assert!(error.to_string().starts_with("loading sample 3 failed: no disk; check that"));
}

/// An implementation of the trait that panics everywhere.
struct Panicking;

impl Samples for Panicking {
    type Batch = Pair;

    fn n_samples(&self) -> Result<usize> {
        panic!("not even that")
    }

    fn select(&self, _: &[usize]) -> Result<Pair> {
        panic!("nor this")
    }
}

#[test]
fn sources_that_cannot_be_counted_or_are_empty() {
    for error in errors_of(&Panicking) {
        assert_eq!(error, Error::load(&[], "not even that"));
    }
    let empty = IndexedSamples::new(0, |indices: &[usize]| Ok(batch(indices)));
    for error in errors_of(&empty) {
        assert_eq!(error, Error::EmptyBatch { tensor: 0, shape: vec![0] });
    }
}

#[test]
fn sources_that_give_too_few_or_too_many() {
    let fewer = IndexedSamples::new(N, |indices: &[usize]| Ok(batch(&indices[1..])));
    let twice = IndexedSamples::new(N, |indices: &[usize]| Ok(batch(&indices.repeat(2))));
    for error in errors_of(&fewer) {
        assert!(
            matches!(error, Error::LoadedSampleCount { asked, found } if found + 1 == asked),
            "{error}"
        );
    }
    for error in errors_of(&twice) {
        assert!(
            matches!(error, Error::LoadedSampleCount { asked, found } if found == 2 * asked),
            "{error}"
        );
    }
}

/// Needs a second backend: `cargo test --features ndarray`.
#[cfg(feature = "ndarray")]
#[allow(deprecated)] // by burn, which still ships it
#[test]
fn sources_of_another_device() {
    let there = burn::tensor::Device::ndarray();
    let elsewhere = IndexedSamples::new(N, |indices: &[usize]| {
        let (x, y) = batch(indices);
        Ok((x, y.to_device(&there)))
    });
    for error in errors_of(&elsewhere) {
        assert!(
            matches!(&error, Error::DeviceMismatch { name, .. } if name == "batch tensor 1"),
            "{error}"
        );
    }
}

#[test]
fn numbers_beyond_the_last() {
    let expected = Error::SampleIndex { index: N, n_samples: N };
    let source = IndexedSamples::new(N, |indices: &[usize]| Ok(batch(indices)));
    assert_eq!(source.select(&[0, N, 1]).unwrap_err(), expected);
    assert_eq!(source.range(N - 1..N + 1).unwrap_err(), expected);
    assert_eq!(in_memory().select(&[0, N, 1]).unwrap_err(), expected);
    assert_eq!(in_memory().range(N - 1..N + 1).unwrap_err(), expected);
    let none = Error::EmptyBatch { tensor: 0, shape: vec![0] };
    assert_eq!(source.select(&[]).unwrap_err(), none);
    assert_eq!(in_memory().select(&[]).unwrap_err(), none);
    assert_eq!(in_memory().range(3..3).unwrap_err(), none);
}

/// A source that augments is found out wherever a loss is computed twice.
#[test]
fn sources_that_give_another_batch_each_time() {
    let calls = Cell::new(0.0);
    let augmenting = IndexedSamples::new(N, |indices: &[usize]| {
        calls.set(calls.get() + 0.1);
        let (x, y) = batch(indices);
        Ok((x.add_scalar(calls.get()), y))
    });
    let full = FullBatchSharpnessConfig::new().with_memory(ChunkMemory::Recompute);
    let error = full.init(loss).measure(&model(), &augmenting).unwrap_err();
    assert_eq!(error, Error::SamplesChanged { samples: (0..N).collect() });
    let critical = CriticalSharpnessConfig::new().init(loss).measure(&model(), &augmenting);
    assert_eq!(critical.unwrap_err(), Error::SamplesChanged { samples: (0..N).collect() });
}

/// A source that says that it is row-wise, and widens a batch with a certain sample, as padding would.
struct Padding(usize);

impl Samples for Padding {
    type Batch = Pair;

    fn n_samples(&self) -> Result<usize> {
        Ok(N)
    }

    fn select(&self, indices: &[usize]) -> Result<Pair> {
        let (x, y) = batch(indices);
        Ok((x.narrow(1, 0, 3).repeat_dim(1, if indices.contains(&self.0) { 3 } else { 2 }), y))
    }

    fn is_row_wise(&self) -> bool {
        true
    }
}

#[test]
fn rows_that_are_none() {
    let batches = draw_batches(Sampling::WithoutReplacement, N, 4, 16, 0, 0).unwrap();
    let later = *batches[1].iter().find(|i| !batches[0].contains(i)).unwrap();
    // Several batches side by side, and one at a time.
    for memory_mib in [64, 0] {
        let config = MiniBatchSharpnessConfig::new(4).with_memory_mib(memory_mib);
        // Without the width of six that the model takes, the loss itself would fail.
        let narrow = |model: &Net, (x, y): Pair| loss(model, (x.narrow(1, 0, 6), y));
        let error = config.init(narrow).measure(&model(), &Padding(later)).unwrap_err();
        assert!(matches!(error, Error::SamplesChanged { .. }), "{error}");
    }
}
