//! Orthonormal Krylov bases of all lanes, and the eigenpairs of each operator in its basis.
//!
//! Each new vector is orthogonalized twice: against the last two basis vectors, which is all that a
//! symmetric A needs in exact arithmetic, and then against the whole basis, so that no spurious copies of
//! eigenvalues appear (Paige 1976). All coefficients are kept, not only the three of the Lanczos
//! recurrence, so that A·Q = Q·H + r·eᵀ holds to rounding even where A is not quite symmetric; the
//! residual of a Ritz pair then needs no product ([`Hessenberg`]).

use burn::tensor::{Tensor, TensorData};

use super::hessenberg::{Hessenberg, LaneEigen};
use super::small_eigen::SmallEigen;
use crate::error::Result;
use crate::operator::{LaneVectors, Lanes, row_dots};
use crate::params::read;

/// Bases of all lanes, and the Hessenberg matrix H of each.
pub(crate) struct Krylov {
    basis: Rows,
    /// Images of the basis, where they are not the basis itself.
    images: Option<Rows>,
    /// The last two basis vectors, the last one first.
    last: Vec<LaneVectors>,
    /// For each lane the coefficients of its products.
    coefficients: Vec<Hessenberg>,
    /// For each lane, whether rounding is all that is left of r after the last step.
    is_closed: Vec<bool>,
    epsilon: f64,
}

impl Krylov {
    /// Bases without vectors, of at most `capacity` ones.
    pub fn new(lanes: &dyn Lanes, capacity: usize) -> Self {
        let [k, _] = lanes.shape();
        let rows = || Rows { groups: Vec::new(), len: 0, capacity };
        Self {
            basis: rows(),
            images: (!lanes.is_dense()).then(rows),
            last: Vec::new(),
            coefficients: vec![Hessenberg::default(); k],
            is_closed: vec![false; k],
            epsilon: lanes.space().epsilon(),
        }
    }

    /// Number of basis vectors m.
    pub fn len(&self) -> usize {
        self.basis.len
    }

    /// Number of basis vectors that there is memory for.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.basis.groups.iter().map(|group| group.dims()[1]).sum()
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
        let (m, n_last) = (self.len(), self.last.len());
        let mut rest = lanes.apply(&unit.images)?;
        let mut scalars = Vec::new();
        for vector in &self.last {
            let coefficient = row_dots(&rest, &vector.images);
            rest = rest - vector.coordinates.clone() * coefficient.clone();
            scalars.push(coefficient);
        }
        let (mut rest, mut coefficients) = self.project_out(rest);
        if (m > n_last && n_last < 2) || self.is_turned() {
            // After a restart once, and after a turn from then on, a product has large coefficients along
            // other vectors than the last two.
            let (again, more) = self.project_out(rest);
            (rest, coefficients) = (again, coefficients + more);
        }
        scalars.push(coefficients);
        let rest = LaneVectors::new(lanes, rest)?;
        let scale = lanes.rounding_scale(&rest.coordinates);
        scalars.extend([rest.squared_norms(), scale]);
        let scalars = Tensor::cat(scalars, 1);
        let [_, width] = scalars.dims();
        let scalars = read(scalars.flatten(0, 1))?;
        for (lane, scalars) in scalars.chunks_exact(width).enumerate() {
            let (square, scale) = (scalars[width - 2], scalars[width - 1]);
            let mut column = scalars[n_last..n_last + m].to_vec();
            for (back, coefficient) in scalars[..n_last].iter().enumerate() {
                column[m - 1 - back] += coefficient;
            }
            // Rounding may leave a negative square, but NaN stays NaN.
            let beta = if square < 0.0 { 0.0 } else { square.sqrt() };
            self.coefficients[lane].push(column, beta);
            self.is_closed[lane] = square <= 16.0 * self.epsilon * scale && square < 0.5 * scale;
            if m == lanes.space().n_params() {
                self.complete(lane);
            }
        }
        Ok(rest)
    }

    /// Each row minus its projection on its basis, and the coefficients `[K, room]`.
    fn project_out(&self, rows: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let [k, width] = rows.dims();
        let images = self.images.as_ref().unwrap_or(&self.basis);
        let coefficients = images.dots(&rows);
        let projection = self.basis.combine(&coefficients);
        (rows - projection.reshape([k, width]), coefficients.flatten(1, 2))
    }

    /// The vectors minus their projections on the bases, with images.
    pub fn orthogonal_to(&self, lanes: &dyn Lanes, rows: Tensor<2>) -> Result<LaneVectors> {
        let (rows, _) = self.project_out(rows);
        LaneVectors::new(lanes, self.project_out(rows).0)
    }

    /// The eigenpairs of the operator of `lane` in its basis.
    pub fn eigen(&self, lane: usize) -> Result<LaneEigen> {
        self.coefficients[lane].eigen(self.is_closed(lane))
    }

    /// Whether A maps the basis of `lane` into itself, to rounding.
    pub fn is_closed(&self, lane: usize) -> bool {
        self.is_closed[lane] || self.coefficients[lane].is_closed(self.epsilon)
    }

    /// Combinations of the basis vectors: for each lane one list of coefficients, of at most m.
    pub fn combine(&self, coefficients: &[Vec<f64>]) -> LaneVectors {
        let flat = self.upload(coefficients.iter().map(std::slice::from_ref), 1);
        let combine = |rows: &Rows| {
            let sums = rows.combine(&flat);
            let [k, _, width] = sums.dims();
            sums.reshape([k, width])
        };
        let coordinates = combine(&self.basis);
        let images = self.images.as_ref().map_or_else(|| coordinates.clone(), combine);
        LaneVectors { coordinates, images }
    }

    /// For each lane `p` lists of coefficients as `[K, p, room]`; lists that are not there are zero.
    fn upload<'a>(&self, lists: impl Iterator<Item = &'a [Vec<f64>]>, p: usize) -> Tensor<3> {
        let (first, k, room) = (&self.basis.groups[0], self.coefficients.len(), self.basis.room());
        let mut flat = vec![0.0; k * p * room];
        for (lane, lists) in flat.chunks_exact_mut(p * room).zip(lists) {
            for (row, list) in lane.chunks_exact_mut(room).zip(lists) {
                row[..list.len()].copy_from_slice(list);
            }
        }
        let (device, dtype) = (first.device(), first.dtype());
        let data = TensorData::new(flat, [k, p, room]).convert_dtype(dtype);
        Tensor::from_data(data, (&device, dtype))
    }

    /// Replaces each lane's basis by as many Ritz vectors, `kept` of its `eigen`: a thick restart. What
    /// the next vector is stays the same: the bases are smaller, and the relation A·Q = Q·H + r·eᵀ holds.
    pub fn restart(&mut self, kept: &[(SmallEigen, Vec<usize>)]) {
        let p = kept.first().map_or(0, |(_, kept)| kept.len());
        let vectors = |(eigen, kept): &(SmallEigen, Vec<usize>)| {
            kept.iter().map(|&i| eigen.vectors[i].clone()).collect::<Vec<_>>()
        };
        let vectors: Vec<_> = kept.iter().map(vectors).collect();
        let flat = self.upload(vectors.iter().map(Vec::as_slice), p);
        let combined = |rows: &Rows| rows.combine(&flat);
        let basis = combined(&self.basis);
        let images = self.images.as_ref().map_or_else(|| basis.clone(), combined);
        // Rounding would add up over restarts: one step of Newton's iteration for the inverse root of the
        // Gram matrix makes the vectors orthonormal again.
        let gram = basis.clone().matmul(images.clone().swap_dims(1, 2));
        let orthonormal = |rows: Tensor<3>| rows.clone() * 1.5 - gram.clone().matmul(rows) * 0.5;
        self.basis.replace(orthonormal(basis));
        if let Some(rows) = &mut self.images {
            rows.replace(orthonormal(images));
        }
        for (coefficients, (eigen, kept)) in self.coefficients.iter_mut().zip(kept) {
            *coefficients = coefficients.restarted(eigen, kept, self.epsilon);
        }
        self.last.clear();
    }

    /// Says that what comes next in the lanes at `lanes` is another direction than r.
    pub fn turn(&mut self, lanes: &[usize]) {
        for &lane in lanes {
            let is_closed = self.is_closed(lane);
            self.coefficients[lane].defer(is_closed);
        }
        if !lanes.is_empty() {
            self.last.clear();
        }
    }

    /// Says that the basis of `lane` spans all that its frame does.
    pub fn complete(&mut self, lane: usize) {
        self.coefficients[lane].complete();
    }

    /// Whether a lane has turned from an r that was more than rounding. What the basis has no vector
    /// for then stays outside, so that a restart from it would not converge.
    pub fn is_turned(&self) -> bool {
        self.coefficients.iter().any(Hessenberg::is_turned)
    }

    /// The lanes at `lanes` alone.
    pub fn select(&self, lanes: &[usize]) -> Self {
        Self {
            basis: self.basis.select(lanes),
            images: self.images.as_ref().map(|images| images.select(lanes)),
            last: self.last.iter().map(|vectors| vectors.select(lanes)).collect(),
            coefficients: lanes.iter().map(|&lane| self.coefficients[lane].clone()).collect(),
            is_closed: lanes.iter().map(|&lane| self.is_closed[lane]).collect(),
            epsilon: self.epsilon,
        }
    }
}

/// Vectors of every lane in groups, so that a growing basis is never copied. They are written in place;
/// rows that are not yet written are zero.
struct Rows {
    /// `[K, rows, width]`, all of them written but the end of the last one.
    groups: Vec<Tensor<3>>,
    len: usize,
    capacity: usize,
}

/// Vectors of a new group: products with the basis are matrix products of this size.
const GROUP: usize = 8;

impl Rows {
    fn push(&mut self, vectors: &Tensor<2>) {
        let [k, width] = vectors.dims();
        let full: usize = self.groups.iter().map(|group| group.dims()[1]).sum();
        if self.len == full {
            let rows = GROUP.min(self.capacity.saturating_sub(full)).max(1);
            let options = (&vectors.device(), vectors.dtype());
            self.groups.push(Tensor::zeros([k, rows, width], options));
        }
        let row = vectors.clone().reshape([k, 1, width]);
        let before = self.first_of_last();
        if let Some(group) = self.groups.last_mut() {
            let (rows, at) = (std::mem::replace(group, row.clone()), self.len - before);
            *group = rows.slice_assign([0..k, at..at + 1, 0..width], row);
        }
        self.len += 1;
    }

    /// The number of the first row of the last group.
    fn first_of_last(&self) -> usize {
        self.groups.iter().rev().skip(1).map(|group| group.dims()[1]).sum()
    }

    fn replace(&mut self, rows: Tensor<3>) {
        self.len = rows.dims()[1];
        self.groups = vec![rows];
    }

    /// The groups; of a single lane without the rows that are not yet written, which among several lanes
    /// could not be left out without a copy.
    fn groups(&self) -> impl Iterator<Item = Tensor<3>> {
        let before = self.first_of_last();
        self.groups.iter().enumerate().map(move |(i, group)| {
            let is_single_last = i + 1 == self.groups.len() && group.dims()[0] == 1;
            let group = group.clone();
            if is_single_last { group.narrow(1, 0, self.len - before) } else { group }
        })
    }

    /// Number of coefficients of a combination: at least the number of vectors.
    fn room(&self) -> usize {
        self.groups().map(|group| group.dims()[1]).sum()
    }

    /// The inner product of each row with the vector of its lane, `[K, 1, room]`.
    fn dots(&self, vectors: &Tensor<2>) -> Tensor<3> {
        let [k, width] = vectors.dims();
        let column = vectors.clone().reshape([k, width, 1]);
        let dots = self.groups().map(|group| group.matmul(column.clone())).collect();
        Tensor::cat(dots, 1).reshape([k, 1, self.room()])
    }

    /// Combinations `[K, p, width]` of the rows, of which there is one, by coefficients `[K, p, room]`.
    fn combine(&self, coefficients: &Tensor<3>) -> Tensor<3> {
        let mut first = 0;
        let sum = |group: Tensor<3>| {
            let rows = group.dims()[1];
            first += rows;
            coefficients.clone().narrow(2, first - rows, rows).matmul(group)
        };
        let sums: Vec<_> = self.groups().map(sum).collect();
        sums.into_iter().reduce(|a, b| a + b).unwrap_or_else(|| coefficients.clone())
    }

    fn select(&self, lanes: &[usize]) -> Self {
        let indices: Vec<i64> = lanes.iter().map(|&lane| lane as i64).collect();
        let select = |group: &Tensor<3>| {
            let indices = Tensor::from_data(indices.as_slice(), &group.device());
            group.clone().select(0, indices)
        };
        Self { groups: self.groups.iter().map(select).collect(), ..*self }
    }
}

/// `a`, and in lanes with a one in `is_other` `b` instead of it.
pub(super) fn mixed(a: &LaneVectors, b: &LaneVectors, is_other: Vec<f64>) -> LaneVectors {
    if is_other.iter().all(|other| *other == 1.0) {
        return b.clone();
    }
    let (k, device, dtype) = (is_other.len(), a.images.device(), a.images.dtype());
    let data = TensorData::new(is_other, [k, 1]).convert_dtype(dtype);
    let other = Tensor::<2>::from_data(data, (&device, dtype));
    a.scaled(&other.clone().neg().add_scalar(1.0)).plus(&b.scaled(&other))
}

/// ⟨v, w⟩ of each lane on the host.
pub(super) fn dots(v: &LaneVectors, w: &LaneVectors) -> Result<Vec<f64>> {
    read(row_dots(&v.coordinates, &w.images).flatten(0, 1))
}
