//! What a rule is, how the common kinds of rule are applied, and what a custom rule can use.

use burn_backend::tensor::IndexingUpdateOp;
use burn_ir::{
    BaseOperationIr, FloatOperationIr, InterpolateModeIr, OperationIr, ScalarIr, TensorIr,
};

use super::rules::row;
use crate::ir::emitter::Emitter;
use crate::ir::{is_float, rewrite_tensors, scalars};

/// A tangent; `None` is a symbolic zero.
pub(crate) type Tangent = Option<TensorIr>;

/// How the tangent of an operation's float output follows from those of its float inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// ẏ = 0: the output is an integer, a mask, a constant, or piecewise constant.
    Zero,
    /// ẏ = f(ẋ): the operation is linear in all its float inputs together (not affine).
    Linear,
    /// ẏ = f(ẋ₁, x₂) + f(x₁, ẋ₂).
    Bilinear,
    /// As `Bilinear`, in the inputs at these positions only; the others give their shape.
    MultilinearIn(&'static [usize]),
    /// A formula of its own.
    Custom(fn(&mut RuleCx<'_>) -> Tangent),
    /// Written out in operations that have rules before anything is differentiated (see
    /// `crate::expand`).
    Expanded,
    /// No rule; the reason says what a user can do.
    Unsupported(&'static str),
}

impl Rule {
    /// One word for tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Linear | Self::MultilinearIn([_]) => "linear",
            Self::Bilinear | Self::MultilinearIn(_) => "bilinear",
            Self::Custom(_) => "custom",
            Self::Expanded => "expanded",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

/// Why `op` has no rule, if it has none.
pub(crate) fn unsupported_reason(op: &OperationIr) -> Option<&'static str> {
    let update = match op {
        OperationIr::Float(_, FloatOperationIr::GridSample2d(d))
            if d.options.mode != InterpolateModeIr::Bilinear =>
        {
            return Some("burn has no gradient for this sampling mode; use bilinear sampling");
        }
        OperationIr::BaseFloat(BaseOperationIr::Scatter(d)) => d.update,
        OperationIr::BaseFloat(BaseOperationIr::SelectAssign(d)) => d.update,
        OperationIr::BaseFloat(BaseOperationIr::ScatterNd(d)) => d.reduction,
        op => {
            return match row(op).rule {
                Rule::Unsupported(reason) => Some(reason),
                _ => None,
            };
        }
    };
    match update {
        IndexingUpdateOp::Add | IndexingUpdateOp::Assign => None,
        IndexingUpdateOp::Mul | IndexingUpdateOp::Min | IndexingUpdateOp::Max => {
            Some("only the updates `Add` and `Assign` are linear; write the update with those")
        }
    }
}

/// The tangent of `cx.op`'s first output. At least one input has a tangent.
pub(crate) fn apply(cx: &mut RuleCx<'_>) -> Tangent {
    match row(cx.op).rule {
        Rule::Zero | Rule::Unsupported(_) => None,
        Rule::Linear => Some(linear(cx)),
        Rule::Bilinear => multilinear(cx, |_| true),
        Rule::MultilinearIn(positions) => multilinear(cx, |p| positions.contains(&p)),
        Rule::Custom(formula) => formula(cx),
        Rule::Expanded => unreachable!("{:?}: `check_written_out` comes first", cx.op),
    }
}

/// Replays the operation on tangents; a missing one among several becomes a tensor of zeros.
fn linear(cx: &mut RuleCx<'_>) -> TensorIr {
    for position in 0..cx.x.len() {
        let x = &cx.x[position];
        if is_float(x) && cx.dx[position].is_none() {
            cx.dx[position] = Some(cx.emit.zeros(x.shape.clone(), x.dtype));
        }
    }
    let dx = cx.dx.clone();
    cx.replay(|position| dx[position].clone())
}

/// The sum over inputs that `counts` of the operation with that input replaced by its tangent.
fn multilinear(cx: &mut RuleCx<'_>, counts: impl Fn(usize) -> bool) -> Tangent {
    let mut sum: Tangent = None;
    for (position, dx) in cx.dx.clone().into_iter().enumerate() {
        let Some(dx) = dx.filter(|_| counts(position)) else { continue };
        let term = cx.replay(|p| (p == position).then(|| dx.clone()));
        sum = cx.plus(sum, Some(term));
    }
    sum
}

/// What a rule sees: the operation, its inputs x, their tangents ẋ, its output y.
pub(crate) struct RuleCx<'a> {
    pub op: &'a OperationIr,
    pub emit: &'a mut Emitter,
    x: Vec<TensorIr>,
    dx: Vec<Tangent>,
}

impl<'a> RuleCx<'a> {
    pub fn new(op: &'a OperationIr, dx: Vec<Tangent>, emit: &'a mut Emitter) -> Self {
        let x = op.inputs().map(read_only).collect();
        Self { op, emit, x, dx }
    }

    pub fn n_inputs(&self) -> usize {
        self.x.len()
    }

    /// Input number `i`.
    pub fn x(&self, i: usize) -> TensorIr {
        self.x[i].clone()
    }

    /// The tangent of input number `i`.
    pub fn dx(&self, i: usize) -> Tangent {
        self.dx[i].clone()
    }

    /// The first output.
    pub fn y(&self) -> TensorIr {
        self.output(0)
    }

    /// Output number `i`.
    pub fn output(&self, i: usize) -> TensorIr {
        let out = self.op.outputs().nth(i);
        read_only(out.expect("the operation has this output"))
    }

    /// Scalar argument number `i` as a float.
    pub fn scalar(&self, i: usize) -> f64 {
        scalars(self.op)[i].elem()
    }

    /// Scalar argument number `i`.
    pub fn raw_scalar(&self, i: usize) -> ScalarIr {
        scalars(self.op)[i]
    }

    /// ẏ = factor ⊙ ẋ of the only float input.
    pub fn times(&mut self, factor: &TensorIr) -> Tangent {
        let dx = self.dx(0)?;
        Some(self.emit.mul(&dx, factor))
    }

    /// a + b of tangents, where either may be zero.
    pub fn plus(&mut self, a: Tangent, b: Tangent) -> Tangent {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.emit.add(&a, &b)),
            (a, b) => a.or(b),
        }
    }

    /// The operation once more, with inputs replaced where `replace` gives another tensor.
    pub fn replay(&mut self, replace: impl Fn(usize) -> Tangent) -> TensorIr {
        self.replay_as(self.op.clone(), replace)
    }

    /// `replay` of a changed copy of the operation.
    pub fn replay_as(
        &mut self,
        mut op: OperationIr,
        replace: impl Fn(usize) -> Tangent,
    ) -> TensorIr {
        let (emit, n_inputs) = (&mut *self.emit, op.inputs().count());
        rewrite_tensors(&mut op, |position, tensor| {
            if position >= n_inputs {
                *tensor = emit.fresh(tensor);
            } else if let Some(tangent) = replace(position) {
                *tensor = tangent;
            }
        });
        self.emit.push(op)
    }

    /// `replay` of a changed copy of the operation on the tangents.
    pub fn replay_changed(&mut self, change: impl FnOnce(&mut OperationIr)) -> TensorIr {
        let mut op = self.op.clone();
        change(&mut op);
        let dx = self.dx.clone();
        self.replay_as(op, |position| dx[position].clone())
    }
}

fn read_only(tensor: &TensorIr) -> TensorIr {
    let mut tensor = tensor.clone();
    tensor.status = burn_ir::TensorStatus::ReadOnly;
    tensor
}
