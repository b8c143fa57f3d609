//! Measuring moves nothing that training depends on: neither the loader's shuffling nor the model.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::module::Module;
use burn::optim::{GradientsParams, SgdConfig, momentum::MomentumConfig};
use burn::tensor::Device;
use burn_sharpness::prelude::*;
use burn_sharpness::{DatasetSamples, read_loader};

use super::burn_data::{ByNumber, numbers};
use super::{N, Net, Pair, loss, model, parameters};

/// Three epochs of SGD with momentum on a shuffled loader; `measure` is called after each step.
fn trained(
    (workers, seed): (usize, u64),
    mut measure: impl FnMut(&Net, &dyn DataLoader<Pair>, usize),
) -> Vec<u64> {
    let builder = DataLoaderBuilder::new(ByNumber).batch_size(6).shuffle(seed).num_workers(workers);
    let loader: Arc<dyn DataLoader<Pair>> = builder.set_device(Device::flex()).build(numbers());
    let momentum = MomentumConfig::new().with_momentum(0.9);
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let mut model = model().train();
    for epoch in 0..3 {
        for batch in loader.iter() {
            let (x, y) = batch.unwrap();
            let value = loss(&model, (x.autodiff(), y.autodiff()));
            let gradients = GradientsParams::from_grads(value.backward(), &model);
            model = optimizer.step(0.05, model, gradients);
        }
        measure(&model, loader.as_ref(), epoch);
    }
    parameters(&model)
}

#[test]
fn a_training_is_bit_identical_with_and_without_measurements() {
    for workers in [0, 1] {
        let without = trained((workers, 42), |_, _, _| ());
        assert_ne!(without, trained((workers, 43), |_, _, _| ()), "the order of samples matters");

        let (dataset, batcher) = (Arc::new(numbers()), Arc::new(ByNumber));
        let data = DatasetSamples::new(dataset, batcher, &Device::flex());
        let mut mini = MiniBatchSharpnessConfig::new(6).with_num_batches(3).init(loss);
        let full = FullBatchSharpnessConfig::new().with_memory(ChunkMemory::Recompute);
        let mut full = full.with_chunk_size(8).init(loss);
        let mut n_measured = 0;
        let with = trained((workers, 42), |model, _, _| {
            let mini = mini.measure(model, &data).unwrap();
            let full = full.measure(model, &data).unwrap();
            assert!(mini.estimate.mean > 0.0 && full.value > 0.0);
            n_measured += 1;
        });
        assert_eq!((without, n_measured), (with, 3));
    }
}

/// A second loader without shuffling leaves the training alone; the training's own, read once after the
/// first epoch, does not: that is what the documentation warns of.
#[test]
fn a_loader_of_its_own_is_read_without_harm_and_the_trainings_own_is_not() {
    let without = trained((0, 42), |_, _, _| ());
    let with = trained((0, 42), |model, _, _| {
        let unshuffled = DataLoaderBuilder::new(ByNumber).batch_size(N);
        let unshuffled = unshuffled.set_device(Device::flex()).build(numbers());
        let data = read_loader(unshuffled.as_ref()).unwrap();
        let mut mini = MiniBatchSharpnessConfig::new(6).with_num_batches(3).init(loss);
        mini.measure(model, &data).unwrap();
    });
    assert_eq!(without, with);
    let disturbed = trained((0, 42), |_, loader, epoch| {
        if epoch == 0 {
            read_loader(loader).unwrap();
        }
    });
    assert_ne!(without, disturbed);
}
