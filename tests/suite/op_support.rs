//! `docs/op-support.md` is the rule table: `BLESS=1 cargo test --test suite op_support` writes it.

use std::fmt::Write;
use std::path::Path;

use burn_sharpness::{OpSupport, op_support};

fn page() -> String {
    let rows = op_support();
    let (missing, working): (Vec<_>, Vec<_>) = rows.iter().partition(|op| op.reason.is_some());
    let mut page = String::from(
        "# Which operations of burn can be differentiated twice\n\n\
         Written by a test from the rule table (`BLESS=1 cargo test --test suite op_support`); burn 0.22.1.\n\
         Operations on integers and booleans carry no tangent and always work. An error of a loss\n\
         names all of its operations from the second table at once.\n\n",
    );
    writeln!(page, "## Rules: {} operations\n\n| operation | rule |\n|---|---|", working.len())
        .unwrap();
    for OpSupport { family, name, rule, .. } in working {
        writeln!(page, "| `{family}.{name}` | {rule} |").unwrap();
    }
    page.push_str(
        "\n`zero`: no tangent leaves the operation. `linear`, `bilinear`: the operation itself, on\n\
         tangents. `custom`: a formula of its own. `expanded`: written out in elementary operations\n\
         first.\n\n\
         Limits, each an error that names the operation: `base.Scatter`, `base.SelectAssign` and\n\
         `base.ScatterNd` work for the updates `Add` and `Assign`, `float.GridSample2d` for bilinear\n\
         sampling (burn has no gradient for the other modes), `module.Conv1d` with groups on flex and\n\
         ndarray where its stride reads the input to the end (burn's own gradient is wrong elsewhere).\n\n",
    );
    let n = missing.len();
    writeln!(page, "## No rule: {n} operations\n\n| operation | reason |\n|---|---|").unwrap();
    for op in missing {
        writeln!(page, "| `{}` | {} |", op.full_name(), op.reason.unwrap_or_default()).unwrap();
    }
    page
}

#[test]
fn the_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/op-support.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/op-support.md is out of date: run with BLESS=1");
}

#[test]
fn every_operation_of_burn_ir_has_one_row() {
    let names: Vec<_> = op_support().iter().map(OpSupport::full_name).collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), distinct.len());
    // Base, Numeric, Float, Activation and Module of burn-ir 0.22.
    let of = |family| op_support().iter().filter(|op| op.family == family).count();
    let counts = ["base", "numeric", "float", "activation", "module"].map(of);
    assert_eq!(counts.iter().sum::<usize>(), names.len(), "{counts:?}");
}

#[test]
fn every_missing_rule_says_what_to_do() {
    for op in op_support() {
        assert_eq!(op.rule == "unsupported", op.reason.is_some(), "{}", op.full_name());
        assert!(op.reason.is_none_or(|reason| reason.len() > 20), "{}", op.full_name());
    }
}
