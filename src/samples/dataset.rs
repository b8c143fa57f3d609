//! burn's `Dataset` and `Batcher` as a source of batches.

use std::fmt;
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use burn::tensor::Device;

use super::{Samples, check_indices, loading};
use crate::batch::Batch;
use crate::error::{Error, Result};

/// The items of a burn `Dataset`, made into batches by a `Batcher`: those of the training, so that a batch
/// is measured as it is trained on.
///
/// Items are read when they are needed, by their numbers. No `DataLoader` is involved, so no generator that
/// shuffles the training moves. A batcher or a data set that augments at random gives another batch for
/// the same numbers each time: measure with one that does not.
///
/// Memory: what is measured side by side, or one chunk. Cost of a batch: reading its items, and the batcher.
///
/// ```
/// use std::sync::Arc;
///
/// use burn::data::dataloader::batcher::Batcher;
/// use burn::data::dataset::InMemDataset;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_sharpness::DatasetSamples;
/// use burn_sharpness::prelude::*;
///
/// struct Rows;
///
/// impl Batcher<[f32; 2], Tensor<2>> for Rows {
///     fn batch(&self, items: Vec<[f32; 2]>, device: &Device) -> Tensor<2> {
///         let (n, values) = (items.len(), items.concat());
///         Tensor::<1>::from_floats(values.as_slice(), device).reshape([n, 2])
///     }
/// }
///
/// let device = Device::flex();
/// let items = (0..32).map(|i| [i as f32 / 32.0, 1.0]).collect();
/// let dataset = Arc::new(InMemDataset::new(items)); // also for the `DataLoaderBuilder` of the training
/// let data = DatasetSamples::new(dataset, Arc::new(Rows), &device);
///
/// let model = LinearConfig::new(2, 1).init(&device);
/// let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
/// let measured = MiniBatchSharpnessConfig::new(8).init(loss).measure(&model, &data)?;
/// assert_eq!(measured.values.len(), 16);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
pub struct DatasetSamples<I, B> {
    dataset: Arc<dyn Dataset<I>>,
    batcher: Arc<dyn Batcher<I, B>>,
    device: Device,
}

impl<I, B> DatasetSamples<I, B> {
    /// The items of `dataset` as batches by `batcher` on `device`, the one of the model that is measured.
    pub fn new(
        dataset: Arc<dyn Dataset<I>>,
        batcher: Arc<dyn Batcher<I, B>>,
        device: &Device,
    ) -> Self {
        Self { dataset, batcher, device: device.clone() }
    }

    /// The items at `indices`; an error names the first that cannot be had.
    fn items(&self, indices: &[usize]) -> Result<Vec<I>> {
        // At once, as burn's loaders read them: a data base answers one query.
        self.dataset.get_many(indices.to_vec()).map_err(|error| {
            let failing = indices.iter().find_map(|&i| Some((i, self.dataset.get(i).err()?)));
            match failing {
                Some((index, error)) => Error::load(&[index], error),
                None => Error::load(indices, error),
            }
        })
    }
}

impl<I, B> Clone for DatasetSamples<I, B> {
    fn clone(&self) -> Self {
        let Self { dataset, batcher, device } = self;
        Self { dataset: dataset.clone(), batcher: batcher.clone(), device: device.clone() }
    }
}

impl<I, B> fmt::Debug for DatasetSamples<I, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetSamples").field("device", &self.device).finish_non_exhaustive()
    }
}

impl<I, B: Batch> Samples for DatasetSamples<I, B> {
    type Batch = B;

    fn n_samples(&self) -> Result<usize> {
        loading(&[], || Ok(self.dataset.len()))
    }

    fn select(&self, indices: &[usize]) -> Result<B> {
        check_indices(indices.iter().copied(), self.n_samples()?)?;
        loading(indices, || Ok(self.batcher.batch(self.items(indices)?, &self.device)))
    }
}
