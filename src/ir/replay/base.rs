//! Replay of burn-ir's base operations (shape, indexing, masks) on the three tensor kinds.
//! One long match per kind, one line of meaning per operation: hence the length.

use burn_backend::Backend;
use burn_ir::BaseOperationIr as Op;

use super::Replay;

pub(super) fn run_float<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Reshape(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_reshape(x, d.out.shape.clone()));
        }
        Op::SwapDims(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_swap_dims(x, d.dim1, d.dim2));
        }
        Op::Permute(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_permute(x, &d.axes));
        }
        Op::Flip(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_flip(x, &d.axes));
        }
        Op::Expand(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_expand(x, d.out.shape.clone()));
        }
        Op::Unfold(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_unfold(x, d.dim, d.size, d.step));
        }
        Op::Slice(d) => {
            let x = r.float(&d.tensor);
            r.set_float(&d.out, B::float_slice(x, &d.ranges));
        }
        Op::SliceAssign(d) => {
            let (x, v) = (r.float(&d.tensor), r.float(&d.value));
            r.set_float(&d.out, B::float_slice_assign(x, &d.ranges, v));
        }
        Op::Select(d) => {
            let (x, i) = (r.float(&d.tensor), r.int(&d.indices));
            r.set_float(&d.out, B::float_select(x, d.dim, i));
        }
        Op::SelectAssign(d) => {
            let (x, i) = (r.float(&d.tensor), r.int(&d.indices));
            let v = r.float(&d.value);
            r.set_float(&d.out, B::float_select_assign(x, d.dim, i, v, d.update));
        }
        Op::MaskWhere(d) => {
            let (x, m) = (r.float(&d.tensor), r.bool(&d.mask));
            let v = r.float(&d.value);
            r.set_float(&d.out, B::float_mask_where(x, m, v));
        }
        Op::MaskFill(d) => {
            let (x, m) = (r.float(&d.tensor), r.bool(&d.mask));
            r.set_float(&d.out, B::float_mask_fill(x, m, d.value.into()));
        }
        Op::Gather(d) => {
            let (x, i) = (r.float(&d.tensor), r.int(&d.indices));
            r.set_float(&d.out, B::float_gather(d.dim, x, i));
        }
        Op::Scatter(d) => {
            let (x, i) = (r.float(&d.tensor), r.int(&d.indices));
            let v = r.float(&d.value);
            r.set_float(&d.out, B::float_scatter(d.dim, x, i, v, d.update));
        }
        Op::ScatterNd(d) => {
            let (x, i) = (r.float(&d.data), r.int(&d.indices));
            let v = r.float(&d.values);
            r.set_float(&d.out, B::float_scatter_nd(x, i, v, d.reduction));
        }
        Op::GatherNd(d) => {
            let (x, i) = (r.float(&d.data), r.int(&d.indices));
            r.set_float(&d.out, B::float_gather_nd(x, i));
        }
        Op::Cast(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_cast(x, d.out.dtype.into()));
        }
        Op::Equal(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_bool(&d.out, B::float_equal(x, y, d.out.dtype.into()));
        }
        Op::NotEqual(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_bool(&d.out, B::float_not_equal(x, y, d.out.dtype.into()));
        }
        Op::EqualElem(d) => {
            let x = r.float(&d.lhs);
            r.set_bool(&d.out, B::float_equal_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::NotEqualElem(d) => {
            let x = r.float(&d.lhs);
            r.set_bool(&d.out, B::float_not_equal_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::RepeatDim(d) => {
            let x = r.float(&d.tensor);
            r.set_float(&d.out, B::float_repeat_dim(x, d.dim, d.times));
        }
        Op::Cat(d) => {
            let xs = d.tensors.iter().map(|t| r.float(t)).collect();
            r.set_float(&d.out, B::float_cat(xs, d.dim));
        }
        Op::Empty(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_float(&d.out, B::float_empty(shape, &r.device, dtype));
        }
        Op::Ones(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_float(&d.out, B::float_ones(shape, &r.device, dtype));
        }
        Op::Zeros(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_float(&d.out, B::float_zeros(shape, &r.device, dtype));
        }
        Op::All(d) => {
            let x = r.float(&d.input);
            r.set_bool(&d.out, B::float_all(x, d.out.dtype.into()));
        }
        Op::Any(d) => {
            let x = r.float(&d.input);
            r.set_bool(&d.out, B::float_any(x, d.out.dtype.into()));
        }
        Op::AllDim(d) => {
            let x = r.float(&d.input);
            r.set_bool(&d.out, B::float_all_dim(x, d.axis, d.out.dtype.into()));
        }
        Op::AnyDim(d) => {
            let x = r.float(&d.input);
            r.set_bool(&d.out, B::float_any_dim(x, d.axis, d.out.dtype.into()));
        }
    }
}

pub(super) fn run_int<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Reshape(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_reshape(x, d.out.shape.clone()));
        }
        Op::SwapDims(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_swap_dims(x, d.dim1, d.dim2));
        }
        Op::Permute(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_permute(x, &d.axes));
        }
        Op::Flip(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_flip(x, &d.axes));
        }
        Op::Expand(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_expand(x, d.out.shape.clone()));
        }
        Op::Unfold(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_unfold(x, d.dim, d.size, d.step));
        }
        Op::Slice(d) => {
            let x = r.int(&d.tensor);
            r.set_int(&d.out, B::int_slice(x, &d.ranges));
        }
        Op::SliceAssign(d) => {
            let (x, v) = (r.int(&d.tensor), r.int(&d.value));
            r.set_int(&d.out, B::int_slice_assign(x, &d.ranges, v));
        }
        Op::Select(d) => {
            let (x, i) = (r.int(&d.tensor), r.int(&d.indices));
            r.set_int(&d.out, B::int_select(x, d.dim, i));
        }
        Op::SelectAssign(d) => {
            let (x, i) = (r.int(&d.tensor), r.int(&d.indices));
            let v = r.int(&d.value);
            r.set_int(&d.out, B::int_select_assign(x, d.dim, i, v, d.update));
        }
        Op::MaskWhere(d) => {
            let (x, m) = (r.int(&d.tensor), r.bool(&d.mask));
            let v = r.int(&d.value);
            r.set_int(&d.out, B::int_mask_where(x, m, v));
        }
        Op::MaskFill(d) => {
            let (x, m) = (r.int(&d.tensor), r.bool(&d.mask));
            r.set_int(&d.out, B::int_mask_fill(x, m, d.value.into()));
        }
        Op::Gather(d) => {
            let (x, i) = (r.int(&d.tensor), r.int(&d.indices));
            r.set_int(&d.out, B::int_gather(d.dim, x, i));
        }
        Op::Scatter(d) => {
            let (x, i) = (r.int(&d.tensor), r.int(&d.indices));
            let v = r.int(&d.value);
            r.set_int(&d.out, B::int_scatter(d.dim, x, i, v, d.update));
        }
        Op::ScatterNd(d) => {
            let (x, i) = (r.int(&d.data), r.int(&d.indices));
            let v = r.int(&d.values);
            r.set_int(&d.out, B::int_scatter_nd(x, i, v, d.reduction));
        }
        Op::GatherNd(d) => {
            let (x, i) = (r.int(&d.data), r.int(&d.indices));
            r.set_int(&d.out, B::int_gather_nd(x, i));
        }
        Op::Cast(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_cast(x, d.out.dtype.into()));
        }
        Op::Equal(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_bool(&d.out, B::int_equal(x, y, d.out.dtype.into()));
        }
        Op::NotEqual(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_bool(&d.out, B::int_not_equal(x, y, d.out.dtype.into()));
        }
        Op::EqualElem(d) => {
            let x = r.int(&d.lhs);
            r.set_bool(&d.out, B::int_equal_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::NotEqualElem(d) => {
            let x = r.int(&d.lhs);
            r.set_bool(&d.out, B::int_not_equal_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::RepeatDim(d) => {
            let x = r.int(&d.tensor);
            r.set_int(&d.out, B::int_repeat_dim(x, d.dim, d.times));
        }
        Op::Cat(d) => {
            let xs = d.tensors.iter().map(|t| r.int(t)).collect();
            r.set_int(&d.out, B::int_cat(xs, d.dim));
        }
        Op::Empty(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_int(&d.out, B::int_empty(shape, &r.device, dtype));
        }
        Op::Ones(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_int(&d.out, B::int_ones(shape, &r.device, dtype));
        }
        Op::Zeros(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_int(&d.out, B::int_zeros(shape, &r.device, dtype));
        }
        Op::All(d) => {
            let x = r.int(&d.input);
            r.set_bool(&d.out, B::int_all(x, d.out.dtype.into()));
        }
        Op::Any(d) => {
            let x = r.int(&d.input);
            r.set_bool(&d.out, B::int_any(x, d.out.dtype.into()));
        }
        Op::AllDim(d) => {
            let x = r.int(&d.input);
            r.set_bool(&d.out, B::int_all_dim(x, d.axis, d.out.dtype.into()));
        }
        Op::AnyDim(d) => {
            let x = r.int(&d.input);
            r.set_bool(&d.out, B::int_any_dim(x, d.axis, d.out.dtype.into()));
        }
    }
}

pub(super) fn run_bool<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Reshape(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_reshape(x, d.out.shape.clone()));
        }
        Op::SwapDims(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_swap_dims(x, d.dim1, d.dim2));
        }
        Op::Permute(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_permute(x, &d.axes));
        }
        Op::Flip(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_flip(x, &d.axes));
        }
        Op::Expand(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_expand(x, d.out.shape.clone()));
        }
        Op::Unfold(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_unfold(x, d.dim, d.size, d.step));
        }
        Op::Slice(d) => {
            let x = r.bool(&d.tensor);
            r.set_bool(&d.out, B::bool_slice(x, &d.ranges));
        }
        Op::SliceAssign(d) => {
            let (x, v) = (r.bool(&d.tensor), r.bool(&d.value));
            r.set_bool(&d.out, B::bool_slice_assign(x, &d.ranges, v));
        }
        Op::Select(d) => {
            let (x, i) = (r.bool(&d.tensor), r.int(&d.indices));
            r.set_bool(&d.out, B::bool_select(x, d.dim, i));
        }
        Op::SelectAssign(d) => {
            let (x, i) = (r.bool(&d.tensor), r.int(&d.indices));
            let v = r.bool(&d.value);
            r.set_bool(&d.out, B::bool_select_or(x, d.dim, i, v));
        }
        Op::MaskWhere(d) => {
            let (x, m) = (r.bool(&d.tensor), r.bool(&d.mask));
            let v = r.bool(&d.value);
            r.set_bool(&d.out, B::bool_mask_where(x, m, v));
        }
        Op::MaskFill(d) => {
            let (x, m) = (r.bool(&d.tensor), r.bool(&d.mask));
            r.set_bool(&d.out, B::bool_mask_fill(x, m, d.value.into()));
        }
        Op::Gather(d) => {
            let (x, i) = (r.bool(&d.tensor), r.int(&d.indices));
            r.set_bool(&d.out, B::bool_gather(d.dim, x, i));
        }
        Op::Scatter(d) => {
            let (x, i) = (r.bool(&d.tensor), r.int(&d.indices));
            let v = r.bool(&d.value);
            r.set_bool(&d.out, B::bool_scatter_or(d.dim, x, i, v));
        }
        Op::ScatterNd(_) | Op::GatherNd(_) | Op::Cast(_) => {
            unreachable!("burn has no such operation on bool tensors")
        }
        Op::Equal(d) => {
            let (x, y) = (r.bool(&d.lhs), r.bool(&d.rhs));
            r.set_bool(&d.out, B::bool_equal(x, y));
        }
        Op::NotEqual(d) => {
            let (x, y) = (r.bool(&d.lhs), r.bool(&d.rhs));
            r.set_bool(&d.out, B::bool_not_equal(x, y));
        }
        Op::EqualElem(d) => {
            let x = r.bool(&d.lhs);
            r.set_bool(&d.out, B::bool_equal_elem(x, d.rhs.into()));
        }
        Op::NotEqualElem(d) => {
            let x = r.bool(&d.lhs);
            r.set_bool(&d.out, B::bool_not_equal_elem(x, d.rhs.into()));
        }
        Op::RepeatDim(d) => {
            let x = r.bool(&d.tensor);
            r.set_bool(&d.out, B::bool_repeat_dim(x, d.dim, d.times));
        }
        Op::Cat(d) => {
            let xs = d.tensors.iter().map(|t| r.bool(t)).collect();
            r.set_bool(&d.out, B::bool_cat(xs, d.dim));
        }
        Op::Empty(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_bool(&d.out, B::bool_empty(shape, &r.device, dtype));
        }
        Op::Ones(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_bool(&d.out, B::bool_ones(shape, &r.device, dtype));
        }
        Op::Zeros(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_bool(&d.out, B::bool_zeros(shape, &r.device, dtype));
        }
        Op::All(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_all(x));
        }
        Op::Any(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_any(x));
        }
        Op::AllDim(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_all_dim(x, d.axis));
        }
        Op::AnyDim(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_any_dim(x, d.axis));
        }
    }
}
