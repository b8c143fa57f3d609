//! Replay of burn-ir's float operations.

use burn_backend::Backend;
use burn_backend::tensor::FloatTensor;
use burn_ir::{FloatOperationIr as Op, UnaryOpIr};

use super::Replay;

fn unary<B: Backend>(
    r: &mut Replay<B>,
    d: &UnaryOpIr,
    f: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
) {
    let x = r.float(&d.input);
    r.set_float(&d.out, f(x));
}

pub(super) fn run<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Exp(d) => unary(r, d, B::float_exp),
        Op::Log(d) => unary(r, d, B::float_log),
        Op::Log1p(d) => unary(r, d, B::float_log1p),
        Op::Erf(d) => unary(r, d, B::float_erf),
        Op::Sqrt(d) => unary(r, d, B::float_sqrt),
        Op::Cos(d) => unary(r, d, B::float_cos),
        Op::Cosh(d) => unary(r, d, B::float_cosh),
        Op::Sin(d) => unary(r, d, B::float_sin),
        Op::Sinh(d) => unary(r, d, B::float_sinh),
        Op::Tan(d) => unary(r, d, B::float_tan),
        Op::Tanh(d) => unary(r, d, B::float_tanh),
        Op::ArcCos(d) => unary(r, d, B::float_acos),
        Op::ArcCosh(d) => unary(r, d, B::float_acosh),
        Op::ArcSin(d) => unary(r, d, B::float_asin),
        Op::ArcSinh(d) => unary(r, d, B::float_asinh),
        Op::ArcTan(d) => unary(r, d, B::float_atan),
        Op::ArcTanh(d) => unary(r, d, B::float_atanh),
        Op::Round(d) => unary(r, d, B::float_round),
        Op::Floor(d) => unary(r, d, B::float_floor),
        Op::Ceil(d) => unary(r, d, B::float_ceil),
        Op::Trunc(d) => unary(r, d, B::float_trunc),
        Op::Recip(d) => unary(r, d, B::float_recip),
        Op::ArcTan2(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_atan2(x, y));
        }
        Op::Powf(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_powf(x, y));
        }
        Op::Hypot(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_hypot(x, y));
        }
        Op::Matmul(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_matmul(x, y));
        }
        Op::Cross(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_cross(x, y, d.dim));
        }
        Op::PowfScalar(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::float_powf_scalar(x, d.rhs.into()));
        }
        Op::IntoInt(d) => {
            let x = r.float(&d.input);
            r.set_int(&d.out, B::float_into_int(x, d.out.dtype.into()));
        }
        Op::IsNan(d) => {
            let x = r.float(&d.input);
            r.set_bool(&d.out, B::float_is_nan(x, d.out.dtype.into()));
        }
        Op::IsInf(d) => {
            let x = r.float(&d.input);
            r.set_bool(&d.out, B::float_is_inf(x, d.out.dtype.into()));
        }
        Op::GridSample2d(d) => {
            let (x, grid) = (r.float(&d.tensor), r.float(&d.grid));
            r.set_float(&d.out, B::float_grid_sample_2d(x, grid, d.options.clone().into()));
        }
        Op::Random(_) | Op::Quantize(_) | Op::Dequantize(_) => {
            unreachable!("checked against the rule table before replay")
        }
    }
}
