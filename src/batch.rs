//! What a loss is measured on: [`Batch`] names the tensors of a batch, whatever its type.

use burn::tensor::kind::Autodiff as Kind;
use burn::tensor::{Bool, DType, Device, Int, Tensor};
use burn_dispatch::DispatchTensor;

use crate::error::{Error, Result};
use crate::ir::replay::Value;

/// A function of every tensor of a batch, whatever its rank and kind (float, int or bool).
pub trait TensorMapper {
    /// Maps one tensor.
    fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K>;
}

/// A batch, or a whole data set held in memory: tensors whose first dimension counts samples.
///
/// Implemented for tensors of every kind, tuples up to four, arrays and `Vec`s of batches. A
/// struct of your own takes one line with [`batch!`](crate::batch):
///
/// ```
/// use burn::tensor::{Bool, Int, Tensor};
///
/// #[derive(Clone, Debug)]
/// struct Sentences {
///     tokens: Tensor<2, Int>,
///     padding: Tensor<2, Bool>,
/// }
/// burn_sharpness::batch!(Sentences { tokens, padding });
/// ```
pub trait Batch: Clone {
    /// True when tensors are all that the batch holds, so that shapes and dtypes alone decide what
    /// graph a loss records. Write `false` for a type with other fields (lengths, flags): its loss
    /// is then recorded anew for each batch.
    const TENSORS_ONLY: bool;

    /// Applies `mapper` to every tensor, always in the same order.
    fn map_tensors<M: TensorMapper>(self, mapper: &mut M) -> Self;
}

impl<const D: usize, K: Kind> Batch for Tensor<D, K> {
    const TENSORS_ONLY: bool = true;
    fn map_tensors<M: TensorMapper>(self, mapper: &mut M) -> Self {
        mapper.map(self)
    }
}

impl<B: Batch> Batch for Vec<B> {
    const TENSORS_ONLY: bool = B::TENSORS_ONLY;
    fn map_tensors<M: TensorMapper>(self, mapper: &mut M) -> Self {
        self.into_iter().map(|b| b.map_tensors(mapper)).collect()
    }
}

impl<B: Batch, const N: usize> Batch for [B; N] {
    const TENSORS_ONLY: bool = B::TENSORS_ONLY;
    fn map_tensors<M: TensorMapper>(self, mapper: &mut M) -> Self {
        self.map(|b| b.map_tensors(mapper))
    }
}

macro_rules! tuple_batch {
    ($($name:ident),+) => {
        impl<$($name: Batch),+> Batch for ($($name,)+) {
            const TENSORS_ONLY: bool = true $(&& $name::TENSORS_ONLY)+;
            #[allow(non_snake_case)]
            fn map_tensors<Map: TensorMapper>(self, mapper: &mut Map) -> Self {
                let ($($name,)+) = self;
                ($($name.map_tensors(mapper),)+)
            }
        }
    };
}
tuple_batch!(A);
tuple_batch!(A, B);
tuple_batch!(A, B, C);
tuple_batch!(A, B, C, D);

/// Implements [`Batch`] for a struct all of whose fields are batches of tensors and nothing else (see
/// the example there). A field that is left out is a compile error. For a struct with generics, or
/// with fields that are no tensors, write the two items of the trait by hand, with
/// [`TENSORS_ONLY`](Batch::TENSORS_ONLY)` = false` for the latter.
#[macro_export]
macro_rules! batch {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::Batch for $type {
            const TENSORS_ONLY: bool = true;
            fn map_tensors<M: $crate::TensorMapper>(self, mapper: &mut M) -> Self {
                let Self { $($field),+ } = self;
                Self { $($field: $crate::Batch::map_tensors($field, mapper)),+ }
            }
        }
    };
}

/// Shape and dtype of every tensor: the part of a batch that programs are compiled for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BatchSignature(pub Vec<(Vec<usize>, DType)>);

/// The batch's tensors as handles of their device, without autodiff, in order.
pub(crate) fn tensors<B: Batch>(batch: B) -> Vec<DispatchTensor> {
    struct Collect(Vec<DispatchTensor>);
    impl TensorMapper for Collect {
        fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
            self.0.push(tensor.clone().without_autodiff().into_dispatch());
            tensor
        }
    }
    let mut collect = Collect(Vec::new());
    batch.map_tensors(&mut collect);
    collect.0
}

/// Tensors of batches of one signature, joined along the first dimension.
pub(crate) fn joined(batches: &[Vec<DispatchTensor>]) -> Vec<DispatchTensor> {
    let n_tensors = batches.first().map_or(0, Vec::len);
    let join = |i: usize| Value::cat(batches.iter().map(|tensors| tensors[i].clone()).collect());
    (0..n_tensors).filter_map(join).map(Value::into_tensor).collect()
}

/// Checks that the batch is on `device` and not empty, and returns its signature.
pub(crate) fn signature<B: Batch>(batch: &B, device: &Device) -> Result<BatchSignature> {
    struct Inspect<'a> {
        device: &'a Device,
        tensors: Vec<(Vec<usize>, DType)>,
        error: Option<Error>,
    }
    impl TensorMapper for Inspect<'_> {
        fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
            let (position, shape) = (self.tensors.len(), tensor.dims().to_vec());
            if shape.contains(&0) {
                let shape = shape.clone();
                let error = Error::EmptyBatch { tensor: position, shape };
                self.error.get_or_insert(error);
            }
            // Devices compare by hardware, not by whether autodiff is on.
            if tensor.device() != *self.device {
                self.error.get_or_insert(Error::DeviceMismatch {
                    name: format!("batch tensor {position}"),
                    found: format!("{:?}", tensor.device()),
                    expected: format!("{:?}", self.device),
                });
            }
            self.tensors.push((shape, tensor.dtype()));
            tensor
        }
    }
    let mut inspect = Inspect { device, tensors: Vec::new(), error: None };
    batch.clone().map_tensors(&mut inspect);
    match inspect.error {
        Some(error) => Err(error),
        None => Ok(BatchSignature(inspect.tensors)),
    }
}

/// The number of samples: the first dimension that all tensors share.
pub(crate) fn n_samples<B: Batch>(data: &B) -> Result<usize> {
    struct Count(Vec<usize>);
    impl TensorMapper for Count {
        fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
            self.0.push(tensor.dims().first().copied().unwrap_or(1));
            tensor
        }
    }
    let mut count = Count(Vec::new());
    data.clone().map_tensors(&mut count);
    match count.0.first() {
        None | Some(0) => Err(Error::EmptyBatch { tensor: 0, shape: vec![0] }),
        Some(&expected) => match count.0.iter().find(|&&n| n != expected) {
            Some(&found) => Err(Error::SampleCountMismatch { expected, found }),
            None => Ok(expected),
        },
    }
}

/// The samples at `indices`, in that order, of a data set in memory.
pub(crate) fn select<B: Batch>(data: &B, indices: &[usize]) -> B {
    struct Select(Vec<i64>);
    impl TensorMapper for Select {
        fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
            let device = tensor.device().without_autodiff();
            let indices = Tensor::<1, Int>::from_data(self.0.as_slice(), &device);
            let tensor = tensor.without_autodiff();
            if !matches!(tensor.dtype(), DType::Bool(_)) {
                return tensor.select(0, indices);
            }
            // Through integers: selected masks of burn-flex 0.22.1 have an integer's dtype, on which
            // `bool_not` fails.
            let mask = Tensor::<D, Bool>::from_dispatch(tensor.into_dispatch());
            Tensor::from_dispatch(mask.int().select(0, indices).bool().into_dispatch())
        }
    }
    let indices = indices.iter().map(|&i| i as i64).collect();
    data.clone().map_tensors(&mut Select(indices))
}

/// The samples in `range` of a data set in memory.
pub(crate) fn slice<B: Batch>(data: &B, range: std::ops::Range<usize>) -> B {
    struct Narrow(std::ops::Range<usize>);
    impl TensorMapper for Narrow {
        fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
            let tensor = tensor.without_autodiff();
            // A chunk that is the whole set is no copy of it on any device.
            if self.0 == (0..tensor.dims().first().copied().unwrap_or(1)) {
                return tensor;
            }
            tensor.narrow(0, self.0.start, self.0.len())
        }
    }
    data.clone().map_tensors(&mut Narrow(range))
}
