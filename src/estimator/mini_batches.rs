//! The mini-batches of one measurement, loaded as they are needed and joined to groups.

use burn::tensor::Device;
use burn_dispatch::DispatchTensor;

use crate::batch::{self, BatchSignature};
use crate::error::{Error, Result};
use crate::samples::{self, Samples};

/// Loads the batches with the given sample numbers, in order.
pub(super) struct MiniBatches<'a, S: Samples> {
    data: &'a S,
    device: &'a Device,
    batches: &'a [Vec<usize>],
    /// A batch that has been loaded, and joined to no group yet.
    ahead: Option<(S::Batch, BatchSignature)>,
}

/// Some batches of one signature.
pub(super) struct Joined<B> {
    pub n_batches: usize,
    /// Their tensors, joined along the first dimension.
    pub tensors: Vec<DispatchTensor>,
    /// The batches one by one, where that is how they were loaded.
    pub apart: Vec<B>,
}

impl<'a, S: Samples> MiniBatches<'a, S> {
    pub fn new(data: &'a S, device: &'a Device, batches: &'a [Vec<usize>]) -> Self {
        Self { data, device, batches, ahead: None }
    }

    /// Whether all batches have the signature of the first.
    pub fn are_alike(&self) -> bool {
        self.data.is_row_wise()
    }

    /// Batch number `first`, which is the next to be joined.
    pub fn peek(&mut self, first: usize) -> Result<&(S::Batch, BatchSignature)> {
        let next = match self.ahead.take() {
            Some(next) => next,
            None => samples::select(self.data, &self.batches[first], self.device)?,
        };
        Ok(self.ahead.insert(next))
    }

    /// Up to `most` batches from number `first` on, those of `signature`.
    pub fn join(
        &mut self,
        first: usize,
        most: usize,
        signature: &BatchSignature,
    ) -> Result<Joined<S::Batch>> {
        let batches = &self.batches[first..self.batches.len().min(first + most)];
        if self.are_alike() && batches.len() > 1 {
            return self.join_rows(batches, signature);
        }
        let mut apart = Vec::new();
        for number in first..first + batches.len() {
            if self.peek(number)?.1 != *signature {
                break;
            }
            apart.extend(self.ahead.take().map(|(batch, _)| batch));
        }
        if apart.is_empty() {
            return Err(Error::SamplesChanged { samples: batches.concat() });
        }
        let tensors: Vec<_> = apart.iter().map(|b| batch::tensors(b.clone())).collect();
        Ok(Joined { n_batches: apart.len(), tensors: batch::joined(&tensors), apart })
    }

    /// All samples of `batches` at once.
    fn join_rows(
        &mut self,
        batches: &[Vec<usize>],
        signature: &BatchSignature,
    ) -> Result<Joined<S::Batch>> {
        self.ahead = None;
        let indices = batches.concat();
        let (rows, found) = samples::select(self.data, &indices, self.device)?;
        let mut expected = signature.clone();
        for (shape, _) in &mut expected.0 {
            shape.iter_mut().take(1).for_each(|rows| *rows *= batches.len());
        }
        if found != expected {
            return Err(Error::SamplesChanged { samples: indices });
        }
        Ok(Joined { n_batches: batches.len(), tensors: batch::tensors(rows), apart: Vec::new() })
    }
}
