//! Orthonormal Krylov bases of all lanes, and the eigenpairs of each operator in its basis.
//!
//! Each new vector is orthogonalized twice: against the last two basis vectors, which is all that a
//! symmetric A needs in exact arithmetic, and then against the whole basis, so that no spurious copies of
//! eigenvalues appear (Paige 1976). All coefficients are kept, not only the three of the Lanczos
//! recurrence, so that A·Q = Q·H + r·eᵀ holds to rounding even where A is not quite symmetric; the
//! residual of a Ritz pair then needs no product:
//!
//! ```text
//! S = (H + Hᵀ)/2,  S s = θ s   =>   ‖A Qs − θ Qs‖² = ‖(H − S) s‖² + ‖r‖² s_m²
//! ```

use burn::tensor::{Tensor, TensorData};

use super::small_eigen::{SmallEigen, symmetric_eigen};
use crate::error::Result;
use crate::operator::{LaneVectors, Lanes, row_dots};
use crate::params::{finite, read};

/// Bases of all lanes, and the Hessenberg matrix H of each.
pub(super) struct Krylov {
    basis: Rows,
    /// Images of the basis, where they are not the basis itself.
    images: Option<Rows>,
    /// The last two basis vectors, the last one first.
    last: Vec<LaneVectors>,
    /// For each lane the columns of H; column j has j + 1 entries, and ‖r‖ after step j.
    columns: Vec<Vec<Vec<f64>>>,
    betas: Vec<Vec<f64>>,
    /// For each lane, whether rounding is all that is left of r after the last step.
    is_closed: Vec<bool>,
    epsilon: f64,
}

/// The eigenpairs of one lane's operator in its basis.
pub(super) struct LaneEigen {
    pub eigen: SmallEigen,
    /// ‖A v − θ v‖ of each Ritz pair.
    pub residuals: Vec<f64>,
    /// ‖r‖ of the last step.
    pub beta: f64,
    /// Whether A maps the basis into itself, to rounding.
    pub is_closed: bool,
}

impl Krylov {
    /// Bases without vectors, of at most `capacity` ones.
    pub fn new(lanes: &dyn Lanes, capacity: usize) -> Self {
        let [k, _] = lanes.shape();
        let rows = || Rows::new(lanes, capacity);
        Self {
            basis: rows(),
            images: (!lanes.is_dense()).then(rows),
            last: Vec::new(),
            columns: vec![Vec::new(); k],
            betas: vec![Vec::new(); k],
            is_closed: vec![false; k],
            epsilon: lanes.space().epsilon(),
        }
    }

    /// Number of basis vectors m.
    pub fn len(&self) -> usize {
        self.basis.len
    }

    /// Adds unit vectors and multiplies them; returns r, the part of the products outside the bases.
    /// One product in each lane, one read-back.
    pub fn step(&mut self, lanes: &dyn Lanes, unit: &LaneVectors) -> Result<LaneVectors> {
        self.basis.push(&unit.coordinates);
        if let Some(images) = &mut self.images {
            images.push(&unit.images);
        }
        self.last.insert(0, unit.clone());
        self.last.truncate(2);
        let mut rest = lanes.apply(&unit.images)?;
        let mut scalars = Vec::new();
        for vector in &self.last {
            let coefficient = row_dots(&rest, &vector.images);
            rest = rest - vector.coordinates.clone() * coefficient.clone();
            scalars.push(coefficient);
        }
        let (rest, coefficients) = self.project_out(rest);
        scalars.push(coefficients);
        let rest = LaneVectors::new(lanes, rest)?;
        let scale = lanes.rounding_scale(&rest.coordinates);
        scalars.extend([rest.squared_norms(), scale]);
        let scalars = Tensor::cat(scalars, 1);
        let [_, width] = scalars.dims();
        let scalars = read(scalars.flatten(0, 1))?;
        let (m, n_last) = (self.len(), self.last.len());
        for (lane, scalars) in scalars.chunks_exact(width).enumerate() {
            let (square, scale) = (scalars[width - 2], scalars[width - 1]);
            let mut column = scalars[n_last..n_last + m].to_vec();
            for (back, coefficient) in scalars[..n_last].iter().enumerate() {
                column[m - 1 - back] += coefficient;
            }
            self.columns[lane].push(column);
            // Rounding may leave a negative square, but NaN stays NaN.
            self.betas[lane].push(if square < 0.0 { 0.0 } else { square.sqrt() });
            self.is_closed[lane] = square <= 16.0 * self.epsilon * scale && square < 0.5 * scale;
        }
        Ok(rest)
    }

    /// Each row minus its projection on its basis, and the coefficients `[K, room]`.
    fn project_out(&self, rows: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let [k, width] = rows.dims();
        let basis = self.basis.written();
        let images = self.images.as_ref().map_or_else(|| basis.clone(), Rows::written);
        let room = basis.dims()[1];
        let coefficients = images.matmul(rows.clone().reshape([k, width, 1]));
        let projection = basis.swap_dims(1, 2).matmul(coefficients.clone());
        (rows - projection.reshape([k, width]), coefficients.reshape([k, room]))
    }

    /// The vectors minus their projections on the bases, with images.
    pub fn orthogonal_to(&self, lanes: &dyn Lanes, rows: Tensor<2>) -> Result<LaneVectors> {
        let (rows, _) = self.project_out(rows);
        LaneVectors::new(lanes, self.project_out(rows).0)
    }

    /// The eigenpairs of the operator of `lane` in its basis.
    pub fn eigen(&self, lane: usize) -> Result<LaneEigen> {
        let (columns, betas) = (&self.columns[lane], &self.betas[lane]);
        let m = columns.len();
        let what = "a product of the operator";
        for value in columns.iter().flatten().chain(betas) {
            finite(what, *value)?;
        }
        let h = |i: usize, j: usize| match columns[j].get(i) {
            Some(entry) => *entry,
            None if i == j + 1 => betas[j],
            None => 0.0,
        };
        let symmetric = |i: usize, j: usize| 0.5 * (h(i, j) + h(j, i));
        let eigen = symmetric_eigen(m, symmetric)?;
        let beta = betas[m - 1];
        let residual = |s: &Vec<f64>| {
            let row = |i: usize| (0..m).map(|j| 0.5 * (h(i, j) - h(j, i)) * s[j]).sum::<f64>();
            let asymmetry: f64 = (0..m).map(|i| row(i).powi(2)).sum();
            (asymmetry + (beta * s[m - 1]).powi(2)).sqrt()
        };
        let residuals = eigen.vectors.iter().map(residual).collect();
        let is_closed = self.is_closed[lane] || beta <= 32.0 * self.epsilon * eigen.norm();
        Ok(LaneEigen { eigen, residuals, beta, is_closed })
    }

    /// Combinations of the basis vectors: for each lane one list of coefficients, of at most m.
    pub fn combine(&self, coefficients: &[Vec<f64>]) -> LaneVectors {
        let [k, room, width] = self.basis.rows.dims();
        let mut flat = vec![0.0; k * room];
        for (row, list) in flat.chunks_exact_mut(room).zip(coefficients) {
            row[..list.len()].copy_from_slice(list);
        }
        let (device, dtype) = (self.basis.rows.device(), self.basis.rows.dtype());
        let data = TensorData::new(flat, [k, 1, room]).convert_dtype(dtype);
        let flat = Tensor::<3>::from_data(data, (&device, dtype));
        let combine = |rows: &Rows| flat.clone().matmul(rows.rows.clone()).reshape([k, width]);
        let coordinates = combine(&self.basis);
        let images = self.images.as_ref().map_or_else(|| coordinates.clone(), combine);
        LaneVectors { coordinates, images }
    }

    /// Takes the basis of `lane` as mapped into itself: what comes next is another direction.
    pub fn close(&mut self, lane: usize) {
        if let Some(beta) = self.betas[lane].last_mut() {
            *beta = 0.0;
        }
    }

    /// The lanes at `lanes` alone.
    pub fn select(&self, lanes: &[usize]) -> Self {
        Self {
            basis: self.basis.select(lanes),
            images: self.images.as_ref().map(|images| images.select(lanes)),
            last: self.last.iter().map(|vectors| vectors.select(lanes)).collect(),
            columns: lanes.iter().map(|&lane| self.columns[lane].clone()).collect(),
            betas: lanes.iter().map(|&lane| self.betas[lane].clone()).collect(),
            is_closed: lanes.iter().map(|&lane| self.is_closed[lane]).collect(),
            epsilon: self.epsilon,
        }
    }
}

/// For each lane the rows of a matrix that grows by eight rows when it is full; rows are written in place,
/// and those that are not yet written are zero.
struct Rows {
    rows: Tensor<3>,
    len: usize,
    capacity: usize,
}

impl Rows {
    fn new(lanes: &dyn Lanes, capacity: usize) -> Self {
        let ([k, width], space) = (lanes.shape(), lanes.space());
        let rows = Tensor::zeros([k, capacity.min(8), width], (space.device(), space.dtype()));
        Self { rows, len: 0, capacity }
    }

    fn push(&mut self, vectors: &Tensor<2>) {
        let [k, room, width] = self.rows.dims();
        if self.len == room {
            let more = [k, 8.min(self.capacity - room), width];
            let more = Tensor::zeros(more, (&self.rows.device(), self.rows.dtype()));
            self.rows = Tensor::cat(vec![std::mem::replace(&mut self.rows, more.clone()), more], 1);
        }
        let row = vectors.clone().reshape([k, 1, width]);
        let rows = std::mem::replace(&mut self.rows, row.clone());
        self.rows = rows.slice_assign([0..k, self.len..self.len + 1, 0..width], row);
        self.len += 1;
    }

    /// The rows that are written; of several lanes, among which they would be apart, all rows.
    fn written(&self) -> Tensor<3> {
        let rows = self.rows.clone();
        if rows.dims()[0] == 1 { rows.narrow(1, 0, self.len) } else { rows }
    }

    fn select(&self, lanes: &[usize]) -> Self {
        let indices: Vec<i64> = lanes.iter().map(|&lane| lane as i64).collect();
        let indices = Tensor::from_data(indices.as_slice(), &self.rows.device());
        Self { rows: self.rows.clone().select(0, indices), ..*self }
    }
}

/// ⟨v, w⟩ of each lane on the host.
pub(super) fn dots(v: &LaneVectors, w: &LaneVectors) -> Result<Vec<f64>> {
    read(row_dots(&v.coordinates, &w.images).flatten(0, 1))
}
