//! Moves the axes of an operation by one.

use burn_backend::Slice;
use burn_ir::{
    ActivationOperationIr as Activation, BaseOperationIr as Base, FloatOperationIr as Float,
    NumericOperationIr as Numeric, OperationIr,
};

/// Moves every axis of `op` by one: its tensors have a new first one.
///
/// # Panics
/// If the operation has no axes.
pub(super) fn shift(op: &mut OperationIr) {
    match op {
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
            shift_base(op);
        }
        OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => shift_numeric(op),
        OperationIr::Float(_, Float::Cross(d)) => d.dim += 1,
        OperationIr::Activation(
            Activation::Softmax(d) | Activation::LogSoftmax(d) | Activation::Softmin(d),
        ) => d.axis += 1,
        // Element by element.
        OperationIr::Activation(Activation::LogSigmoidBackward(_)) => {}
        op => unreachable!("{op:?} has no axes"),
    }
}

fn all(axes: &mut [usize]) {
    axes.iter_mut().for_each(|axis| *axis += 1);
}

fn shift_base(op: &mut Base) {
    match op {
        // The shape of the output says it all.
        Base::Reshape(_) => {}
        Base::SwapDims(d) => {
            d.dim1 += 1;
            d.dim2 += 1;
        }
        Base::Permute(d) => {
            all(&mut d.axes);
            d.axes.insert(0, 0);
        }
        Base::Flip(d) => all(&mut d.axes),
        Base::Unfold(d) => d.dim += 1,
        Base::Slice(d) => d.ranges.insert(0, Slice::new(0, None, 1)),
        Base::SliceAssign(d) => d.ranges.insert(0, Slice::new(0, None, 1)),
        Base::Select(d) => d.dim += 1,
        Base::SelectAssign(d) => d.dim += 1,
        Base::Gather(d) => d.dim += 1,
        Base::Scatter(d) => d.dim += 1,
        Base::RepeatDim(d) => d.dim += 1,
        Base::Cat(d) => d.dim += 1,
        Base::AllDim(d) | Base::AnyDim(d) => d.axis += 1,
        op => unreachable!("{op:?} has no axes"),
    }
}

fn shift_numeric(op: &mut Numeric) {
    match op {
        Numeric::MeanDim(d)
        | Numeric::SumDim(d)
        | Numeric::ProdDim(d)
        | Numeric::MaxDim(d)
        | Numeric::MinDim(d)
        | Numeric::MaxAbsDim(d)
        | Numeric::ArgMax(d)
        | Numeric::ArgMin(d)
        | Numeric::ArgTopK(d)
        | Numeric::TopK(d) => d.axis += 1,
        Numeric::SumDims(d) => all(&mut d.axes),
        Numeric::MaxDimWithIndices(d) | Numeric::MinDimWithIndices(d) => d.dim += 1,
        Numeric::TopKWithIndices(d) => d.dim += 1,
        Numeric::CumSum(d) | Numeric::CumProd(d) | Numeric::CumMin(d) | Numeric::CumMax(d) => {
            d.axis += 1;
        }
        Numeric::Sort(d) | Numeric::ArgSort(d) => d.dim += 1,
        Numeric::SortWithIndices(d) => d.dim += 1,
        Numeric::Pad(d) => d.padding.insert(0, (0, 0)),
        op => unreachable!("{op:?} has no axes"),
    }
}
