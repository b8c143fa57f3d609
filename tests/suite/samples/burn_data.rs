//! burn's data sets, batchers and loaders as sources.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::{Dataset, DatasetError, InMemDataset};
use burn::tensor::{Device, Int, Tensor};
use burn_sharpness::prelude::*;
use burn_sharpness::{Batch, DatasetSamples, Error, TensorMapper, read_loader};

use super::{N, Pair, assert_same_numbers, batch, in_memory, loss, model, parameters};

/// The item is the number of the sample.
#[derive(Clone)]
pub struct ByNumber;

impl Batcher<usize, Pair> for ByNumber {
    fn batch(&self, items: Vec<usize>, _: &Device) -> Pair {
        batch(&items)
    }
}

pub fn numbers() -> InMemDataset<usize> {
    InMemDataset::new((0..N).collect())
}

fn loader(batch_size: usize, workers: usize) -> Arc<dyn DataLoader<Pair>> {
    let builder = DataLoaderBuilder::new(ByNumber).batch_size(batch_size).num_workers(workers);
    builder.set_device(Device::flex()).build(numbers())
}

fn dataset_samples(dataset: impl Dataset<usize> + 'static) -> DatasetSamples<usize, Pair> {
    DatasetSamples::new(Arc::new(dataset), Arc::new(ByNumber), &Device::flex())
}

#[test]
fn a_dataset_and_its_batcher_give_the_numbers_of_tensors_in_memory() {
    assert_same_numbers(&dataset_samples(numbers()));
}

/// Batches of 7, 7, 6, and one batch of all.
#[test]
fn one_pass_of_a_loader_is_the_data_set() {
    for (batch_size, workers) in [(7, 0), (N, 0), (100, 0), (6, 1)] {
        let (x, y) = read_loader(loader(batch_size, workers).as_ref()).unwrap();
        assert_eq!(x.to_data(), in_memory().0.to_data(), "{batch_size} {workers}");
        assert_eq!(y.to_data(), in_memory().1.to_data(), "{batch_size} {workers}");
    }
    assert_same_numbers(&read_loader(loader(7, 0).as_ref()).unwrap());
    // Several workers: the same samples, in the order in which they come.
    let sorted = |x: Tensor<2>| {
        let mut first: Vec<f64> = x.narrow(1, 0, 1).into_data().iter().collect();
        first.sort_by(f64::total_cmp);
        first
    };
    let (x, _) = read_loader(loader(3, 3).as_ref()).unwrap();
    assert_eq!(sorted(x), sorted(in_memory().0));
}

/// Fails, or panics, at one item.
struct Broken {
    at: usize,
    panics: bool,
}

impl Dataset<usize> for Broken {
    fn get(&self, index: usize) -> Result<usize, DatasetError> {
        match index {
            i if i == self.at && self.panics => panic!("item {i} is gone"),
            i if i == self.at => Err(DatasetError::new(std::io::Error::other("unreadable"))),
            i => Ok(i),
        }
    }

    fn len(&self) -> usize {
        N
    }
}

#[test]
fn items_that_cannot_be_read_are_named() {
    let (model, broken) = (model(), dataset_samples(Broken { at: 11, panics: false }));
    let before = parameters(&model);
    let error = broken.select(&[4, 11, 12]).unwrap_err();
    assert_eq!(error, Error::load(&[11], "unreadable"));
    assert!(broken.select(&[4, 12]).is_ok());
    let full = FullBatchSharpnessConfig::new().init(loss).measure(&model, &broken);
    assert_eq!(full.unwrap_err(), Error::load(&[11], "unreadable"));
    let mini = MiniBatchSharpnessConfig::new(15).init(loss).measure(&model, &broken);
    assert_eq!(mini.unwrap_err(), Error::load(&[11], "unreadable"));

    let panicking = dataset_samples(Broken { at: 11, panics: true });
    let error = panicking.select(&[4, 11]).unwrap_err();
    assert_eq!(error, Error::load(&[4, 11], "item 11 is gone"));
    let error = panicking.select(&[N]).unwrap_err();
    assert_eq!(error, Error::SampleIndex { index: N, n_samples: N });
    let empty = dataset_samples(InMemDataset::new(Vec::new()));
    let error = MiniBatchSharpnessConfig::new(1).init(loss).measure(&model, &empty).unwrap_err();
    assert_eq!(error, Error::EmptyBatch { tensor: 0, shape: vec![0] });
    assert_eq!(before, parameters(&model));
}

#[test]
fn loaders_that_fail_say_after_how_many_batches() {
    for workers in [0, 2] {
        for panics in [false, true] {
            let builder = DataLoaderBuilder::new(ByNumber).batch_size(4).num_workers(workers);
            let dataset = Broken { at: 11, panics };
            let loader = builder.set_device(Device::flex()).build(dataset);
            let error = read_loader(loader.as_ref()).unwrap_err();
            let Error::Loader { n_batches, message } = error else { panic!("{error}") };
            let expected = match (workers, panics) {
                // The thread's panic is its own: what is known is that the pass ended early.
                (2, true) => "it ended at item",
                (_, true) => "item 11 is gone",
                (_, false) => "unreadable",
            };
            assert!(message.contains(expected), "{workers} {panics}: {message}");
            assert!(n_batches == 2 || workers > 0, "{n_batches}");
        }
    }
    let builder = DataLoaderBuilder::new(ByNumber).batch_size(4).set_device(Device::flex());
    let empty = builder.build(InMemDataset::new(Vec::new()));
    let error = read_loader(empty.as_ref()).unwrap_err();
    assert_eq!(error, Error::EmptyBatch { tensor: 0, shape: vec![0] });
}

/// Rows as wide as the largest item of the batch.
#[derive(Clone)]
struct Growing;

impl Batcher<usize, Tensor<2, Int>> for Growing {
    fn batch(&self, items: Vec<usize>, device: &Device) -> Tensor<2, Int> {
        let width = items.iter().max().unwrap() + 1;
        Tensor::zeros([items.len(), width], device)
    }
}

#[derive(Clone, Debug)]
struct Flagged(Tensor<2, Int>, #[allow(dead_code)] usize);

impl Batch for Flagged {
    const TENSORS_ONLY: bool = false;
    fn map_tensors<M: TensorMapper>(self, mapper: &mut M) -> Self {
        Self(mapper.map(self.0), self.1)
    }
}

impl Batcher<usize, Flagged> for Growing {
    fn batch(&self, items: Vec<usize>, device: &Device) -> Flagged {
        Flagged(Tensor::zeros([items.len(), 2], device), items.len())
    }
}

#[test]
fn batches_that_are_no_parts_of_one() {
    let builder = DataLoaderBuilder::<usize, Tensor<2, Int>>::new(Growing).batch_size(4);
    let error = read_loader(builder.build(numbers()).as_ref()).unwrap_err();
    assert!(matches!(&error, Error::BatchesDoNotJoin { reason } if reason.contains("batch 1")));
    let builder = DataLoaderBuilder::<usize, Flagged>::new(Growing).batch_size(4);
    let error = read_loader(builder.build(numbers()).as_ref()).unwrap_err();
    assert!(matches!(&error, Error::BatchesDoNotJoin { reason } if reason.contains("no tensors")));
    // A single batch is what it is.
    let builder = DataLoaderBuilder::<usize, Flagged>::new(Growing).batch_size(N);
    assert_eq!(read_loader(builder.build(numbers()).as_ref()).unwrap().1, N);
}
