//! Replay of burn-ir's operations that exist on int or bool tensors only.

use burn_backend::Backend;
use burn_ir::{BoolOperationIr as Bool, IntOperationIr as Int};

use super::Replay;

pub(super) fn run_int<B: Backend>(r: &mut Replay<B>, op: &Int) {
    match op {
        Int::IntoFloat(d) => {
            let x = r.int(&d.input);
            r.set_float(&d.out, B::int_into_float(x, d.out.dtype.into()));
        }
        Int::BitwiseNot(d) => {
            let x = r.int(&d.input);
            r.set_int(&d.out, B::bitwise_not(x));
        }
        Int::BitwiseAnd(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::bitwise_and(x, y));
        }
        Int::BitwiseOr(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::bitwise_or(x, y));
        }
        Int::BitwiseXor(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::bitwise_xor(x, y));
        }
        Int::BitwiseLeftShift(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::bitwise_left_shift(x, y));
        }
        Int::BitwiseRightShift(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::bitwise_right_shift(x, y));
        }
        Int::Matmul(d) => {
            let (x, y) = (r.int(&d.lhs), r.int(&d.rhs));
            r.set_int(&d.out, B::int_matmul(x, y));
        }
        Int::BitwiseAndScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::bitwise_and_scalar(x, d.rhs.into()));
        }
        Int::BitwiseOrScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::bitwise_or_scalar(x, d.rhs.into()));
        }
        Int::BitwiseXorScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::bitwise_xor_scalar(x, d.rhs.into()));
        }
        Int::BitwiseLeftShiftScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::bitwise_left_shift_scalar(x, d.rhs.into()));
        }
        Int::BitwiseRightShiftScalar(d) => {
            let x = r.int(&d.lhs);
            r.set_int(&d.out, B::bitwise_right_shift_scalar(x, d.rhs.into()));
        }
    }
}

pub(super) fn run_bool<B: Backend>(r: &mut Replay<B>, op: &Bool) {
    match op {
        Bool::IntoFloat(d) => {
            let x = r.bool(&d.input);
            r.set_float(&d.out, B::bool_into_float(x, d.out.dtype.into()));
        }
        Bool::IntoInt(d) => {
            let x = r.bool(&d.input);
            r.set_int(&d.out, B::bool_into_int(x, d.out.dtype.into()));
        }
        Bool::Not(d) => {
            let x = r.bool(&d.input);
            r.set_bool(&d.out, B::bool_not(x));
        }
        Bool::And(d) => {
            let (x, y) = (r.bool(&d.lhs), r.bool(&d.rhs));
            r.set_bool(&d.out, B::bool_and(x, y));
        }
        Bool::Or(d) => {
            let (x, y) = (r.bool(&d.lhs), r.bool(&d.rhs));
            r.set_bool(&d.out, B::bool_or(x, y));
        }
        Bool::Xor(d) => {
            let (x, y) = (r.bool(&d.lhs), r.bool(&d.rhs));
            r.set_bool(&d.out, B::bool_xor(x, y));
        }
    }
}
