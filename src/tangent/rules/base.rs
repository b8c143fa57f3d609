//! Rules of burn-ir's base operations on floats: shapes, indexing, masks.

use burn_ir::{BaseOperationIr, OperationIr, ScalarIr};

use super::super::rule::{Rule::*, RuleCx, Tangent};
use super::rules;

rules! { BaseOperationIr, "base";
    // Constants, comparisons.
    Empty => Zero,
    Ones => Zero,
    Zeros => Zero,
    Equal => Zero,
    EqualElem => Zero,
    NotEqual => Zero,
    NotEqualElem => Zero,
    All => Zero,
    Any => Zero,
    AllDim => Zero,
    AnyDim => Zero,
    // Rearrangements.
    Reshape => Linear,
    SwapDims => Linear,
    Permute => Linear,
    Flip => Linear,
    Expand => Linear,
    Unfold => Linear,
    RepeatDim => Linear,
    Cat => Linear,
    Cast => Linear,
    // Indexing. Scatter-like updates are linear for `Add` and `Assign` only, which is checked per
    // operation (`rule::unsupported_reason`).
    Slice => Linear,
    SliceAssign => Linear,
    Select => Linear,
    SelectAssign => Linear,
    Gather => Linear,
    Scatter => Linear,
    GatherNd => Linear,
    ScatterNd => Linear,
    // Masks.
    MaskWhere => Linear,
    MaskFill => Custom(mask_fill),
}

/// `y = c where mask, else x`: ẏ = 0 where mask, else ẋ.
fn mask_fill(cx: &mut RuleCx<'_>) -> Tangent {
    Some(cx.replay_changed(|op| {
        if let OperationIr::BaseFloat(BaseOperationIr::MaskFill(d)) = op {
            d.value = ScalarIr::Float(0.0);
        }
    }))
}
