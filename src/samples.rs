//! Where batches come from: [`Samples`] is a data set, wherever its samples are.

#[cfg(feature = "train")]
mod dataset;
#[cfg(feature = "train")]
mod loader;

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use burn::tensor::Device;

use crate::batch::{self, Batch, BatchSignature};
use crate::error::{Error, Result, catch_panic};

#[cfg(feature = "train")]
pub use dataset::DatasetSamples;
#[cfg(feature = "train")]
pub use loader::read_loader;

/// A data set of which any samples can be had as a batch, by their numbers.
///
/// | data | what to pass |
/// |---|---|
/// | tensors in memory | the tensor, the tuple, or your [`Batch`]: each is a set of samples along its first dimension |
/// | a function from numbers to a batch | [`IndexedSamples`] |
/// | burn's `Dataset` and `Batcher` | `DatasetSamples` (feature `train`) |
/// | burn's `DataLoader` | `read_loader` (feature `train`), once, into memory |
/// | something else | an implementation of this trait |
///
/// An `Arc` of a data set is that data set; it can be shared.
///
/// Every batch that an estimator asks for is checked: its number of samples where its tensors agree in
/// one, its device, and that the same numbers give the same shapes again, and the same loss where that is
/// computed again. A panic inside a source becomes an [`Error::Load`].
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_sharpness::prelude::*;
/// use burn_sharpness::{Error, Result};
///
/// /// Sample i is the number i, made when it is needed.
/// struct Numbers(Device);
///
/// impl Samples for Numbers {
///     type Batch = Tensor<2>;
///
///     fn n_samples(&self) -> Result<usize> {
///         Ok(1000)
///     }
///
///     fn select(&self, indices: &[usize]) -> Result<Tensor<2>> {
///         let numbers: Vec<f32> = indices.iter().map(|&i| i as f32 / 1000.0).collect();
///         Ok(Tensor::<1>::from_floats(numbers.as_slice(), &self.0).unsqueeze_dim(1))
///     }
/// }
///
/// let device = Device::flex();
/// let model = LinearConfig::new(1, 1).init(&device);
/// let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
/// let mut monitor = MiniBatchSharpnessConfig::new(8).init(loss);
/// let measured = monitor.measure(&model, &Numbers(device))?;
/// assert!(measured.estimate.mean >= 2.0); // the bias alone has curvature 2
/// # Ok::<(), Error>(())
/// ```
pub trait Samples {
    /// What the loss takes.
    type Batch: Batch;

    /// The number of samples n; they are numbered from 0 to n − 1.
    ///
    /// # Errors
    /// What the source raises.
    fn n_samples(&self) -> Result<usize>;

    /// The samples at `indices`, in that order, numbers that come twice included: the same ones at every
    /// call (no shuffling, no augmentation).
    ///
    /// # Errors
    /// [`Error::SampleIndex`] for a number beyond the last; [`Error::Load`], or any other, for a sample that
    /// cannot be had.
    fn select(&self, indices: &[usize]) -> Result<Self::Batch>;

    /// The samples in `range`. Provided by [`select`](Self::select); tensors in memory are narrowed instead
    /// of copied.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    fn range(&self, range: Range<usize>) -> Result<Self::Batch> {
        self.select(&range.collect::<Vec<_>>())
    }

    /// Whether each tensor of a batch has one row for each sample, which no other sample of the batch has a
    /// part in. Several mini-batches are then loaded in one call. Provided: `false`, which is right for every
    /// source, also for one that pads samples to the longest of their batch.
    fn is_row_wise(&self) -> bool {
        false
    }
}

impl<B: Batch> Samples for B {
    type Batch = B;

    fn n_samples(&self) -> Result<usize> {
        batch::n_samples(self)
    }

    fn select(&self, indices: &[usize]) -> Result<B> {
        check_indices(indices.iter().copied(), batch::n_samples(self)?)?;
        Ok(batch::select(self, indices))
    }

    fn range(&self, range: Range<usize>) -> Result<B> {
        check_indices(range.clone().next_back().into_iter(), batch::n_samples(self)?)?;
        Ok(batch::slice(self, range))
    }

    fn is_row_wise(&self) -> bool {
        true
    }
}

/// A data set as a function from sample numbers to a batch: of a file, a data base, a generator.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_sharpness::operator::FullBatchHessian;
/// use burn_sharpness::prelude::*;
///
/// let device = Device::flex();
/// let model = LinearConfig::new(1, 1).init(&device);
/// let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
/// // Sample i is the number i, made when it is needed.
/// let numbers = IndexedSamples::new(5, move |indices: &[usize]| {
///     let numbers: Vec<f32> = indices.iter().map(|&i| i as f32).collect();
///     Ok(Tensor::<1>::from_floats(numbers.as_slice(), &device).unsqueeze_dim(1))
/// });
/// let hessian = FullBatchHessian::new(&model, &numbers, loss, 2, ChunkMemory::Recompute)?;
/// let weight = hessian.space().from_values(&[1.0, 0.0])?;
/// assert_eq!(hessian.apply(&weight)?.to_values()?, [12.0, 4.0]); // 2 mean i², 2 mean i
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
pub struct IndexedSamples<F> {
    n_samples: usize,
    load: Arc<F>,
}

impl<F> IndexedSamples<F> {
    /// `n_samples` samples, those at some numbers by `load(&numbers)`: in the order of the numbers, the same
    /// ones at every call. Errors of other crates become this one's by [`Error::load`].
    pub fn new<B>(n_samples: usize, load: F) -> Self
    where
        B: Batch,
        F: Fn(&[usize]) -> Result<B>,
    {
        Self { n_samples, load: Arc::new(load) }
    }
}

impl<F> Clone for IndexedSamples<F> {
    fn clone(&self) -> Self {
        Self { n_samples: self.n_samples, load: self.load.clone() }
    }
}

impl<F> fmt::Debug for IndexedSamples<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexedSamples").field("n_samples", &self.n_samples).finish_non_exhaustive()
    }
}

impl<B, F> Samples for IndexedSamples<F>
where
    B: Batch,
    F: Fn(&[usize]) -> Result<B>,
{
    type Batch = B;

    fn n_samples(&self) -> Result<usize> {
        Ok(self.n_samples)
    }

    fn select(&self, indices: &[usize]) -> Result<B> {
        check_indices(indices.iter().copied(), self.n_samples)?;
        loading(indices, || (self.load)(indices))
    }
}

/// Somebody else's data set. (`&S` cannot be one itself: another crate may make it a [`Batch`].)
#[derive(Debug)]
pub(crate) struct Borrowed<'a, S>(pub &'a S);

impl<S> Deref for Borrowed<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.0
    }
}

macro_rules! forward_to_samples {
    ($([$($bound:tt)+] $pointer:ty;)+) => {$(
        impl<$($bound)+> Samples for $pointer {
            type Batch = S::Batch;

            fn n_samples(&self) -> Result<usize> {
                (**self).n_samples()
            }

            fn select(&self, indices: &[usize]) -> Result<S::Batch> {
                (**self).select(indices)
            }

            fn range(&self, range: Range<usize>) -> Result<S::Batch> {
                (**self).range(range)
            }

            fn is_row_wise(&self) -> bool {
                (**self).is_row_wise()
            }
        }
    )+};
}
forward_to_samples! {
    [S: Samples + ?Sized] Arc<S>;
    [S: Samples] Borrowed<'_, S>;
}

/// Says which number is beyond the last, or that there are none.
fn check_indices(indices: impl Iterator<Item = usize>, n_samples: usize) -> Result<()> {
    match indices.max() {
        None => Err(Error::EmptyBatch { tensor: 0, shape: vec![0] }),
        Some(index) if index >= n_samples => Err(Error::SampleIndex { index, n_samples }),
        Some(_) => Ok(()),
    }
}

/// Runs `load`; a panic becomes the error that these samples cannot be had.
fn loading<T>(indices: &[usize], load: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_panic(load, |message| Error::load(indices, message))
}

/// The number of samples, which is not zero.
pub(crate) fn count<S: Samples>(data: &S) -> Result<usize> {
    match loading(&[], || data.n_samples())? {
        0 => Err(Error::EmptyBatch { tensor: 0, shape: vec![0] }),
        n => Ok(n),
    }
}

/// The samples at `indices` as a batch on `device`, checked, with its signature.
pub(crate) fn select<S: Samples>(
    data: &S,
    indices: &[usize],
    device: &Device,
) -> Result<(S::Batch, BatchSignature)> {
    checked(loading(indices, || data.select(indices))?, indices.len(), device)
}

/// [`select`] of consecutive samples.
pub(crate) fn range<S: Samples>(
    data: &S,
    range: Range<usize>,
    device: &Device,
) -> Result<(S::Batch, BatchSignature)> {
    let load = || data.range(range.clone());
    let batch = catch_panic(load, |message| Error::load(&numbers(&range), message))?;
    checked(batch, range.len(), device)
}

/// The samples in `range` once more: what had `signature` before.
pub(crate) fn range_again<S: Samples>(
    data: &S,
    range: Range<usize>,
    signature: &BatchSignature,
    device: &Device,
) -> Result<S::Batch> {
    match self::range(data, range.clone(), device)? {
        (batch, found) if found == *signature => Ok(batch),
        _ => Err(changed(&range)),
    }
}

/// Fails where the loss of the same samples is another one than before.
pub(crate) fn check_same_loss(range: &Range<usize>, before: f64, now: f64) -> Result<()> {
    // Rounding may differ from run to run on a device with atomic sums, by far less.
    if (now - before).abs() > 1e-3 * before.abs().max(now.abs()) {
        return Err(changed(range));
    }
    Ok(())
}

fn changed(range: &Range<usize>) -> Error {
    Error::SamplesChanged { samples: numbers(range) }
}

fn numbers(range: &Range<usize>) -> Vec<usize> {
    range.clone().collect()
}

fn checked<B: Batch>(batch: B, asked: usize, device: &Device) -> Result<(B, BatchSignature)> {
    let signature = batch::signature(&batch, device)?;
    match batch::n_samples(&batch) {
        Ok(found) if found != asked => Err(Error::LoadedSampleCount { asked, found }),
        // A batch may have tensors that do not count samples.
        _ => Ok((batch, signature)),
    }
}
