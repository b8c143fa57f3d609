//! [`HessianLanes`]: the Hessians of K mini-batches at the same weights.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use burn_dispatch::DispatchTensor;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};

use super::{Lanes, row_dots};
use crate::batch::{self, Batch};
use crate::capture::LossGraph;
use crate::compiled::PreparedLoss;
use crate::error::{Error, Result};
use crate::ir::replay::Value;
use crate::lane_programs::{CompiledLanes, LanePrograms, LaneValue, Layout, StageProgram, lane_of};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamSpace, ParamVector, finite, read};
use crate::row_space::{Part, Role};

/// The Hessians of K mini-batches at the same weights, one lane each: Hᵢ = ∇²L(θ; Bᵢ).
///
/// Vectors are held in the row space of their mini-batch: the block of a dense layer's weight is
/// hᵀA + Cᵀδ, with the layer's inputs h and output cotangents δ, of which A and C are kept. Every product
/// Hᵢv has that form, so nothing is lost. Blocks of other parameters, and of weights for which it would
/// not pay, are kept whole. No block of such a weight is formed, not even of the gradient. Vectors with
/// the same coordinates are equal; the reverse does not hold.
pub struct HessianLanes {
    space: Arc<ParamSpace>,
    compiled: Arc<CompiledLanes>,
    programs: Arc<LanePrograms>,
    /// What the primal part computed.
    kept: Vec<DispatchTensor>,
    layout: Arc<Layout>,
    losses: Vec<f64>,
    /// Shared with selections of lanes.
    n_applies: Arc<AtomicUsize>,
}

impl fmt::Debug for HessianLanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HessianLanes")
            .field("shape", &self.shape())
            .field("losses", &self.losses)
            .finish_non_exhaustive()
    }
}

impl HessianLanes {
    /// Records the loss (or finds it compiled) and runs the primal pass on all of `batches`, which have
    /// the same shapes, in [`Mode::Train`].
    ///
    /// # Errors
    /// As [`HessianOperator::new`](super::HessianOperator::new);
    /// [`Error::InvalidSetting`] for no batch, for batches of different shapes, and for several of a type
    /// with fields that are no tensors, whose losses may differ.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use burn_sharpness::operator::{HessianLanes, Lanes};
    ///
    /// let device = Device::flex();
    /// let model = LinearConfig::new(64, 32).init(&device);
    /// let batch = |_| Tensor::<2>::random([4, 64], Distribution::Default, &device);
    /// let batches: Vec<_> = (0..3).map(batch).collect();
    /// let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
    ///
    /// let lanes = HessianLanes::new(&model, &batches, loss)?;
    /// let [k, width] = lanes.shape();
    /// assert!(k == 3 && width < 64 * 32); // a weight of rank four in each lane
    /// let products = lanes.apply(&lanes.images(&lanes.gradients())?)?;
    /// assert_eq!(lanes.expand(&products, 2)?.len(), 65 * 32);
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn new<M, B, F>(model: &M, batches: &[B], loss: F) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        Self::in_mode(model, batches, loss, Mode::Train)
    }

    /// [`new`](Self::new) in another [`Mode`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_mode<M, B, F>(model: &M, batches: &[B], loss: F, mode: Mode) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let state = ModelState::in_mode(model, mode)?;
        let stacked = stacked(batches, state.space())?;
        let prepared = PreparedLoss::of(model, &state, &batches[0], &loss)?;
        Self::at(&state, batches.len(), &stacked, &prepared)
    }

    /// [`in_mode`](Self::in_mode) with row-space vectors wherever they are exact, whether or not they
    /// pay. For tests.
    #[doc(hidden)]
    pub fn everywhere<M, B, F>(model: &M, batches: &[B], loss: F, mode: Mode) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let state = ModelState::in_mode(model, mode)?;
        let stacked = stacked(batches, state.space())?;
        let forward = LossGraph::capture(model, &state, &batches[0], &loss)?;
        let graph = forward.differentiate()?.push_forward()?.row_space(true);
        let lanes = Arc::new(CompiledLanes::new(graph, forward.settings));
        let prepared =
            PreparedLoss { lanes, ..PreparedLoss::of(model, &state, &batches[0], &loss)? };
        Self::at(&state, batches.len(), &stacked, &prepared)
    }

    /// Names of the parameters whose vectors are in row space.
    pub fn row_space_params(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for part in self.layout.parts.iter().filter(|part| part.role != Role::Dense) {
            let name = self.space.entries()[part.param].name.as_str();
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Runs the primal pass of `k` lanes; `batch` holds their samples one behind the other.
    pub(crate) fn at(
        state: &ModelState,
        k: usize,
        batch: &[DispatchTensor],
        prepared: &PreparedLoss,
    ) -> Result<Self> {
        let kept = prepared.lanes_primal(state, k, batch)?;
        let compiled = prepared.lanes.clone();
        let (programs, layout) =
            (compiled.programs(k), Arc::new(Layout::new(&compiled.graph.parts)));
        let n_losses = if programs.has_axis[0] { k } else { 1 };
        let losses = Value::of(kept[0].clone()).reshape([n_losses].into()).into_tensor();
        let losses = read(Tensor::from_dispatch(losses))?;
        let loss = |lane: usize| finite("the loss", losses[lane.min(n_losses - 1)]);
        let losses = (0..k).map(loss).collect::<Result<_>>()?;
        let (space, n_applies) = (state.space().clone(), Arc::default());
        Ok(Self { space, compiled, programs, kept, layout, losses, n_applies })
    }

    /// L(θ; Bᵢ) of each lane.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// Products computed so far, one per lane and call.
    pub fn n_applies(&self) -> usize {
        self.n_applies.load(Ordering::Relaxed)
    }

    /// ∇L(θ; Bᵢ) of each lane, by coordinates.
    pub fn gradients(&self) -> Tensor<2> {
        let parts = self.layout.parts.iter();
        let values = parts.map(|part| part.gradient.map(|kept| self.kept_value(kept))).collect();
        self.layout.join(values, self.programs.k, &self.space)
    }

    /// The lanes at `lanes`, in that order.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for no lane and for one that is not there.
    pub fn selected(&self, lanes: &[usize]) -> Result<Self> {
        self.check_lanes(lanes)?;
        let programs = self.compiled.programs(lanes.len());
        let select = |kept: usize| {
            let value = self.kept_value(kept);
            match (value.has_axis, lanes) {
                (false, _) => value.tensor,
                (true, &[lane]) => self.kept_lane(kept, lane),
                (true, _) => {
                    let selected = Value::of(value.tensor.clone()).select(lanes);
                    selected.map_or(value.tensor, Value::into_tensor)
                }
            }
        };
        Ok(Self {
            space: self.space.clone(),
            compiled: self.compiled.clone(),
            programs,
            kept: (0..self.kept.len()).map(select).collect(),
            layout: self.layout.clone(),
            losses: lanes.iter().map(|&lane| self.losses[lane]).collect(),
            n_applies: self.n_applies.clone(),
        })
    }

    /// The vector of lane number `lane` with the coordinates `row` `[1, width]`.
    pub(crate) fn expand_row(&self, row: &Tensor<2>, lane: usize) -> Result<ParamVector> {
        let programs = self.compiled.programs(1);
        let stage = &programs.expansion;
        let kept: Vec<_> = (0..self.kept.len()).map(|i| self.kept_lane(i, lane)).collect();
        let free = stage.inputs.iter().map(|&part| self.layout.part(row, part));
        let mut blocks: Vec<Option<DispatchTensor>> = vec![None; self.space.entries().len()];
        for (param, value) in stage.run(&kept, free, self.space.device())? {
            blocks[param] = Some(value.tensor);
        }
        for (number, part) in self.layout.parts.iter().enumerate() {
            if part.role == Role::Dense {
                blocks[part.param] = Some(self.layout.part(row, number));
            }
        }
        Ok(self.space.join_or_zeros(blocks.into_iter()))
    }

    /// Fails unless there is a lane, and all of them exist.
    fn check_lanes(&self, lanes: &[usize]) -> Result<()> {
        let k = self.programs.k;
        if !lanes.is_empty() && lanes.iter().all(|&lane| lane < k) {
            return Ok(());
        }
        let value = format!("{lanes:?} of {k} lanes");
        let expected = "one or more numbers from 0 to below the number of lanes";
        Err(Error::InvalidSetting { setting: "lanes", value, expected })
    }

    /// Fails unless `vectors` has the row number `lane`, of the width of a vector.
    fn check_row(&self, vectors: &Tensor<2>, lane: usize) -> Result<()> {
        self.check_lanes(&[lane])?;
        let ([rows, found], expected) = (vectors.dims(), self.layout.width);
        if found != expected {
            return Err(Error::LengthMismatch { expected, found });
        }
        if rows <= lane {
            let value = format!("{rows} rows, for lane {lane}");
            let expected = "one vector for each lane";
            return Err(Error::InvalidSetting { setting: "coordinates", value, expected });
        }
        Ok(())
    }

    /// Fails unless there is a vector for each lane.
    fn check_rows(&self, vectors: &Tensor<2>) -> Result<()> {
        let ([rows, _], k) = (vectors.dims(), self.programs.k);
        self.check_row(vectors, k - 1)?;
        if rows == k {
            return Ok(());
        }
        let (value, expected) = (format!("{rows} rows, for {k} lanes"), "one vector for each lane");
        Err(Error::InvalidSetting { setting: "coordinates", value, expected })
    }

    fn kept_value(&self, kept: usize) -> LaneValue {
        let has_axis = self.programs.has_axis[kept];
        LaneValue { tensor: self.kept[kept].clone(), has_axis }
    }

    fn kept_lane(&self, kept: usize, lane: usize) -> DispatchTensor {
        lane_of(&self.kept_value(kept), lane)
    }

    /// A typical norm of the rows that a part is multiplied with, as a column of `K` or one rows.
    fn scale(&self, part: &Part) -> Option<Tensor<2>> {
        let scale = self.kept_value(part.scale?);
        let rows = if scale.has_axis { self.programs.k } else { 1 };
        let column = Value::of(scale.tensor).reshape([rows, 1].into());
        Some(Tensor::from_dispatch(column.into_tensor()))
    }

    /// What a stage makes, by part.
    fn values(
        &self,
        stage: &StageProgram,
        free: impl Iterator<Item = DispatchTensor>,
    ) -> Result<Vec<Option<LaneValue>>> {
        let mut values = vec![None; self.layout.parts.len()];
        for (part, value) in stage.run(&self.kept, free, self.space.device())? {
            values[part] = Some(value);
        }
        Ok(values)
    }
}

impl Lanes for HessianLanes {
    fn shape(&self) -> [usize; 2] {
        [self.programs.k, self.layout.width]
    }

    fn space(&self) -> &Arc<ParamSpace> {
        &self.space
    }

    fn is_dense(&self) -> bool {
        self.layout.is_dense()
    }

    fn images(&self, coordinates: &Tensor<2>) -> Result<Tensor<2>> {
        self.check_rows(coordinates)?;
        if self.is_dense() {
            return Ok(coordinates.clone());
        }
        let stage = &self.programs.metric;
        let free = stage.inputs.iter().map(|&part| self.layout.part(coordinates, part));
        let mut values = self.values(stage, free)?;
        for (number, value) in values.iter_mut().enumerate() {
            if value.is_none() {
                let tensor = self.layout.columns(coordinates, number).into_dispatch();
                *value = Some(LaneValue { tensor, has_axis: true });
            }
        }
        Ok(self.layout.join(values, self.programs.k, &self.space))
    }

    fn apply(&self, images: &Tensor<2>) -> Result<Tensor<2>> {
        self.check_rows(images)?;
        self.n_applies.fetch_add(self.programs.k, Ordering::Relaxed);
        let stage = &self.programs.tangent;
        let free = stage.inputs.iter().map(|&part| self.layout.part(images, part));
        let values = self.values(stage, free)?;
        Ok(self.layout.join(values, self.programs.k, &self.space))
    }

    fn rounding_scale(&self, coordinates: &Tensor<2>) -> Tensor<2> {
        let part = |(number, part): (usize, &Part)| {
            let columns = self.layout.columns(coordinates, number);
            let squares = row_dots(&columns, &columns);
            let Some(scale) = self.scale(part) else { return squares };
            // ‖hhᵀ‖ is at most the sum of the squared norms of the rows of h.
            squares * scale.powi_scalar(2).mul_scalar(part.shape[0] as f64)
        };
        let squares = self.layout.parts.iter().enumerate().map(part);
        squares
            .reduce(|sum, square| sum + square)
            .unwrap_or_else(|| row_dots(coordinates, coordinates))
    }

    fn random(&self, seeds: &[u64]) -> Tensor<2> {
        let [k, width] = self.shape();
        let mut values = Vec::<f64>::with_capacity(k * width);
        for &seed in seeds {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            values.extend(
                (0..width).map(|_| <_ as Distribution<f64>>::sample(&StandardNormal, &mut rng)),
            );
        }
        let (device, dtype) = (self.space.device(), self.space.dtype());
        let data = TensorData::new(values, [k, width]).convert_dtype(dtype);
        let normal = Tensor::<2>::from_data(data, (device, dtype));
        let part = |(number, part): (usize, &Part)| {
            let columns = self.layout.columns(&normal, number);
            let Some(scale) = self.scale(part) else { return columns };
            // Rows of zeros, such as δ where the loss is flat, span nothing.
            let zero = scale.clone().lower_equal_elem(0.0);
            columns * scale.mask_fill(zero, 1.0).recip()
        };
        let columns = self.layout.parts.iter().enumerate().map(part).collect();
        Tensor::cat(columns, 1)
    }

    fn images_of(&self, vector: &ParamVector) -> Result<Tensor<2>> {
        self.space.check(vector.space())?;
        let blocks = self.space.split(vector);
        let stage = &self.programs.image;
        let free = stage.inputs.iter().map(|&param| blocks[param].clone());
        let mut values = self.values(stage, free)?;
        for (value, part) in values.iter_mut().zip(&self.layout.parts) {
            if part.role == Role::Dense {
                let tensor = blocks[part.param].clone();
                *value = Some(LaneValue { tensor, has_axis: false });
            }
        }
        Ok(self.layout.join(values, self.programs.k, &self.space))
    }

    fn expand(&self, coordinates: &Tensor<2>, lane: usize) -> Result<ParamVector> {
        self.check_row(coordinates, lane)?;
        self.expand_row(&coordinates.clone().narrow(0, lane, 1), lane)
    }

    fn select(&self, lanes: &[usize]) -> Result<Box<dyn Lanes + '_>> {
        Ok(Box::new(self.selected(lanes)?))
    }
}

/// The tensors of all batches, one batch behind the other.
fn stacked<B: Batch>(batches: &[B], space: &ParamSpace) -> Result<Vec<DispatchTensor>> {
    let fail = |value: String| {
        let (setting, expected) = ("batches", "one or more batches of the same shapes");
        Err(Error::InvalidSetting { setting, value, expected })
    };
    let Some(first) = batches.first() else { return fail("none".into()) };
    if !B::TENSORS_ONLY && batches.len() > 1 {
        // Each may be another loss, and one recording serves all lanes.
        return fail("several batches with fields that are no tensors".into());
    }
    let signature = batch::signature(first, space.device())?;
    for other in &batches[1..] {
        let other = batch::signature(other, space.device())?;
        if other != signature {
            return fail(format!("{:?} and {:?}", signature.0, other.0));
        }
    }
    let tensors: Vec<_> = batches.iter().map(|b| batch::tensors(b.clone())).collect();
    Ok(batch::joined(&tensors))
}
