//! One operator in several lanes: Krylov spaces of several start vectors side by side.

use std::sync::Arc;

use burn::tensor::Tensor;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::error::Result;
use crate::operator::{Lanes, LinearOperator, row_dots};
use crate::params::{ParamBlock, ParamSpace, ParamVector};

/// `k` lanes of the same operator, on dense vectors.
pub(super) struct Copies<'a> {
    pub operator: &'a dyn LinearOperator,
    pub k: usize,
}

/// The vectors as rows of a matrix.
pub(super) fn stacked(vectors: &[ParamVector]) -> Tensor<2> {
    Tensor::cat(vectors.iter().map(|v| v.tensor().unsqueeze_dim::<2>(0)).collect(), 0)
}

impl Copies<'_> {
    fn row(&self, rows: &Tensor<2>, lane: usize) -> ParamVector {
        let row = rows.clone().narrow(0, lane, 1).reshape([self.operator.dim()]);
        self.operator.space().vector(row)
    }
}

impl Lanes for Copies<'_> {
    fn shape(&self) -> [usize; 2] {
        [self.k, self.operator.dim()]
    }

    fn space(&self) -> &Arc<ParamSpace> {
        self.operator.space()
    }

    fn is_dense(&self) -> bool {
        true
    }

    fn images(&self, coordinates: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(coordinates.clone())
    }

    fn apply(&self, images: &Tensor<2>) -> Result<Tensor<2>> {
        let vectors: Vec<_> = (0..self.k).map(|lane| self.row(images, lane)).collect();
        let block = ParamBlock::from_vectors(&vectors)?;
        Ok(stacked(&self.operator.apply_block(&block)?.vectors()))
    }

    fn rounding_scale(&self, coordinates: &Tensor<2>) -> Tensor<2> {
        row_dots(coordinates, coordinates)
    }

    fn random(&self, seeds: &[u64]) -> Tensor<2> {
        let vector =
            |seed: &u64| self.space().random(&mut Xoshiro256PlusPlus::seed_from_u64(*seed));
        stacked(&seeds.iter().map(vector).collect::<Vec<_>>())
    }

    fn images_of(&self, vector: &ParamVector) -> Result<Tensor<2>> {
        self.space().check(vector.space())?;
        Ok(stacked(&vec![vector.clone(); self.k]))
    }

    fn expand(&self, coordinates: &Tensor<2>, lane: usize) -> Result<ParamVector> {
        Ok(self.row(coordinates, lane))
    }

    fn select(&self, lanes: &[usize]) -> Result<Box<dyn Lanes + '_>> {
        Ok(Box::new(Copies { operator: self.operator, k: lanes.len() }))
    }
}
