//! What the rule table supports, as data: tests and `docs/op-support.md` list it.

use crate::tangent::{Rule, tables};

/// One operation of burn and how it is differentiated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpSupport {
    /// The burn-ir enum, for example `float`.
    pub family: &'static str,
    /// The operation, for example `Matmul`.
    pub name: &'static str,
    /// `zero`, `linear`, `bilinear`, `custom`, `expanded` or `unsupported`.
    pub rule: &'static str,
    /// For unsupported operations: why, and what to do.
    pub reason: Option<&'static str>,
}

impl OpSupport {
    /// The name in errors and graphs, for example `float.Matmul`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.family, self.name)
    }
}

/// Every operation on floats that a loss can consist of.
pub fn op_support() -> Vec<OpSupport> {
    let support = |row: &crate::tangent::Row| OpSupport {
        family: row.family,
        name: row.name,
        rule: row.rule.kind(),
        reason: match row.rule {
            Rule::Unsupported(reason) => Some(reason),
            _ => None,
        },
    };
    tables().map(support).collect()
}
