//! The rule table: one file per burn-ir enum, one row per operation, simple rows first.
//!
//! [`rules!`] expands to an exhaustive match (a new burn operation is a compile error) and to a
//! constant table that tests and `docs/op-support.md` list. Every formula is an ordinary function.

mod activation;
mod base;
mod float;
mod module;
mod numeric;

use burn_ir::{
    BoolOperationIr, DistributedOperationIr, IntOperationIr, NumericOperationIr, OperationIr,
};

use super::rule::Rule;
pub(crate) use module::with_bias;

const RANDOM: &str = "a random draw inside the loss is a different loss every time; measure with \
    `Mode::TrainWithNoise`, which fixes the draws, or draw outside and pass the result in the batch";

/// One operation and its rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub family: &'static str,
    pub name: &'static str,
    pub rule: Rule,
}

macro_rules! rules {
    ($enum:ident, $family:literal; $($variant:ident => $rule:expr,)+) => {
        pub(crate) const TABLE: &[$crate::tangent::rules::Row] =
            &[$($crate::tangent::rules::Row {
                family: $family, name: stringify!($variant), rule: $rule,
            }),+];

        pub(crate) fn row(op: &$enum) -> &'static $crate::tangent::rules::Row {
            match op {
                $($enum::$variant(..) => const { &$crate::tangent::rules::Row {
                    family: $family, name: stringify!($variant), rule: $rule,
                } },)+
            }
        }
    };
}
use rules;

/// The rows of every family that can carry a tangent.
pub(crate) fn tables() -> impl Iterator<Item = &'static Row> {
    [base::TABLE, numeric::TABLE, float::TABLE, activation::TABLE, module::TABLE]
        .into_iter()
        .flatten()
}

/// The row of an operation.
pub(crate) fn row(op: &OperationIr) -> Row {
    let zero = |family, name| Row { family, name, rule: Rule::Zero };
    let unsupported = |family, name, reason| Row { family, name, rule: Rule::Unsupported(reason) };
    match op {
        OperationIr::BaseFloat(op) => *base::row(op),
        OperationIr::NumericFloat(_, op) => *numeric::row(op),
        OperationIr::Float(_, op) => *float::row(op),
        OperationIr::Activation(op) => *activation::row(op),
        OperationIr::Module(op) => *module::row(op),
        // No float input or no float output: no tangent.
        OperationIr::BaseInt(op) => zero("int", base::row(op).name),
        OperationIr::BaseBool(op) => zero("bool", base::row(op).name),
        OperationIr::NumericInt(_, op @ NumericOperationIr::IntRandom(_)) => *numeric::row(op),
        OperationIr::NumericInt(_, op) => zero("int", numeric::row(op).name),
        OperationIr::Int(op) => zero("int", int_name(op)),
        OperationIr::Bool(op) => zero("bool", bool_name(op)),
        OperationIr::Init(_) => zero("graph", "Init"),
        OperationIr::Drop(_) => zero("graph", "Drop"),
        OperationIr::Custom(_) => unsupported(
            "custom",
            "Custom",
            "custom backend operations cannot be differentiated; write it with burn's own",
        ),
        OperationIr::Distributed(op) => unsupported(
            "distributed",
            match op {
                DistributedOperationIr::AllReduce(_) => "AllReduce",
                DistributedOperationIr::SyncCollective => "SyncCollective",
            },
            "collectives inside a loss are not supported; measure on one device",
        ),
    }
}

/// The name under which errors, displays and docs know `op`, for example `float.Matmul`.
pub(crate) fn op_name(op: &OperationIr) -> String {
    match op {
        OperationIr::Custom(custom) => format!("custom.{}", custom.id),
        op => {
            let Row { family, name, .. } = row(op);
            format!("{family}.{name}")
        }
    }
}

fn int_name(op: &IntOperationIr) -> &'static str {
    match op {
        IntOperationIr::IntoFloat(_) => "IntoFloat",
        IntOperationIr::BitwiseAnd(_) => "BitwiseAnd",
        IntOperationIr::BitwiseAndScalar(_) => "BitwiseAndScalar",
        IntOperationIr::BitwiseOr(_) => "BitwiseOr",
        IntOperationIr::BitwiseOrScalar(_) => "BitwiseOrScalar",
        IntOperationIr::BitwiseXor(_) => "BitwiseXor",
        IntOperationIr::BitwiseXorScalar(_) => "BitwiseXorScalar",
        IntOperationIr::BitwiseNot(_) => "BitwiseNot",
        IntOperationIr::BitwiseLeftShift(_) => "BitwiseLeftShift",
        IntOperationIr::BitwiseLeftShiftScalar(_) => "BitwiseLeftShiftScalar",
        IntOperationIr::BitwiseRightShift(_) => "BitwiseRightShift",
        IntOperationIr::BitwiseRightShiftScalar(_) => "BitwiseRightShiftScalar",
        IntOperationIr::Matmul(_) => "Matmul",
    }
}

fn bool_name(op: &BoolOperationIr) -> &'static str {
    match op {
        BoolOperationIr::IntoFloat(_) => "IntoFloat",
        BoolOperationIr::IntoInt(_) => "IntoInt",
        BoolOperationIr::Not(_) => "Not",
        BoolOperationIr::And(_) => "And",
        BoolOperationIr::Or(_) => "Or",
        BoolOperationIr::Xor(_) => "Xor",
    }
}
