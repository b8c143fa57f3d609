//! Some of the parameters of a model, and an operator on them alone.

use std::sync::Arc;

use super::LinearOperator;
use crate::error::{Error, Result};
use crate::params::{ParamBlock, ParamEntry, ParamSpace, ParamVector};

/// Names of parameters in an error.
const MOST_NAMES: usize = 20;

/// A set of the parameters of a space: a layer, all biases.
#[derive(Clone, Debug)]
pub struct ParamGroup {
    space: Arc<ParamSpace>,
    is_member: Vec<bool>,
}

impl ParamGroup {
    /// The parameters at or below the path `prefix`: `hidden.1` has `hidden.1.weight` and not
    /// `hidden.10.weight`.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] when there is none.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use burn_sharpness::operator::{OperatorExt, ParamGroup};
    /// use burn_sharpness::prelude::*;
    ///
    /// let device = Device::flex();
    /// let model = LinearConfig::new(2, 1).init(&device);
    /// let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
    /// let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
    ///
    /// let hessian = HessianOperator::new(&model, x, loss)?;
    /// let bias = ParamGroup::by_prefix(hessian.space(), "bias")?;
    /// let top = LanczosConfig::new().init().solve(&hessian.restricted(bias)?, None)?;
    /// assert!((top.first().value - 2.0).abs() < 1e-3);
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn by_prefix(space: &Arc<ParamSpace>, prefix: &str) -> Result<Self> {
        let below = format!("{prefix}.");
        let group = |e: &ParamEntry| e.name == prefix || e.name.starts_with(&below);
        let names: Vec<&str> = space.entries().iter().map(|e| e.name.as_str()).collect();
        let more = if names.len() > MOST_NAMES { ", …" } else { "" };
        let names = names[..names.len().min(MOST_NAMES)].join(", ");
        Self::named(space, format!("`{prefix}` (the model has {names}{more})"), group)
    }

    /// The parameters for which `is_member` holds.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] when there is none.
    pub fn matching(
        space: &Arc<ParamSpace>,
        is_member: impl Fn(&ParamEntry) -> bool,
    ) -> Result<Self> {
        Self::named(space, "a predicate that holds for no parameter".into(), is_member)
    }

    fn named(
        space: &Arc<ParamSpace>,
        value: String,
        is_member: impl Fn(&ParamEntry) -> bool,
    ) -> Result<Self> {
        let is_member: Vec<bool> = space.entries().iter().map(is_member).collect();
        if !is_member.contains(&true) {
            let expected = "the name or a prefix (whole path elements) of a parameter";
            return Err(Error::InvalidSetting { setting: "group", value, expected });
        }
        Ok(Self { space: space.clone(), is_member })
    }

    /// The parameters in the group.
    pub fn entries(&self) -> impl Iterator<Item = &ParamEntry> {
        let all = self.space.entries().iter().zip(&self.is_member);
        all.filter(|(_, is_member)| **is_member).map(|(entry, _)| entry)
    }

    /// The number of scalar parameters in the group.
    pub fn n_params(&self) -> usize {
        self.entries().map(ParamEntry::len).sum()
    }

    /// `v` in the group, zero elsewhere (NaN there, too).
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] or [`Error::SpaceMismatch`] for a vector of another space.
    pub fn restrict(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space.check(v.space())?;
        let parts = self.space.split(v).into_iter().zip(&self.is_member);
        Ok(self.space.join_or_zeros(parts.map(|(part, is_member)| is_member.then_some(part))))
    }
}

/// S A S with S the identity on a [`ParamGroup`] and zero elsewhere: the diagonal block of A of these
/// parameters, for sharpness per layer. All other parameters are in its null space, so that
/// the largest eigenvalue is that of the block or zero, whichever is larger. Cost of a product: one
/// of A.
#[derive(Clone, Debug)]
pub struct RestrictedOperator<A> {
    operator: A,
    group: ParamGroup,
}

impl<A: LinearOperator> RestrictedOperator<A> {
    /// `operator` on `group`.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] or [`Error::SpaceMismatch`] for a group of another space.
    pub fn new(operator: A, group: ParamGroup) -> Result<Self> {
        operator.space().check(&group.space)?;
        Ok(Self { operator, group })
    }

    fn restrict_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        let vectors = block.vectors();
        let restricted: Result<Vec<_>> = vectors.iter().map(|v| self.group.restrict(v)).collect();
        ParamBlock::from_vectors(&restricted?)
    }
}

impl<A: LinearOperator> LinearOperator for RestrictedOperator<A> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.operator.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.group.restrict(&self.operator.apply(&self.group.restrict(v)?)?)
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        self.restrict_block(&self.operator.apply_block(&self.restrict_block(block)?)?)
    }

    fn n_applies(&self) -> usize {
        self.operator.n_applies()
    }
}
