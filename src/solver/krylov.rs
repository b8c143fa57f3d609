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
    /// Bases without vectors.
    pub fn new(lanes: &dyn Lanes) -> Self {
        let [k, _] = lanes.shape();
        Self {
            basis: Rows::new(),
            images: (!lanes.is_dense()).then(Rows::new),
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
        let images = self.images.as_ref().unwrap_or(&self.basis);
        let coefficients = images.dots(&rows);
        let [k, room, _] = coefficients.dims();
        let rest = match self.basis.combine(&coefficients) {
            Some(projection) => rows - projection,
            None => rows,
        };
        (rest, coefficients.reshape([k, room]))
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

    /// Combinations of the basis vectors, of which there must be one: for each lane one list of
    /// coefficients, of at most m.
    pub fn combine(&self, lanes: &dyn Lanes, coefficients: &[Vec<f64>]) -> LaneVectors {
        let ([k, width], space, room) = (lanes.shape(), lanes.space(), self.basis.room());
        let mut flat = vec![0.0; k * room];
        for (row, list) in flat.chunks_exact_mut(room.max(1)).zip(coefficients) {
            row[..list.len()].copy_from_slice(list);
        }
        let data = TensorData::new(flat, [k, room, 1]).convert_dtype(space.dtype());
        let flat = Tensor::<3>::from_data(data, (space.device(), space.dtype()));
        let zeros = || Tensor::zeros([k, width], (space.device(), space.dtype()));
        let combine = |rows: &Rows| rows.combine(&flat).unwrap_or_else(zeros);
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

/// Basis vectors of every lane in groups of [`GROUP`], so that a growing basis is never copied. Vectors are
/// written in place; rows that are not yet written are zero.
struct Rows {
    groups: Vec<Tensor<3>>,
    len: usize,
}

/// Vectors of a group: products with the basis are matrix products of this size.
const GROUP: usize = 8;

impl Rows {
    fn new() -> Self {
        Self { groups: Vec::new(), len: 0 }
    }

    fn push(&mut self, vectors: &Tensor<2>) {
        let [k, width] = vectors.dims();
        let at = self.len % GROUP;
        if at == 0 {
            let options = (&vectors.device(), vectors.dtype());
            self.groups.push(Tensor::zeros([k, GROUP, width], options));
        }
        let row = vectors.clone().reshape([k, 1, width]);
        if let Some(group) = self.groups.last_mut() {
            let rows = std::mem::replace(group, row.clone());
            *group = rows.slice_assign([0..k, at..at + 1, 0..width], row);
        }
        self.len += 1;
    }

    /// The groups, each with the number of its first row; of a single lane without rows that are not yet
    /// written, which among several lanes could not be left out without a copy.
    fn groups(&self) -> impl Iterator<Item = (usize, Tensor<3>)> {
        self.groups.iter().enumerate().map(|(i, group)| {
            let (first, group) = (GROUP * i, group.clone());
            let written = GROUP.min(self.len - first);
            let is_single = group.dims()[0] == 1 && written < GROUP;
            (first, if is_single { group.narrow(1, 0, written) } else { group })
        })
    }

    /// Number of coefficients of a combination: at least the number of vectors.
    fn room(&self) -> usize {
        self.groups().last().map_or(0, |(first, group)| first + group.dims()[1])
    }

    /// The inner product of each row with the vector of its lane, `[K, room, 1]`.
    fn dots(&self, vectors: &Tensor<2>) -> Tensor<3> {
        let [k, width] = vectors.dims();
        let column = vectors.clone().reshape([k, width, 1]);
        Tensor::cat(self.groups().map(|(_, group)| group.matmul(column.clone())).collect(), 1)
    }

    /// Σᵢ cᵢ·rowᵢ `[K, width]` for coefficients `[K, room, 1]`; `None` of no rows.
    fn combine(&self, coefficients: &Tensor<3>) -> Option<Tensor<2>> {
        let sum = |(first, group): (usize, Tensor<3>)| {
            let [k, rows, width] = group.dims();
            let part = coefficients.clone().narrow(1, first, rows).reshape([k, 1, rows]);
            part.matmul(group).reshape([k, width])
        };
        self.groups().map(sum).reduce(|a, b| a + b)
    }

    fn select(&self, lanes: &[usize]) -> Self {
        let indices: Vec<i64> = lanes.iter().map(|&lane| lane as i64).collect();
        let select = |group: &Tensor<3>| {
            let indices = Tensor::from_data(indices.as_slice(), &group.device());
            group.clone().select(0, indices)
        };
        Self { groups: self.groups.iter().map(select).collect(), len: self.len }
    }
}

/// ⟨v, w⟩ of each lane on the host.
pub(super) fn dots(v: &LaneVectors, w: &LaneVectors) -> Result<Vec<f64>> {
    read(row_dots(&v.coordinates, &w.images).flatten(0, 1))
}
