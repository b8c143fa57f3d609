//! [`Lanes`]: several symmetric operators side by side, each with a vector of its own.

use std::sync::Arc;

use burn::tensor::Tensor;
use burn_backend::DType;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::LinearOperator;
use crate::error::Result;
use crate::params::{ParamSpace, ParamVector};

/// K symmetric operators side by side. Lane i has its own operator Aᵢ and its own vector; vectors of
/// all lanes are the rows of a `[K, width]` matrix.
///
/// A vector is held by *coordinates* c in some frame, of `width` numbers, possibly far fewer than the
/// dimension n. Its *image* M·c has the same width and gives inner products,
/// ⟨v, w⟩ = (coordinates of v)·(image of w), and products: the coordinates of A·v are a linear function
/// of the image of v. In a frame of all of ℝⁿ, coordinates and images are the vector itself.
pub trait Lanes {
    /// The number of lanes K, and the number of coordinates of a vector.
    fn shape(&self) -> [usize; 2];

    /// The space of the vectors, whose dimension bounds the number of independent ones.
    fn space(&self) -> &Arc<ParamSpace>;

    /// Whether coordinates are the vectors themselves: images are then coordinates.
    fn is_dense(&self) -> bool;

    /// Images `[K, width]` of vectors with these coordinates `[K, width]`.
    ///
    /// # Errors
    /// Another number or another length of vectors, and what the computation can raise.
    fn images(&self, coordinates: &Tensor<2>) -> Result<Tensor<2>>;

    /// Coordinates `[K, width]` of Aᵢvᵢ from the images of vᵢ. Cost: one product in each lane.
    ///
    /// # Errors
    /// Another number or another length of vectors, and what the computation can raise.
    fn apply(&self, images: &Tensor<2>) -> Result<Tensor<2>>;

    /// Per lane, as a column `[K, 1]`, a bound of Σᵢⱼ |cᵢ||Mᵢⱼ||cⱼ|, of which the rounding of ‖v‖² = cᵀMc is
    /// a fraction ε. Coordinates are not unique, so that a vector of norm zero may have large ones.
    fn rounding_scale(&self, coordinates: &Tensor<2>) -> Tensor<2>;

    /// Coordinates of random vectors in all directions that the frame spans; lane i draws from a
    /// stream of its own, started with `seeds[i]`.
    ///
    /// # Panics
    /// If there is not one seed for each lane.
    fn random(&self, seeds: &[u64]) -> Tensor<2>;

    /// Images of one vector of the space in every lane.
    ///
    /// # Errors
    /// A vector of another space, and what the computation can raise.
    fn images_of(&self, vector: &ParamVector) -> Result<Tensor<2>>;

    /// Lane number `lane` of vectors with these coordinates, as a vector of the space.
    ///
    /// # Errors
    /// What the computation can raise.
    fn expand(&self, coordinates: &Tensor<2>, lane: usize) -> Result<ParamVector>;

    /// The lanes at `lanes`, in that order.
    ///
    /// # Errors
    /// What the computation can raise.
    fn select(&self, lanes: &[usize]) -> Result<Box<dyn Lanes + '_>>;
}

/// Vectors of all lanes with their images.
#[derive(Clone, Debug)]
pub struct LaneVectors {
    /// Coordinates `[K, width]`.
    pub coordinates: Tensor<2>,
    /// Images `[K, width]`.
    pub images: Tensor<2>,
}

impl LaneVectors {
    /// Vectors with these coordinates.
    ///
    /// # Errors
    /// What the computation of images can raise.
    pub fn new(lanes: &dyn Lanes, coordinates: Tensor<2>) -> Result<Self> {
        let images = lanes.images(&coordinates)?;
        Ok(Self { coordinates, images })
    }

    /// ‖v‖² of each lane as a column `[K, 1]`.
    pub fn squared_norms(&self) -> Tensor<2> {
        row_dots(&self.coordinates, &self.images)
    }

    /// Each lane's vector times its entry of a column `[K, 1]`.
    #[must_use]
    pub fn scaled(&self, factors: &Tensor<2>) -> Self {
        let scale = |rows: &Tensor<2>| rows.clone() * factors.clone();
        let coordinates = scale(&self.coordinates);
        Self { coordinates, images: scale(&self.images) }
    }

    /// The vectors scaled to norm 1; a vector of norm 0 stays as it is.
    #[must_use]
    pub fn normalized(&self) -> Self {
        self.unit(self.squared_norms())
    }

    /// [`normalized`](Self::normalized), by squared norms that are known.
    pub(crate) fn unit(&self, squares: Tensor<2>) -> Self {
        let zero = squares.clone().lower_equal_elem(0.0);
        self.scaled(&squares.mask_fill(zero, 1.0).sqrt().recip())
    }

    /// The lanes at `lanes` alone.
    #[must_use]
    pub fn select(&self, lanes: &[usize]) -> Self {
        let indices: Vec<i64> = lanes.iter().map(|&lane| lane as i64).collect();
        let indices = Tensor::from_data(indices.as_slice(), &self.images.device());
        let select = |rows: &Tensor<2>| rows.clone().select(0, indices.clone());
        Self { coordinates: select(&self.coordinates), images: select(&self.images) }
    }

    /// The sum, lane by lane.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let coordinates = self.coordinates.clone() + other.coordinates.clone();
        Self { coordinates, images: self.images.clone() + other.images.clone() }
    }
}

/// The inner product of each row of `a` with the row of `b` as a column, summed in two levels so that
/// rounding in f32 grows with the lengths of the levels and not with the width.
pub(crate) fn row_dots(a: &Tensor<2>, b: &Tensor<2>) -> Tensor<2> {
    const CHUNK: usize = 4096;
    let [k, n] = a.dims();
    let head = n / CHUNK * CHUNK;
    let part = |from: usize, length: usize| {
        let narrow = |rows: &Tensor<2>| rows.clone().narrow(1, from, length);
        if length == n { a.clone() * b.clone() } else { narrow(a) * narrow(b) }
    };
    if a.dtype() == DType::F64 || head == 0 {
        return part(0, n).sum_dim(1);
    }
    // Narrowed before the product, which comes out contiguous: to reshape it copies nothing.
    let sums = part(0, head).reshape([k, head / CHUNK, CHUNK]).sum_dim(2);
    let total: Tensor<2> = sums.sum_dim(1).reshape([k, 1]);
    if head == n { total } else { total + part(head, n - head).sum_dim(1) }
}

/// One operator as one lane of dense vectors.
pub(crate) struct SingleLane<'a>(pub &'a dyn LinearOperator);

impl SingleLane<'_> {
    /// The vector of the lane.
    pub fn vector(&self, row: &Tensor<2>) -> ParamVector {
        self.0.space().vector(row.clone().reshape([self.0.dim()]))
    }
}

impl Lanes for SingleLane<'_> {
    fn shape(&self) -> [usize; 2] {
        [1, self.0.dim()]
    }

    fn space(&self) -> &Arc<ParamSpace> {
        self.0.space()
    }

    fn is_dense(&self) -> bool {
        true
    }

    fn images(&self, coordinates: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(coordinates.clone())
    }

    fn apply(&self, images: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(self.0.apply(&self.vector(images))?.tensor().unsqueeze_dim(0))
    }

    fn rounding_scale(&self, coordinates: &Tensor<2>) -> Tensor<2> {
        row_dots(coordinates, coordinates)
    }

    fn random(&self, seeds: &[u64]) -> Tensor<2> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seeds[0]);
        self.0.space().random(&mut rng).tensor().unsqueeze_dim(0)
    }

    fn images_of(&self, vector: &ParamVector) -> Result<Tensor<2>> {
        self.0.space().check(vector.space())?;
        Ok(vector.tensor().unsqueeze_dim(0))
    }

    fn expand(&self, coordinates: &Tensor<2>, _: usize) -> Result<ParamVector> {
        Ok(self.vector(coordinates))
    }

    fn select(&self, _: &[usize]) -> Result<Box<dyn Lanes + '_>> {
        Ok(Box::new(SingleLane(self.0)))
    }
}
