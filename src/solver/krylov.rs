//! Orthonormal Krylov bases of all lanes, and the eigenpairs of each operator in its basis.
//!
//! Each new vector is orthogonalized twice: against the last two basis vectors, which is all that a
//! symmetric A needs in exact arithmetic, and then against the whole basis, so that no spurious copies of
//! eigenvalues appear (Paige 1976). All coefficients are kept, not only the three of the Lanczos
//! recurrence, so that A·Q = Q·H + r·eᵀ holds to rounding even where A is not quite symmetric; the
//! residual of a Ritz pair then needs no product ([`Hessenberg`]).
//!
//! Two passes over the basis can cost more than the product of a small batch. A basis may do without
//! them for as long as it is orthogonal to √ε by an estimate ([`Drift`]), see
//! [`Krylov::semi_orthogonal`].

use burn::tensor::{Tensor, TensorData};

use super::drift::Drift;
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
    /// For each lane, how far its basis is from orthogonal, while no pass over it is needed.
    drift: Option<Vec<Drift>>,
    epsilon: f64,
}

/// What is left of products, and what was read of it.
struct Rest {
    vectors: LaneVectors,
    /// ‖r‖² as a column `[K, 1]`.
    squares: Tensor<2>,
    lanes: Vec<RestOfLane>,
}

/// On the host: the coefficients of a product in the basis, ‖r‖², and what its rounding is a fraction of.
struct RestOfLane {
    column: Vec<f64>,
    square: f64,
    scale: f64,
}

impl RestOfLane {
    /// ‖r‖. Rounding may leave a negative square, but NaN stays NaN.
    fn norm(&self) -> f64 {
        if self.square < 0.0 { 0.0 } else { self.square.sqrt() }
    }
}

impl Krylov {
    /// Bases without vectors.
    pub fn new(lanes: &dyn Lanes) -> Self {
        let [k, _] = lanes.shape();
        Self {
            basis: Rows::default(),
            images: (!lanes.is_dense()).then(Rows::default),
            last: Vec::new(),
            coefficients: vec![Hessenberg::default(); k],
            is_closed: vec![false; k],
            drift: None,
            epsilon: lanes.space().epsilon(),
        }
    }

    /// Orthogonalizes against the last two vectors alone for as long as the whole basis is orthogonal
    /// to √ε in every lane, by the estimate of [`Drift`]; from there on against all of it.
    ///
    /// At that level the symmetric part of H is still that of an orthonormal basis of the same space,
    /// to rounding (Simon 1984), so that its eigenvalues are what they were. Coefficients along other
    /// vectors than the last two are rounding, and part of r.
    pub fn semi_orthogonal(self) -> Self {
        let drift = Some(vec![Drift::default(); self.coefficients.len()]);
        Self { drift, ..self }
    }

    /// Whether steps still do without passes over the basis.
    #[cfg(test)]
    pub fn is_without_passes(&self) -> bool {
        self.drift.is_some()
    }

    /// Number of basis vectors m.
    pub fn len(&self) -> usize {
        self.basis.len()
    }

    /// Adds unit vectors and multiplies them; returns r/‖r‖, r the part of the products outside the
    /// bases; of norm 0 where r is. One product in each lane, one read-back.
    pub fn step(&mut self, lanes: &dyn Lanes, unit: &LaneVectors) -> Result<LaneVectors> {
        self.basis.push(&unit.coordinates);
        if let Some(images) = &mut self.images {
            images.push(&unit.images);
        }
        self.last.insert(0, unit.clone());
        self.last.truncate(2);
        let (m, n_last) = (self.len(), self.last.len());
        let mut rest = lanes.apply(&unit.images)?;
        let mut local = Vec::new();
        for vector in &self.last {
            let coefficient = row_dots(&rest, &vector.images);
            rest = rest - vector.coordinates.clone() * coefficient.clone();
            local.push(coefficient);
        }
        let mut coefficients = None;
        if self.drift.is_none() {
            self.pack();
            let (once, found) = self.project_out(rest);
            (rest, coefficients) = (once, Some(found));
        }
        if (m > n_last && n_last < 2) || self.is_turned() {
            // After a restart once, and after a turn from then on, a product has large coefficients along
            // other vectors than the last two.
            let (again, more) = self.project_out(rest);
            let found = coefficients.map_or(more.clone(), |found| found + more);
            (rest, coefficients) = (again, Some(found));
        }
        let mut rest = self.rest(lanes, rest, local, coefficients)?;
        if self.has_drifted(&rest) {
            self.end_drift(lanes)?;
            let (again, _) = self.project_out(rest.vectors.coordinates);
            let before = rest.lanes;
            rest = self.rest(lanes, again, Vec::new(), None)?;
            for (lane, before) in rest.lanes.iter_mut().zip(before) {
                lane.column = before.column;
            }
        }
        for (lane, found) in rest.lanes.into_iter().enumerate() {
            let (beta, RestOfLane { column, square, scale }) = (found.norm(), found);
            self.coefficients[lane].push(column, beta);
            self.is_closed[lane] = square <= 16.0 * self.epsilon * scale && square < 0.5 * scale;
            if m == lanes.space().n_params() {
                self.complete(lane);
            }
        }
        Ok(rest.vectors.unit(rest.squares))
    }

    /// What is left of products after taking off multiples of the last vectors, `local` (the last one
    /// first), and of all of them, `coefficients` `[K, m]`.
    fn rest(
        &self,
        lanes: &dyn Lanes,
        rest: Tensor<2>,
        local: Vec<Tensor<2>>,
        coefficients: Option<Tensor<2>>,
    ) -> Result<Rest> {
        let (m, n_local, n_all) = (self.len(), local.len(), coefficients.iter().len() * self.len());
        let vectors = LaneVectors::new(lanes, rest)?;
        let squares = vectors.squared_norms();
        let scale = lanes.rounding_scale(&vectors.coordinates);
        let scalars = local.into_iter().chain(coefficients).chain([squares.clone(), scale]);
        let scalars = Tensor::cat(scalars.collect(), 1);
        let [_, width] = scalars.dims();
        let scalars = read(scalars.flatten(0, 1))?;
        let of_lane = |scalars: &[f64]| {
            let mut column = vec![0.0; m];
            column.iter_mut().zip(&scalars[n_local..n_local + n_all]).for_each(|(c, s)| *c = *s);
            for (back, coefficient) in scalars[..n_local].iter().enumerate() {
                column[m - 1 - back] += coefficient;
            }
            RestOfLane { column, square: scalars[width - 2], scale: scalars[width - 1] }
        };
        let lanes = scalars.chunks_exact(width).map(of_lane).collect();
        Ok(Rest { vectors, squares, lanes })
    }

    /// Whether the next vector of a lane would be too far from orthogonal to its basis.
    fn has_drifted(&mut self, rest: &Rest) -> bool {
        let Some(drift) = &mut self.drift else { return false };
        let epsilon = self.epsilon;
        let of_lane = |(drift, rest): (&mut Drift, &RestOfLane)| {
            drift.next(&rest.column, rest.norm(), epsilon)
        };
        // NaN is no drift, and is reported as what it is.
        let worst = drift.iter_mut().zip(&rest.lanes).map(of_lane).fold(0.0, f64::max);
        worst > epsilon.sqrt()
    }

    /// Makes the last vector orthogonal to those before it, as the next one is going to be: two in a row,
    /// since the recurrence leads back to both (Simon 1984). The coefficients so far are those in this
    /// basis, to the square of what it was off by, and what is taken off is none of them.
    fn end_drift(&mut self, lanes: &dyn Lanes) -> Result<()> {
        self.drift = None;
        self.basis.groups.pop();
        self.images.iter_mut().for_each(|images| drop(images.groups.pop()));
        self.pack();
        if self.len() > 0 {
            let (rows, _) = self.project_out(self.last[0].coordinates.clone());
            self.last[0] = LaneVectors::new(lanes, rows)?.normalized();
        }
        self.basis.push(&self.last[0].coordinates);
        self.images.iter_mut().for_each(|images| images.push(&self.last[0].images));
        Ok(())
    }

    /// Joins rows of the basis, before passes over it.
    fn pack(&mut self) {
        self.basis.pack();
        self.images.iter_mut().for_each(Rows::pack);
    }

    /// Each row minus its projection on its basis, and the coefficients `[K, m]`.
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

    /// Coordinates `[K, width]` of combinations of the basis vectors: for each lane one list of
    /// coefficients, of at most m.
    pub fn combine(&self, coefficients: &[Vec<f64>]) -> Tensor<2> {
        let flat = self.upload(coefficients.iter().map(std::slice::from_ref), 1);
        let sums = self.basis.combine(&flat);
        let [k, _, width] = sums.dims();
        sums.reshape([k, width])
    }

    /// For each lane `p` lists of coefficients as `[K, p, m]`; lists that are not there are zero.
    fn upload<'a>(&self, lists: impl Iterator<Item = &'a [Vec<f64>]>, p: usize) -> Tensor<3> {
        let (first, k, m) = (&self.basis.groups[0], self.coefficients.len(), self.len());
        let mut flat = vec![0.0; k * p * m];
        for (lane, lists) in flat.chunks_exact_mut(p * m).zip(lists) {
            for (row, list) in lane.chunks_exact_mut(m).zip(lists) {
                row[..list.len()].copy_from_slice(list);
            }
        }
        let (device, dtype) = (first.device(), first.dtype());
        let data = TensorData::new(flat, [k, p, m]).convert_dtype(dtype);
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
        self.drift = None;
    }

    /// Says that what comes next in the lanes at `lanes` is another direction than r.
    pub fn turn(&mut self, lanes: &[usize]) {
        for &lane in lanes {
            let is_closed = self.is_closed(lane);
            self.coefficients[lane].defer(is_closed);
        }
        if !lanes.is_empty() {
            self.last.clear();
            self.drift = None;
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
            drift: self
                .drift
                .as_ref()
                .map(|drift| lanes.iter().map(|&lane| drift[lane].clone()).collect()),
            epsilon: self.epsilon,
        }
    }
}

/// Vectors of every lane in groups `[K, rows, width]`: products with several rows are matrix products.
#[derive(Default)]
struct Rows {
    groups: Vec<Tensor<3>>,
}

/// Rows that become a group.
const GROUP: usize = 4;

impl Rows {
    fn len(&self) -> usize {
        self.groups.iter().map(|group| group.dims()[1]).sum()
    }

    /// Adds a row by itself: nothing is copied.
    fn push(&mut self, vectors: &Tensor<2>) {
        let [k, width] = vectors.dims();
        self.groups.push(vectors.clone().reshape([k, 1, width]));
    }

    /// Joins the rows that are by themselves once there are some.
    fn pack(&mut self) {
        let is_single = |group: &&Tensor<3>| group.dims()[1] == 1;
        let n_singles = self.groups.iter().rev().take_while(is_single).count();
        if n_singles >= GROUP {
            let singles = self.groups.split_off(self.groups.len() - n_singles);
            self.groups.push(Tensor::cat(singles, 1));
        }
    }

    fn replace(&mut self, rows: Tensor<3>) {
        self.groups = vec![rows];
    }

    /// The inner product of each row with the vector of its lane, `[K, 1, m]`.
    fn dots(&self, vectors: &Tensor<2>) -> Tensor<3> {
        let [k, width] = vectors.dims();
        let column = vectors.clone().reshape([k, width, 1]);
        let dots = self.groups.iter().map(|group| group.clone().matmul(column.clone()));
        Tensor::cat(dots.collect(), 1).reshape([k, 1, self.len()])
    }

    /// Combinations `[K, p, width]` of the rows, of which there is one, by coefficients `[K, p, m]`.
    fn combine(&self, coefficients: &Tensor<3>) -> Tensor<3> {
        let mut first = 0;
        let sum = |group: &Tensor<3>| {
            let rows = group.dims()[1];
            first += rows;
            coefficients.clone().narrow(2, first - rows, rows).matmul(group.clone())
        };
        let sums: Vec<_> = self.groups.iter().map(sum).collect();
        sums.into_iter().reduce(|a, b| a + b).unwrap_or_else(|| coefficients.clone())
    }

    fn select(&self, lanes: &[usize]) -> Self {
        let indices: Vec<i64> = lanes.iter().map(|&lane| lane as i64).collect();
        let select = |group: &Tensor<3>| {
            let indices = Tensor::from_data(indices.as_slice(), &group.device());
            group.clone().select(0, indices)
        };
        Self { groups: self.groups.iter().map(select).collect() }
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
