//! Replay of burn-ir's numeric operations on float and int tensors.
//! One long match per kind, one line of meaning per operation: hence the length.

use burn_backend::Backend;
use burn_ir::NumericOperationIr as Op;

use super::Replay;

pub(super) fn run_float<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Add(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_add(x, y));
        }
        Op::Sub(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_sub(x, y));
        }
        Op::Div(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_div(x, y));
        }
        Op::Rem(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_remainder(x, y));
        }
        Op::Mul(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_mul(x, y));
        }
        Op::AddScalar(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_add_scalar(x, d.rhs.into()));
        }
        Op::SubScalar(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_sub_scalar(x, d.rhs.into()));
        }
        Op::DivScalar(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_div_scalar(x, d.rhs.into()));
        }
        Op::RemScalar(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_remainder_scalar(x, d.rhs.into()));
        }
        Op::MulScalar(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_mul_scalar(x, d.rhs.into()));
        }
        Op::PowiScalar(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_powi_scalar(x, d.rhs.into()));
        }
        Op::ClampMin(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_clamp_min(x, d.rhs.into()));
        }
        Op::ClampMax(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_clamp_max(x, d.rhs.into()));
        }
        Op::Abs(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_abs(x));
        }
        Op::Mean(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_mean(x));
        }
        Op::Sum(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_sum(x));
        }
        Op::Prod(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_prod(x));
        }
        Op::Max(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_max(x));
        }
        Op::Min(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_min(x));
        }
        Op::MaxAbs(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_max_abs(x));
        }
        Op::Neg(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_neg(x));
        }
        Op::Sign(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_sign(x));
        }
        Op::MeanDim(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_mean_dim(x, d.axis));
        }
        Op::SumDim(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_sum_dim(x, d.axis));
        }
        Op::ProdDim(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_prod_dim(x, d.axis));
        }
        Op::MaxDim(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_max_dim(x, d.axis));
        }
        Op::MinDim(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_min_dim(x, d.axis));
        }
        Op::MaxAbsDim(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_max_abs_dim(x, d.axis));
        }
        Op::CumSum(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_cumsum(x, d.axis));
        }
        Op::CumProd(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_cumprod(x, d.axis));
        }
        Op::CumMin(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_cummin(x, d.axis));
        }
        Op::CumMax(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_cummax(x, d.axis));
        }
        Op::SumDims(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_sum_dims(x, &d.axes));
        }
        Op::Full(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_float(&d.out, B::float_full(shape, d.value.into(), &r.device, dtype));
        }
        Op::Greater(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_bool(&d.out, B::float_greater(x, y, d.out.dtype.into()));
        }
        Op::GreaterElem(d) => {
            let x = r.float(&d.lhs);
            r.set_bool(&d.out, B::float_greater_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::GreaterEqual(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_bool(&d.out, B::float_greater_equal(x, y, d.out.dtype.into()));
        }
        Op::GreaterEqualElem(d) => {
            let x = r.float(&d.lhs);
            r.set_bool(&d.out, B::float_greater_equal_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::Lower(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_bool(&d.out, B::float_lower(x, y, d.out.dtype.into()));
        }
        Op::LowerElem(d) => {
            let x = r.float(&d.lhs);
            r.set_bool(&d.out, B::float_lower_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::LowerEqual(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_bool(&d.out, B::float_lower_equal(x, y, d.out.dtype.into()));
        }
        Op::LowerEqualElem(d) => {
            let x = r.float(&d.lhs);
            r.set_bool(&d.out, B::float_lower_equal_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::ArgMax(d) => {
            let x = r.float(&d.input);
            r.set_int(&d.out, B::float_argmax(x, d.axis, d.out.dtype.into()));
        }
        Op::ArgMin(d) => {
            let x = r.float(&d.input);
            r.set_int(&d.out, B::float_argmin(x, d.axis, d.out.dtype.into()));
        }
        Op::ArgTopK(d) => {
            let x = r.float(&d.input);
            r.set_int(&d.out, B::float_argtopk(x, d.axis, d.accumulator_len, d.out.dtype.into()));
        }
        Op::TopK(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_topk(x, d.axis, d.accumulator_len));
        }
        Op::MaxDimWithIndices(d) => {
            let x = r.float(&d.tensor);
            let (y, i) = B::float_max_dim_with_indices(x, d.dim, d.out_indices.dtype.into());
            r.set_float(&d.out, y);
            r.set_int(&d.out_indices, i);
        }
        Op::MinDimWithIndices(d) => {
            let x = r.float(&d.tensor);
            let (y, i) = B::float_min_dim_with_indices(x, d.dim, d.out_indices.dtype.into());
            r.set_float(&d.out, y);
            r.set_int(&d.out_indices, i);
        }
        Op::TopKWithIndices(d) => {
            let x = r.float(&d.tensor);
            let (y, i) = B::float_topk_with_indices(x, d.dim, d.k, d.out_indices.dtype.into());
            r.set_float(&d.out, y);
            r.set_int(&d.out_indices, i);
        }
        Op::Clamp(d) => {
            let x = r.float(&d.tensor);
            r.set_float(&d.out, B::float_clamp(x, d.min.into(), d.max.into()));
        }
        Op::IntRandom(_) => unreachable!("checked against the rule table before replay"),
        Op::Powi(d) => {
            let (x, y) = (r.float(&d.lhs), r.int(&d.rhs));
            r.set_float(&d.out, B::float_powi(x, y));
        }
        Op::Sort(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_sort(x, d.dim, d.descending));
        }
        Op::SortWithIndices(d) => {
            let x = r.float(&d.input);
            let (y, i) =
                B::float_sort_with_indices(x, d.dim, d.descending, d.out_indices.dtype.into());
            r.set_float(&d.out, y);
            r.set_int(&d.out_indices, i);
        }
        Op::ArgSort(d) => {
            let x = r.float(&d.input);
            r.set_int(&d.out, B::float_argsort(x, d.dim, d.descending, d.out.dtype.into()));
        }
        Op::Pad(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::float_pad(x, &d.padding, d.mode.into()));
        }
    }
}

pub(super) fn run_int<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Add(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::int_add(x, y));
        }
        Op::Sub(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::int_sub(x, y));
        }
        Op::Div(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::int_div(x, y));
        }
        Op::Rem(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::int_remainder(x, y));
        }
        Op::Mul(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::int_mul(x, y));
        }
        Op::AddScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::int_add_scalar(x, d.rhs.into()));
        }
        Op::SubScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::int_sub_scalar(x, d.rhs.into()));
        }
        Op::DivScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::int_div_scalar(x, d.rhs.into()));
        }
        Op::RemScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::int_remainder_scalar(x, d.rhs.into()));
        }
        Op::MulScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::int_mul_scalar(x, d.rhs.into()));
        }
        Op::PowiScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::int_powi_scalar(x, d.rhs.into()));
        }
        Op::ClampMin(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::int_clamp_min(x, d.rhs.into()));
        }
        Op::ClampMax(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::int_clamp_max(x, d.rhs.into()));
        }
        Op::Abs(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_abs(x));
        }
        Op::Mean(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_mean(x));
        }
        Op::Sum(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_sum(x));
        }
        Op::Prod(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_prod(x));
        }
        Op::Max(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_max(x));
        }
        Op::Min(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_min(x));
        }
        Op::MaxAbs(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_max_abs(x));
        }
        Op::Neg(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_neg(x));
        }
        Op::Sign(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_sign(x));
        }
        Op::MeanDim(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_mean_dim(x, d.axis));
        }
        Op::SumDim(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_sum_dim(x, d.axis));
        }
        Op::ProdDim(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_prod_dim(x, d.axis));
        }
        Op::MaxDim(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_max_dim(x, d.axis));
        }
        Op::MinDim(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_min_dim(x, d.axis));
        }
        Op::MaxAbsDim(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_max_abs_dim(x, d.axis));
        }
        Op::CumSum(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_cumsum(x, d.axis));
        }
        Op::CumProd(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_cumprod(x, d.axis));
        }
        Op::CumMin(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_cummin(x, d.axis));
        }
        Op::CumMax(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_cummax(x, d.axis));
        }
        Op::SumDims(d) => {
            let x = r.int(&d.input);
            let sum = d.axes.iter().fold(x, |x, &axis| B::int_sum_dim(x, axis));
            r.set_int(&d.out, sum);
        }
        Op::Full(d) => {
            let (shape, dtype) = (d.out.shape.clone(), d.out.dtype.into());
            r.set_int(&d.out, B::int_full(shape, d.value.into(), &r.device, dtype));
        }
        Op::Greater(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_bool(&d.out, B::int_greater(x, y, d.out.dtype.into()));
        }
        Op::GreaterElem(d) => {
            let x = r.int(&d.lhs);
            r.set_bool(&d.out, B::int_greater_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::GreaterEqual(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_bool(&d.out, B::int_greater_equal(x, y, d.out.dtype.into()));
        }
        Op::GreaterEqualElem(d) => {
            let x = r.int(&d.lhs);
            r.set_bool(&d.out, B::int_greater_equal_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::Lower(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_bool(&d.out, B::int_lower(x, y, d.out.dtype.into()));
        }
        Op::LowerElem(d) => {
            let x = r.int(&d.lhs);
            r.set_bool(&d.out, B::int_lower_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::LowerEqual(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_bool(&d.out, B::int_lower_equal(x, y, d.out.dtype.into()));
        }
        Op::LowerEqualElem(d) => {
            let x = r.int(&d.lhs);
            r.set_bool(&d.out, B::int_lower_equal_elem(x, d.rhs.into(), d.out.dtype.into()));
        }
        Op::ArgMax(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_argmax(x, d.axis));
        }
        Op::ArgMin(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_argmin(x, d.axis));
        }
        Op::ArgTopK(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_argtopk(x, d.axis, d.accumulator_len));
        }
        Op::TopK(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_topk(x, d.axis, d.accumulator_len));
        }
        Op::MaxDimWithIndices(d) => {
            let x = r.int(&d.tensor);
            let (y, i) = B::int_max_dim_with_indices(x, d.dim);
            r.set_int(&d.out, y);
            r.set_int(&d.out_indices, i);
        }
        Op::MinDimWithIndices(d) => {
            let x = r.int(&d.tensor);
            let (y, i) = B::int_min_dim_with_indices(x, d.dim);
            r.set_int(&d.out, y);
            r.set_int(&d.out_indices, i);
        }
        Op::TopKWithIndices(d) => {
            let x = r.int(&d.tensor);
            let (y, i) = B::int_topk_with_indices(x, d.dim, d.k);
            r.set_int(&d.out, y);
            r.set_int(&d.out_indices, i);
        }
        Op::Clamp(d) => {
            let x = r.int(&d.tensor);
            r.set_int(&d.out, B::int_clamp(x, d.min.into(), d.max.into()));
        }
        Op::IntRandom(_) => unreachable!("checked against the rule table before replay"),
        Op::Powi(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::int_powi(x, y));
        }
        Op::Sort(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_sort(x, d.dim, d.descending));
        }
        Op::SortWithIndices(d) => {
            let x = r.int(&d.input);
            let (y, i) = B::int_sort_with_indices(x, d.dim, d.descending);
            r.set_int(&d.out, y);
            r.set_int(&d.out_indices, i);
        }
        Op::ArgSort(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_argsort(x, d.dim, d.descending));
        }
        Op::Pad(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::int_pad(x, &d.padding, d.mode.into()));
        }
    }
}
