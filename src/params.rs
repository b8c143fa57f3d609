//! The space that Hessians act on: [`ParamSpace`] lays the trainable parameters of a model out in
//! one vector, [`ParamVector`] is a point of it, [`ParamBlock`] several points.
//!
//! Vectors live on the model's device, one flat tensor each, so that inner products and
//! combinations are single operations; parameters are views of it. Scalars are read back as f64.

use std::sync::Arc;

use burn::tensor::{DType, Device, Shape, Tensor, TensorData};
use burn_backend::Slice;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::{Dispatch, DispatchTensor};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::error::{Error, Result};

/// One parameter's place in a [`ParamSpace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamEntry {
    /// Path in the model, for example `hidden.0.weight`.
    pub name: String,
    /// Shape of the parameter.
    pub shape: Vec<usize>,
    /// Position of its first element in a flat vector; elements follow in row-major order.
    pub offset: usize,
}

impl ParamEntry {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True for a parameter without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The trainable parameters of a model in visit order: names, shapes, places, dtype, device.
#[derive(Clone, Debug)]
pub struct ParamSpace {
    entries: Vec<ParamEntry>,
    n_params: usize,
    dtype: DType,
    device: Device,
}

impl ParamSpace {
    /// A space without model structure, for operators of your own: one entry of `n` elements.
    pub fn flat(n: usize, dtype: DType, device: &Device) -> Arc<Self> {
        Arc::new(Self::new(vec![("vector".into(), vec![n])], dtype, device))
    }

    pub(crate) fn new(parts: Vec<(String, Vec<usize>)>, dtype: DType, device: &Device) -> Self {
        let mut offset = 0;
        let entry = |(name, shape): (String, Vec<usize>)| {
            let entry = ParamEntry { name, shape, offset };
            offset += entry.len();
            entry
        };
        let entries = parts.into_iter().map(entry).collect();
        let device = device.clone().without_autodiff();
        Self { entries, n_params: offset, dtype, device }
    }

    /// Number of scalar parameters n.
    pub fn n_params(&self) -> usize {
        self.n_params
    }

    /// The parameters in order.
    pub fn entries(&self) -> &[ParamEntry] {
        &self.entries
    }

    /// The dtype that all parameters share: f32 or f64.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device of the model, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Distance from 1 to the next number of the dtype: 2⁻²³ or 2⁻⁵².
    pub fn epsilon(&self) -> f64 {
        match self.dtype {
            DType::F64 => f64::EPSILON,
            _ => f64::from(f32::EPSILON),
        }
    }

    /// The zero vector.
    pub fn zeros(self: &Arc<Self>) -> ParamVector {
        let data = Tensor::zeros([self.n_params], (&self.device, self.dtype));
        self.vector(data)
    }

    /// A vector from host values in flat order.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when there are not [`n_params`](Self::n_params) values.
    pub fn from_values(self: &Arc<Self>, values: &[f64]) -> Result<ParamVector> {
        if values.len() != self.n_params {
            let (expected, found) = (self.n_params, values.len());
            return Err(Error::LengthMismatch { expected, found });
        }
        Ok(self.upload(values.to_vec()))
    }

    /// A vector of independent standard normal entries, drawn on the host: the same on every
    /// device, and no device's random stream moves.
    pub fn random(self: &Arc<Self>, rng: &mut impl Rng) -> ParamVector {
        let values = (0..self.n_params).map(|_| StandardNormal.sample(rng)).collect();
        self.upload(values)
    }

    /// Fails unless vectors of `other` are vectors of this space: as many entries, of the same dtype,
    /// on the same device, in the same shapes. Names may differ, and a [`flat`](Self::flat) space has
    /// no shapes to compare.
    pub(crate) fn check(&self, other: &Self) -> Result<()> {
        if std::ptr::eq(self, other) {
            return Ok(()); // in solvers, always
        }
        let (expected, found) = (self.n_params, other.n_params);
        if expected != found {
            return Err(Error::LengthMismatch { expected, found });
        }
        let shapes =
            |space: &Self| space.entries.iter().map(|e| e.shape.clone()).collect::<Vec<_>>();
        let (ours, theirs, flat) = (shapes(self), shapes(other), vec![vec![expected]]);
        let same_shapes = ours == theirs || ours == flat || theirs == flat;
        if same_shapes && self.dtype == other.dtype && self.device == other.device {
            return Ok(());
        }
        let describe = |space: &Self, shapes: &Vec<Vec<usize>>| {
            format!("{:?} on {:?} with parameters {shapes:?}", space.dtype, space.device)
        };
        let (expected, found) = (describe(self, &ours), describe(other, &theirs));
        Err(Error::SpaceMismatch { expected, found })
    }

    fn upload(self: &Arc<Self>, values: Vec<f64>) -> ParamVector {
        self.vector(self.tensor(values, [self.n_params]))
    }

    /// A tensor of the space's dtype and device.
    pub(crate) fn tensor<const D: usize>(&self, values: Vec<f64>, shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(values, shape).convert_dtype(self.dtype);
        Tensor::from_data(data, (&self.device, self.dtype))
    }

    pub(crate) fn vector(self: &Arc<Self>, data: Tensor<1>) -> ParamVector {
        ParamVector { space: self.clone(), data }
    }

    /// Joins one tensor per parameter, each of the parameter's shape, to a vector.
    pub(crate) fn join(self: &Arc<Self>, parts: Vec<DispatchTensor>) -> ParamVector {
        let parts: Vec<_> = parts
            .into_iter()
            .zip(&self.entries)
            .map(|(part, entry)| Dispatch::float_reshape(part, Shape::from([entry.len()])))
            .collect();
        let data = match <[DispatchTensor; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => Dispatch::float_cat(parts, 0),
        };
        self.vector(Tensor::from_dispatch(data))
    }

    /// Joins one tensor per parameter; an absent one is zero.
    pub(crate) fn join_or_zeros(
        self: &Arc<Self>,
        parts: impl Iterator<Item = Option<DispatchTensor>>,
    ) -> ParamVector {
        let zeros = |entry: &ParamEntry| {
            let shape = entry.shape.clone().into();
            Dispatch::float_zeros(shape, self.device.as_dispatch(), self.dtype.into())
        };
        let entries = self.entries.iter().zip(parts);
        self.join(entries.map(|(entry, part)| part.unwrap_or_else(|| zeros(entry))).collect())
    }

    /// One view per parameter, each of the parameter's shape.
    pub(crate) fn split(&self, vector: &ParamVector) -> Vec<DispatchTensor> {
        let flat = vector.data.clone().into_dispatch();
        let view = |entry: &ParamEntry| {
            let range = Slice::from(entry.offset..entry.offset + entry.len());
            let part = Dispatch::float_slice(flat.clone(), &[range]);
            Dispatch::float_reshape(part, Shape::from(entry.shape.clone()))
        };
        self.entries.iter().map(view).collect()
    }
}

/// A vector of parameter space: a direction, a gradient, an eigenvector.
#[derive(Clone, Debug)]
pub struct ParamVector {
    space: Arc<ParamSpace>,
    data: Tensor<1>,
}

impl ParamVector {
    /// The space that it belongs to.
    pub fn space(&self) -> &Arc<ParamSpace> {
        &self.space
    }

    /// The entries as one tensor of shape `[n_params]` on the space's device.
    pub fn tensor(&self) -> Tensor<1> {
        self.data.clone()
    }

    /// The entries of the parameter named `name`, in its shape; `None` for an unknown name or a
    /// rank other than `D`.
    pub fn param<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        let entry = self.space.entries.iter().find(|e| e.name == name)?;
        let shape: [usize; D] = entry.shape.clone().try_into().ok()?;
        Some(self.data.clone().narrow(0, entry.offset, entry.len()).reshape(shape))
    }

    /// The entries on the host, in flat order.
    ///
    /// # Errors
    /// [`Error::Execution`] when the device fails.
    pub fn to_values(&self) -> Result<Vec<f64>> {
        read(self.data.clone())
    }

    /// ⟨self, other⟩. One read-back.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::SpaceMismatch`]; [`Error::Execution`] when the device
    /// fails.
    pub fn dot(&self, other: &Self) -> Result<f64> {
        self.space.check(&other.space)?;
        read_scalar(inner(&self.data, &other.data))
    }

    /// The Euclidean norm. One read-back.
    ///
    /// # Errors
    /// [`Error::Execution`] when the device fails.
    pub fn norm(&self) -> Result<f64> {
        Ok(self.dot(self)?.sqrt())
    }

    /// self · factor.
    pub fn scale(&self, factor: f64) -> Self {
        self.space.vector(self.data.clone().mul_scalar(factor))
    }

    /// self + factor · other.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::SpaceMismatch`].
    pub fn axpy(&self, factor: f64, other: &Self) -> Result<Self> {
        self.space.check(&other.space)?;
        let step = other.data.clone().mul_scalar(factor);
        Ok(self.space.vector(self.data.clone().add(step)))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.space.n_params
    }

    /// True for a vector of the space of dimension zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vector scaled to norm 1, and its norm before.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for NaN or infinite entries.
    pub fn normalized(&self) -> Result<(Self, f64)> {
        let norm = finite("the norm of a vector", self.norm()?)?;
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        Ok((self.scale(scale), norm))
    }
}

/// Several vectors of one space. They are not joined: a matrix of all of them would be copied
/// together and apart, and be too large for an allocator to keep.
#[derive(Clone, Debug)]
pub struct ParamBlock {
    vectors: Vec<ParamVector>,
}

impl ParamBlock {
    /// A block of at least one vector.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for no vector, [`Error::LengthMismatch`] or
    /// [`Error::SpaceMismatch`] for vectors of different spaces.
    pub fn from_vectors(vectors: &[ParamVector]) -> Result<Self> {
        let first = vectors.first().ok_or(Error::InvalidSetting {
            setting: "vectors",
            value: "an empty block".into(),
            expected: "at least one vector",
        })?;
        for vector in vectors {
            first.space.check(&vector.space)?;
        }
        Ok(Self { vectors: vectors.to_vec() })
    }

    /// Number of vectors k.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// True for a block without vectors, which cannot be made.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// The space that the vectors belong to.
    pub fn space(&self) -> &Arc<ParamSpace> {
        &self.vectors[0].space
    }

    /// Vector number `i`.
    pub fn vector(&self, i: usize) -> ParamVector {
        self.vectors[i].clone()
    }

    /// All vectors.
    pub fn vectors(&self) -> Vec<ParamVector> {
        self.vectors.clone()
    }

    fn map(&self, data: impl Fn(usize, &Tensor<1>) -> Tensor<1>) -> Self {
        let vector = |(i, v): (usize, &ParamVector)| self.space().vector(data(i, &v.data));
        Self { vectors: self.vectors.iter().enumerate().map(vector).collect() }
    }

    /// a · self + b · other.
    pub(crate) fn linear_combination(&self, a: f64, other: &Self, b: f64) -> Self {
        self.map(|i, v| {
            let scaled = v.clone().mul_scalar(a);
            if b == 0.0 { scaled } else { scaled + other.vectors[i].data.clone().mul_scalar(b) }
        })
    }

    /// The `k x m` matrix of inner products of the vectors of `self` and `other`, row-major. One
    /// read-back.
    pub(crate) fn inner_products(&self, other: &Self) -> Result<Vec<f64>> {
        let of_row = |v: &ParamVector| {
            other.vectors.iter().map(|w| inner(&v.data, &w.data)).collect::<Vec<_>>()
        };
        read(Tensor::cat(self.vectors.iter().flat_map(of_row).collect(), 0))
    }

    /// The block of combinations Σⱼ coefficients[i][j] · vector j.
    pub(crate) fn combine(&self, coefficients: &[Vec<f64>]) -> Self {
        let combination = |row: &Vec<f64>| {
            let terms = self.vectors.iter().zip(row).map(|(v, c)| v.data.clone().mul_scalar(*c));
            let sum = terms.reduce(|sum, term| sum + term);
            self.space().vector(sum.unwrap_or_else(|| self.space().zeros().data))
        };
        Self { vectors: coefficients.iter().map(combination).collect() }
    }

    /// The block with one more vector.
    pub(crate) fn pushed(&self, vector: &ParamVector) -> Self {
        let vectors = self.vectors.iter().chain([vector]).cloned().collect();
        Self { vectors }
    }

    /// `vector` minus its projection on the vectors, which are orthonormal. On the device, without
    /// read-back.
    pub(crate) fn project_out(&self, vector: &ParamVector) -> ParamVector {
        let projection =
            |rest: Tensor<1>, v: &ParamVector| rest - v.data.clone() * inner(&v.data, &vector.data);
        vector.space.vector(self.vectors.iter().fold(vector.data.clone(), projection))
    }
}

/// ⟨a, b⟩ as a tensor of one element, summed in two levels so that rounding in f32 grows with the
/// lengths of the levels (each at most about √n·64) and not with n.
pub(crate) fn inner(a: &Tensor<1>, b: &Tensor<1>) -> Tensor<1> {
    const CHUNK: usize = 4096;
    let product = a.clone() * b.clone();
    let n = product.dims()[0];
    let head = n / CHUNK * CHUNK;
    if product.dtype() == DType::F64 || head == 0 {
        return product.sum();
    }
    let sums = product.clone().narrow(0, 0, head).reshape([head / CHUNK, CHUNK]).sum_dim(1);
    let total = sums.sum();
    if head == n { total } else { total + product.narrow(0, head, n - head).sum() }
}

/// The elements of a tensor as f64: waits for the device.
pub(crate) fn read(tensor: Tensor<1>) -> Result<Vec<f64>> {
    let data =
        tensor.try_into_data().map_err(|e| Error::Execution { message: format!("{e:?}") })?;
    Ok(data.iter::<f64>().collect())
}

/// The only element of a tensor.
pub(crate) fn read_scalar(tensor: Tensor<1>) -> Result<f64> {
    Ok(read(tensor)?.first().copied().unwrap_or(f64::NAN))
}

/// `value`, or the error that names it.
pub(crate) fn finite(quantity: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(Error::NonFinite { quantity, value }) }
}
