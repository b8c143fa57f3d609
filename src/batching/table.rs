//! The table: for every operation, how k copies of it run. Exhaustive, so that a new operation of
//! burn is a compile error.

use burn_ir::{
    ActivationOperationIr, BaseOperationIr, BoolOperationIr, FloatOperationIr, IntOperationIr,
    ModuleOperationIr, NumericOperationIr, OperationIr,
};

use super::lane::Lane::{self, Custom, Elementwise, Folded, Loop, Rows, Shifted};
use super::{conv, indexing, matmul};

/// How k copies of `op` run.
pub(super) fn lane(op: &OperationIr) -> Lane {
    match op {
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
            base(op)
        }
        OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => numeric(op),
        OperationIr::Float(_, op) => float(op),
        OperationIr::Int(op) => int(op),
        OperationIr::Bool(op) => bool(op),
        OperationIr::Activation(op) => activation(op),
        OperationIr::Module(op) => module(op),
        // A dropped tensor goes with its copies; the others have no input, or no replay.
        OperationIr::Drop(_) => Elementwise,
        OperationIr::Init(_) | OperationIr::Custom(_) | OperationIr::Distributed(_) => Loop,
    }
}

fn base(op: &BaseOperationIr) -> Lane {
    use BaseOperationIr as Op;
    match op {
        Op::Cast(_)
        | Op::MaskFill(_)
        | Op::Equal(_)
        | Op::EqualElem(_)
        | Op::NotEqual(_)
        | Op::NotEqualElem(_) => Elementwise,
        Op::MaskWhere(_) => Custom(indexing::mask_where),
        Op::Reshape(_)
        | Op::SwapDims(_)
        | Op::Permute(_)
        | Op::Flip(_)
        | Op::Unfold(_)
        | Op::Slice(_)
        | Op::SliceAssign(_)
        | Op::Gather(_)
        | Op::Scatter(_)
        | Op::RepeatDim(_)
        | Op::Cat(_)
        | Op::AllDim(_)
        | Op::AnyDim(_) => Shifted,
        Op::Expand(_) => Custom(indexing::expand),
        Op::Select(_) => Custom(indexing::select),
        Op::SelectAssign(_) => Custom(indexing::select_assign),
        Op::GatherNd(_) => Custom(indexing::gather_nd),
        Op::ScatterNd(_) => Custom(indexing::scatter_nd),
        Op::All(_) | Op::Any(_) => Rows,
        // No input: never asked.
        Op::Empty(_) | Op::Ones(_) | Op::Zeros(_) => Loop,
    }
}

fn numeric(op: &NumericOperationIr) -> Lane {
    use NumericOperationIr as Op;
    match op {
        Op::Add(_)
        | Op::Sub(_)
        | Op::Mul(_)
        | Op::Div(_)
        | Op::Rem(_)
        | Op::Powi(_)
        | Op::AddScalar(_)
        | Op::SubScalar(_)
        | Op::MulScalar(_)
        | Op::DivScalar(_)
        | Op::RemScalar(_)
        | Op::PowiScalar(_)
        | Op::Abs(_)
        | Op::Neg(_)
        | Op::Sign(_)
        | Op::Clamp(_)
        | Op::ClampMin(_)
        | Op::ClampMax(_)
        | Op::Greater(_)
        | Op::GreaterElem(_)
        | Op::GreaterEqual(_)
        | Op::GreaterEqualElem(_)
        | Op::Lower(_)
        | Op::LowerElem(_)
        | Op::LowerEqual(_)
        | Op::LowerEqualElem(_) => Elementwise,
        Op::Sum(_) | Op::Mean(_) | Op::Prod(_) | Op::Max(_) | Op::Min(_) | Op::MaxAbs(_) => Rows,
        Op::MeanDim(_)
        | Op::SumDim(_)
        | Op::SumDims(_)
        | Op::ProdDim(_)
        | Op::MaxDim(_)
        | Op::MinDim(_)
        | Op::MaxAbsDim(_)
        | Op::ArgMax(_)
        | Op::ArgMin(_)
        | Op::ArgTopK(_)
        | Op::TopK(_)
        | Op::TopKWithIndices(_)
        | Op::MaxDimWithIndices(_)
        | Op::MinDimWithIndices(_)
        | Op::CumSum(_)
        | Op::CumProd(_)
        | Op::CumMin(_)
        | Op::CumMax(_)
        | Op::Sort(_)
        | Op::SortWithIndices(_)
        | Op::ArgSort(_)
        | Op::Pad(_) => Shifted,
        // No input: never asked.
        Op::Full(_) | Op::IntRandom(_) => Loop,
    }
}

fn float(op: &FloatOperationIr) -> Lane {
    use FloatOperationIr as Op;
    match op {
        Op::Exp(_)
        | Op::Log(_)
        | Op::Log1p(_)
        | Op::Erf(_)
        | Op::Sqrt(_)
        | Op::Cos(_)
        | Op::Cosh(_)
        | Op::Sin(_)
        | Op::Sinh(_)
        | Op::Tan(_)
        | Op::Tanh(_)
        | Op::ArcCos(_)
        | Op::ArcCosh(_)
        | Op::ArcSin(_)
        | Op::ArcSinh(_)
        | Op::ArcTan(_)
        | Op::ArcTanh(_)
        | Op::Round(_)
        | Op::Floor(_)
        | Op::Ceil(_)
        | Op::Trunc(_)
        | Op::Recip(_)
        | Op::ArcTan2(_)
        | Op::Powf(_)
        | Op::PowfScalar(_)
        | Op::Hypot(_)
        | Op::IntoInt(_)
        | Op::IsNan(_)
        | Op::IsInf(_) => Elementwise,
        Op::Matmul(_) => Custom(matmul::matmul),
        Op::Cross(_) => Shifted,
        Op::GridSample2d(_) => Folded,
        // No replay.
        Op::Random(_) | Op::Quantize(_) | Op::Dequantize(_) => Loop,
    }
}

fn int(op: &IntOperationIr) -> Lane {
    use IntOperationIr as Op;
    match op {
        Op::IntoFloat(_)
        | Op::BitwiseAnd(_)
        | Op::BitwiseAndScalar(_)
        | Op::BitwiseOr(_)
        | Op::BitwiseOrScalar(_)
        | Op::BitwiseXor(_)
        | Op::BitwiseXorScalar(_)
        | Op::BitwiseNot(_)
        | Op::BitwiseLeftShift(_)
        | Op::BitwiseLeftShiftScalar(_)
        | Op::BitwiseRightShift(_)
        | Op::BitwiseRightShiftScalar(_) => Elementwise,
        Op::Matmul(_) => Custom(matmul::matmul),
    }
}

fn bool(op: &BoolOperationIr) -> Lane {
    use BoolOperationIr as Op;
    match op {
        Op::IntoFloat(_) | Op::IntoInt(_) | Op::Not(_) | Op::And(_) | Op::Or(_) | Op::Xor(_) => {
            Elementwise
        }
    }
}

fn activation(op: &ActivationOperationIr) -> Lane {
    use ActivationOperationIr as Op;
    match op {
        Op::Relu(_)
        | Op::ReluBackward(_)
        | Op::LeakyRelu(_)
        | Op::PRelu(_)
        | Op::Gelu(_)
        | Op::GeluBackward(_)
        | Op::Sigmoid(_)
        | Op::SigmoidBackward(_)
        | Op::HardSigmoid(_)
        | Op::LogSigmoid(_) => Elementwise,
        // The shape of x alone counts on some backends.
        Op::LogSigmoidBackward(_) | Op::Softmax(_) | Op::LogSoftmax(_) | Op::Softmin(_) => Shifted,
    }
}

fn module(op: &ModuleOperationIr) -> Lane {
    use ModuleOperationIr as Op;
    match op {
        Op::Linear(_) => Custom(matmul::linear),
        Op::LinearXBackward(_) => Custom(matmul::linear_x_backward),
        Op::LinearBiasBackward(_) => Custom(matmul::linear_bias_backward),
        Op::Embedding(_) => Custom(indexing::embedding),
        Op::EmbeddingBackward(_) => Custom(indexing::embedding_backward),
        Op::Conv1d(_)
        | Op::Conv2d(_)
        | Op::Conv3d(_)
        | Op::ConvTranspose1d(_)
        | Op::ConvTranspose2d(_)
        | Op::ConvTranspose3d(_) => Custom(conv::affine),
        Op::Conv1dXBackward(_)
        | Op::Conv2dXBackward(_)
        | Op::Conv3dXBackward(_)
        | Op::Conv1dWeightBackward(_)
        | Op::Conv2dWeightBackward(_)
        | Op::Conv3dWeightBackward(_)
        | Op::ConvTranspose1dWeightBackward(_)
        | Op::ConvTranspose2dWeightBackward(_)
        | Op::ConvTranspose3dWeightBackward(_) => Custom(conv::bilinear),
        Op::Conv1dBiasBackward(_)
        | Op::Conv2dBiasBackward(_)
        | Op::Conv3dBiasBackward(_)
        | Op::ConvTranspose1dBiasBackward(_)
        | Op::ConvTranspose2dBiasBackward(_)
        | Op::ConvTranspose3dBiasBackward(_) => Custom(conv::bias_backward),
        Op::BatchNorm(_) => Custom(conv::batch_norm),
        Op::LayerNorm(_) => Custom(conv::layer_norm),
        Op::Unfold4d(_)
        | Op::AvgPool1d(_)
        | Op::AvgPool2d(_)
        | Op::AvgPool1dBackward(_)
        | Op::AvgPool2dBackward(_)
        | Op::AdaptiveAvgPool1d(_)
        | Op::AdaptiveAvgPool2d(_)
        | Op::AdaptiveAvgPool3d(_)
        | Op::AdaptiveAvgPool1dBackward(_)
        | Op::AdaptiveAvgPool2dBackward(_)
        | Op::AdaptiveAvgPool3dBackward(_)
        | Op::MaxPool1d(_)
        | Op::MaxPool2d(_)
        | Op::MaxPool1dWithIndices(_)
        | Op::MaxPool2dWithIndices(_)
        | Op::MaxPool1dWithIndicesBackward(_)
        | Op::MaxPool2dWithIndicesBackward(_)
        | Op::Interpolate(_)
        | Op::InterpolateBackward(_) => Folded,
        // Written out before they are differentiated, or not recorded by burn.
        Op::LinearWeightBackward(_)
        | Op::DeformableConv2d(_)
        | Op::DeformableConv2dBackward(_)
        | Op::Attention(_)
        | Op::CtcLoss(_)
        | Op::CtcLossBackward(_) => Loop,
    }
}

/// Positions of the inputs that `op` reads for their shape alone.
pub(super) fn read_for_shape(op: &OperationIr) -> &'static [usize] {
    use ModuleOperationIr as Op;
    let OperationIr::Module(op) = op else { return &[] };
    match op {
        Op::Conv1dXBackward(_)
        | Op::Conv2dXBackward(_)
        | Op::Conv3dXBackward(_)
        | Op::AvgPool1dBackward(_)
        | Op::AvgPool2dBackward(_)
        | Op::AdaptiveAvgPool1dBackward(_)
        | Op::AdaptiveAvgPool2dBackward(_)
        | Op::AdaptiveAvgPool3dBackward(_)
        | Op::MaxPool1dWithIndicesBackward(_)
        | Op::MaxPool2dWithIndicesBackward(_)
        | Op::InterpolateBackward(_)
        | Op::EmbeddingBackward(_) => &[0],
        Op::Conv1dWeightBackward(_)
        | Op::Conv2dWeightBackward(_)
        | Op::Conv3dWeightBackward(_)
        | Op::ConvTranspose1dWeightBackward(_)
        | Op::ConvTranspose2dWeightBackward(_)
        | Op::ConvTranspose3dWeightBackward(_) => &[1],
        Op::Conv1dBiasBackward(_)
        | Op::Conv2dBiasBackward(_)
        | Op::Conv3dBiasBackward(_)
        | Op::ConvTranspose1dBiasBackward(_)
        | Op::ConvTranspose2dBiasBackward(_)
        | Op::ConvTranspose3dBiasBackward(_) => &[0, 1],
        _ => &[],
    }
}
