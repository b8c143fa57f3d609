//! A matrix as an operator: the ground truth of solver tests.

use std::cell::Cell;
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::LinearOperator;
use crate::error::{Error, Result};
use crate::params::{ParamSpace, ParamVector};

/// A symmetric matrix held on a device.
#[derive(Clone, Debug)]
pub struct DenseOperator {
    space: Arc<ParamSpace>,
    matrix: Tensor<2>,
    n_applies: Cell<usize>,
}

impl DenseOperator {
    /// An operator from the rows of a symmetric matrix.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when the matrix is not square.
    pub fn from_rows(rows: &[Vec<f64>], dtype: DType, device: &Device) -> Result<Self> {
        let n = rows.len();
        if let Some(row) = rows.iter().find(|row| row.len() != n) {
            return Err(Error::LengthMismatch { expected: n, found: row.len() });
        }
        let space = ParamSpace::flat(n, dtype, device);
        let data = TensorData::new(rows.concat(), [n, n]).convert_dtype(dtype);
        let matrix = Tensor::from_data(data, (space.device(), dtype));
        Ok(Self { space, matrix, n_applies: Cell::new(0) })
    }
}

impl LinearOperator for DenseOperator {
    fn space(&self) -> &Arc<ParamSpace> {
        &self.space
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.n_applies.set(self.n_applies.get() + 1);
        let product = self.matrix.clone().matmul(v.tensor().unsqueeze_dim::<2>(1));
        Ok(self.space.vector(product.reshape([self.dim()])))
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get()
    }
}
