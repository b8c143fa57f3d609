//! One pass over a burn `DataLoader`, in memory.

use burn::data::dataloader::DataLoader;
use burn::tensor::Tensor;
use burn::tensor::kind::Autodiff as Kind;
use burn_backend::TensorMetadata;
use burn_dispatch::DispatchTensor;

use crate::batch::{self, Batch, TensorMapper};
use crate::error::{Error, Result, catch_panic};

/// Reads one pass over a `DataLoader` into memory: its batches joined along the first dimension, a smaller
/// last one included. The result is a set of samples in memory, as any tensors are.
///
/// **Not the loader that trains.** burn's loaders can only be iterated, and each iteration of one that
/// shuffles (as each `to_device` and `slice`) moves the generator that later epochs are shuffled with: the
/// training would be another one. Build a second loader of the same data set and batcher, without
/// shuffling, for this; or measure on [`DatasetSamples`](super::DatasetSamples), which needs no loader.
///
/// With several workers, batches come in the order in which they are ready, so that sample numbers, and with
/// them drawn mini-batches, differ from run to run.
///
/// Memory: the data set, twice while it is joined.
///
/// # Errors
/// [`Error::Loader`] where the loader fails, panics, or ends before its last item (as one does whose worker
/// has panicked); [`Error::EmptyBatch`] for no batch; [`Error::BatchesDoNotJoin`] for batches whose tensors
/// differ in more than their number of samples (sequences padded to the longest of their batch), or that
/// have fields that are no tensors.
///
/// ```
/// use burn::data::dataloader::DataLoaderBuilder;
/// use burn::data::dataloader::batcher::Batcher;
/// use burn::data::dataset::InMemDataset;
/// use burn::tensor::{Device, Tensor};
/// use burn_sharpness::read_loader;
///
/// #[derive(Clone)]
/// struct Rows;
///
/// impl Batcher<[f32; 2], Tensor<2>> for Rows {
///     fn batch(&self, items: Vec<[f32; 2]>, device: &Device) -> Tensor<2> {
///         let (n, values) = (items.len(), items.concat());
///         Tensor::<1>::from_floats(values.as_slice(), device).reshape([n, 2])
///     }
/// }
///
/// let items: Vec<_> = (0..10).map(|i| [i as f32, 1.0]).collect();
/// let unshuffled = DataLoaderBuilder::new(Rows)
///     .batch_size(4)
///     .set_device(Device::flex())
///     .build(InMemDataset::new(items));
/// let data = read_loader(unshuffled.as_ref())?;
/// assert_eq!(data.dims(), [10, 2]);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
pub fn read_loader<B: Batch>(loader: &dyn DataLoader<B>) -> Result<B> {
    let mut batches = Vec::new();
    let failed = |n_batches, message| Error::Loader { n_batches, message };
    let read = || {
        let mut iterator = loader.iter();
        for batch in iterator.by_ref() {
            let n_batches = batches.len();
            batches.push(batch.map_err(|e| failed(n_batches, e.to_string()))?);
        }
        Ok(iterator.progress())
    };
    let progress = catch_panic(read, |message| failed(0, message));
    let progress = match progress {
        Err(Error::Loader { message, .. }) => return Err(failed(batches.len(), message)),
        other => other?,
    };
    if !progress.is_completed() {
        let (read, all) = (progress.items_processed, progress.items_total);
        return Err(failed(batches.len(), format!("it ended at item {read} of {all}")));
    }
    join(batches)
}

/// One batch of all samples of `batches`.
fn join<B: Batch>(batches: Vec<B>) -> Result<B> {
    let fail = |reason: String| Err(Error::BatchesDoNotJoin { reason });
    let Some(first) = batches.first().cloned() else {
        return Err(Error::EmptyBatch { tensor: 0, shape: vec![0] });
    };
    if batches.len() == 1 {
        return Ok(first);
    }
    if !B::TENSORS_ONLY {
        return fail("they have fields that are no tensors".into());
    }
    let mut tensors = Vec::new();
    let mut shapes: Option<Vec<_>> = None;
    for (number, batch) in batches.into_iter().enumerate() {
        batch::n_samples(&batch)?;
        let of_batch = batch::tensors(batch);
        let rest: Vec<_> = of_batch.iter().map(of_a_sample).collect();
        match &shapes {
            Some(shapes) if *shapes != rest => {
                return fail(format!(
                    "samples of batch 0 are {shapes:?}, those of batch {number} {rest:?}"
                ));
            }
            _ => shapes = Some(rest),
        }
        tensors.push(of_batch);
    }
    catch_panic(
        || Ok(first.map_tensors(&mut Replace(batch::joined(&tensors).into_iter()))),
        |message| Error::BatchesDoNotJoin { reason: message },
    )
}

/// What tensors of different numbers of samples must share.
fn of_a_sample(tensor: &DispatchTensor) -> (Vec<usize>, String) {
    let shape = tensor.shape();
    (shape.as_slice().iter().skip(1).copied().collect(), format!("{:?}", tensor.dtype()))
}

/// Puts other tensors, in order, in the place of a batch's.
struct Replace(std::vec::IntoIter<DispatchTensor>);

impl TensorMapper for Replace {
    fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
        self.0.next().map_or(tensor, Tensor::from_dispatch)
    }
}
