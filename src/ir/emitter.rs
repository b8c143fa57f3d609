//! Appends operations with fresh ids to a list: the vocabulary in which tangent rules are written.
//!
//! Shapes and dtypes of results come from burn-ir's own `create` constructors, so an emitted
//! operation has the same shape that burn would give it.

use burn_backend::{DType, DeviceSettings, Shape, Slice, TensorData};
use burn_ir::{
    ActivationOperationIr as Activation, BaseOperationIr as Base, BinaryOpIr, BoolOperationIr,
    CastOpIr, CatOpIr, CreationOpIr, DimOpIr, FloatOperationIr as Float, GatherOpIr,
    IntOperationIr, MaskFillOpIr, MatmulOpIr, MaxPool1dOpIr, MaxPool1dWithIndicesOpIr,
    MaxPool2dOpIr, MaxPool2dWithIndicesOpIr, ModuleOperationIr, NumericOperationIr as Numeric,
    OperationIr, PermuteOpIr, ReduceDimOpIr, ScalarIr, ScalarOpIr, ShapeOpIr, SliceOpIr, SortOpIr,
    SwapDimsOpIr, TensorId, TensorIr, TensorStatus, UnaryOpIr,
};

/// Recorded data of a constant, and the tensor that holds it.
pub(crate) type Constant = (TensorIr, TensorData);

/// A list of operations under construction.
#[derive(Debug)]
pub(crate) struct Emitter {
    pub ops: Vec<OperationIr>,
    /// Constants that emitted operations read; they become graph inputs.
    pub constants: Vec<Constant>,
    next_id: u64,
    settings: DeviceSettings,
}

impl Emitter {
    /// An emitter whose fresh ids start at `next_id`, for a device with `settings` (the dtypes of
    /// indices and masks).
    pub fn new(next_id: u64, settings: DeviceSettings) -> Self {
        Self { ops: Vec::new(), constants: Vec::new(), next_id, settings }
    }

    /// The dtypes of the device.
    pub fn settings(&self) -> &DeviceSettings {
        &self.settings
    }

    /// The dtype of indices.
    pub fn int_dtype(&self) -> DType {
        self.settings.int_dtype.into()
    }

    fn bool_dtype(&self) -> DType {
        self.settings.bool_dtype.into()
    }

    pub fn fresh_id(&mut self) -> TensorId {
        self.next_id += 1;
        TensorId::new(self.next_id - 1)
    }

    /// Appends `op` and returns its (last) output.
    pub fn push(&mut self, op: OperationIr) -> TensorIr {
        let out = op.outputs().next().cloned();
        self.ops.push(op);
        initialized(out.expect("emitted operations have an output"))
    }

    /// A fresh tensor like `like`.
    pub fn fresh(&mut self, like: &TensorIr) -> TensorIr {
        let mut tensor = initialized(like.clone());
        tensor.id = self.fresh_id();
        tensor
    }

    pub fn constant(&mut self, data: TensorData) -> TensorIr {
        let id = self.fresh_id();
        let tensor = initialized(TensorIr::uninit(id, data.shape().clone(), data.dtype()));
        self.constants.push((tensor.clone(), data));
        tensor
    }

    pub fn zeros(&mut self, shape: Shape, dtype: DType) -> TensorIr {
        let op = CreationOpIr::create(shape, dtype, || self.fresh_id());
        self.push(OperationIr::BaseFloat(Base::Zeros(op)))
    }

    pub fn ones(&mut self, shape: Shape, dtype: DType) -> TensorIr {
        let op = CreationOpIr::create(shape, dtype, || self.fresh_id());
        self.base(dtype, Base::Ones(op))
    }

    fn binary_op(&mut self, x: &TensorIr, y: &TensorIr) -> BinaryOpIr {
        BinaryOpIr::create(x.clone(), y.clone(), || self.fresh_id())
    }

    fn scalar_op(&mut self, x: &TensorIr, c: f64) -> ScalarOpIr {
        let c = ScalarIr::new(c, &x.dtype);
        ScalarOpIr::create(x.clone(), c, || self.fresh_id())
    }

    fn numeric(&mut self, x: &TensorIr, op: Numeric) -> TensorIr {
        self.push(OperationIr::NumericFloat(x.dtype, op))
    }

    /// x + y, broadcasting.
    pub fn add(&mut self, x: &TensorIr, y: &TensorIr) -> TensorIr {
        let op = self.binary_op(x, y);
        self.numeric(x, Numeric::Add(op))
    }

    /// x − y, broadcasting.
    pub fn sub(&mut self, x: &TensorIr, y: &TensorIr) -> TensorIr {
        let op = self.binary_op(x, y);
        self.numeric(x, Numeric::Sub(op))
    }

    /// x ⊙ y, broadcasting.
    pub fn mul(&mut self, x: &TensorIr, y: &TensorIr) -> TensorIr {
        let op = self.binary_op(x, y);
        self.numeric(x, Numeric::Mul(op))
    }

    /// x / y, broadcasting.
    pub fn div(&mut self, x: &TensorIr, y: &TensorIr) -> TensorIr {
        let op = self.binary_op(x, y);
        self.numeric(x, Numeric::Div(op))
    }

    pub fn add_scalar(&mut self, x: &TensorIr, c: f64) -> TensorIr {
        let op = self.scalar_op(x, c);
        self.numeric(x, Numeric::AddScalar(op))
    }

    pub fn mul_scalar(&mut self, x: &TensorIr, c: f64) -> TensorIr {
        let op = self.scalar_op(x, c);
        self.numeric(x, Numeric::MulScalar(op))
    }

    pub fn powi_scalar(&mut self, x: &TensorIr, exponent: i64) -> TensorIr {
        let exponent = ScalarIr::Int(exponent);
        let op = ScalarOpIr::create(x.clone(), exponent, || self.fresh_id());
        self.numeric(x, Numeric::PowiScalar(op))
    }

    pub fn neg(&mut self, x: &TensorIr) -> TensorIr {
        let op = UnaryOpIr::create(x.clone(), || self.fresh_id());
        self.numeric(x, Numeric::Neg(op))
    }

    pub fn sign(&mut self, x: &TensorIr) -> TensorIr {
        let op = UnaryOpIr::create(x.clone(), || self.fresh_id());
        self.numeric(x, Numeric::Sign(op))
    }

    pub fn abs(&mut self, x: &TensorIr) -> TensorIr {
        let op = UnaryOpIr::create(x.clone(), || self.fresh_id());
        self.numeric(x, Numeric::Abs(op))
    }

    /// 1 − x².
    pub fn one_minus_square(&mut self, x: &TensorIr) -> TensorIr {
        let square = self.mul(x, x);
        let minus = self.neg(&square);
        self.add_scalar(&minus, 1.0)
    }

    /// Sum along `axis`, which stays with length 1.
    pub fn sum_dim(&mut self, x: &TensorIr, axis: usize) -> TensorIr {
        let op = ReduceDimOpIr::create(x.clone(), axis, 1, || self.fresh_id());
        self.numeric(x, Numeric::SumDim(op))
    }

    fn float_unary(&mut self, x: &TensorIr, variant: impl FnOnce(UnaryOpIr) -> Float) -> TensorIr {
        let op = UnaryOpIr::create(x.clone(), || self.fresh_id());
        self.push(OperationIr::Float(x.dtype, variant(op)))
    }

    pub fn exp(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Exp)
    }

    pub fn log(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Log)
    }

    pub fn erf(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Erf)
    }

    pub fn sqrt(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Sqrt)
    }

    pub fn sin(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Sin)
    }

    pub fn cos(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Cos)
    }

    pub fn sinh(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Sinh)
    }

    pub fn cosh(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Cosh)
    }

    pub fn floor(&mut self, x: &TensorIr) -> TensorIr {
        self.float_unary(x, Float::Floor)
    }

    pub fn powf_scalar(&mut self, x: &TensorIr, exponent: f64) -> TensorIr {
        let op = self.scalar_op(x, exponent);
        self.push(OperationIr::Float(x.dtype, Float::PowfScalar(op)))
    }

    pub fn powf(&mut self, x: &TensorIr, y: &TensorIr) -> TensorIr {
        let op = self.binary_op(x, y);
        self.push(OperationIr::Float(x.dtype, Float::Powf(op)))
    }

    fn activation_backward(
        &mut self,
        x: &TensorIr,
        g: &TensorIr,
        variant: impl FnOnce(BinaryOpIr) -> Activation,
    ) -> TensorIr {
        let op = self.binary_op(x, g);
        self.push(OperationIr::Activation(variant(op)))
    }

    /// g where `output` > 0, else 0.
    pub fn relu_backward(&mut self, output: &TensorIr, g: &TensorIr) -> TensorIr {
        self.activation_backward(output, g, Activation::ReluBackward)
    }

    /// s ⊙ (1 − s) ⊙ g, with s = σ(x).
    pub fn sigmoid_backward(&mut self, s: &TensorIr, g: &TensorIr) -> TensorIr {
        self.activation_backward(s, g, Activation::SigmoidBackward)
    }

    /// σ(−x) ⊙ g.
    pub fn log_sigmoid_backward(&mut self, x: &TensorIr, g: &TensorIr) -> TensorIr {
        self.activation_backward(x, g, Activation::LogSigmoidBackward)
    }

    pub fn sigmoid(&mut self, x: &TensorIr) -> TensorIr {
        let op = UnaryOpIr::create(x.clone(), || self.fresh_id());
        self.push(OperationIr::Activation(Activation::Sigmoid(op)))
    }

    /// A base operation on tensors of the kind of `dtype`: floats, ints or bools.
    fn base(&mut self, dtype: DType, op: Base) -> TensorIr {
        self.push(if dtype.is_float() {
            OperationIr::BaseFloat(op)
        } else if dtype.is_bool() {
            OperationIr::BaseBool(op)
        } else {
            OperationIr::BaseInt(op)
        })
    }

    pub fn reshape(&mut self, x: &TensorIr, shape: Shape) -> TensorIr {
        let op = ShapeOpIr::reshape(x.clone(), shape, || self.fresh_id());
        self.base(x.dtype, Base::Reshape(op))
    }

    pub fn expand(&mut self, x: &TensorIr, shape: Shape) -> TensorIr {
        let op = ShapeOpIr::expand(x.clone(), shape, || self.fresh_id());
        self.base(x.dtype, Base::Expand(op))
    }

    pub fn permute(&mut self, x: &TensorIr, axes: Vec<usize>) -> TensorIr {
        let op = PermuteOpIr::create(x.clone(), axes, || self.fresh_id());
        self.base(x.dtype, Base::Permute(op))
    }

    /// x y of the last two dimensions, broadcasting over the others.
    pub fn matmul(&mut self, x: &TensorIr, y: &TensorIr) -> TensorIr {
        let op = MatmulOpIr::create(x.clone(), y.clone(), || self.fresh_id());
        self.push(OperationIr::Float(x.dtype, Float::Matmul(op)))
    }

    /// Zeros that take no memory: one element, expanded.
    pub fn blank(&mut self, shape: Shape, dtype: DType) -> TensorIr {
        let zero = self.zeros(vec![1; shape.num_dims()].into(), dtype);
        self.broadcast_to(&zero, &shape)
    }

    /// `indices[i, ..] + i · step`, in a dtype at least as wide as that of the device's indices: bytes
    /// would wrap.
    pub fn offset_by_row(&mut self, indices: &TensorIr, step: usize) -> TensorIr {
        let indices = self.widened(indices);
        let dtype = indices.dtype;
        let scalar = |c: usize| ScalarIr::new(c as i64, &dtype);
        let mut shape = vec![1; indices.shape.num_dims()];
        shape[0] = indices.shape[0];
        let ones = self.ones(shape.into(), dtype);
        let count = DimOpIr::create(ones, 0, || self.fresh_id());
        let count = self.push(OperationIr::NumericInt(dtype, Numeric::CumSum(count)));
        let row = ScalarOpIr::create(count, scalar(1), || self.fresh_id());
        let row = self.push(OperationIr::NumericInt(dtype, Numeric::SubScalar(row)));
        let offset = ScalarOpIr::create(row, scalar(step), || self.fresh_id());
        let offset = self.push(OperationIr::NumericInt(dtype, Numeric::MulScalar(offset)));
        let sum = self.binary_op(&indices, &offset);
        self.push(OperationIr::NumericInt(dtype, Numeric::Add(sum)))
    }

    /// Indices in the device's dtype of indices, unless their own is as wide.
    fn widened(&mut self, indices: &TensorIr) -> TensorIr {
        let dtype = self.int_dtype();
        if indices.dtype.size() >= dtype.size() {
            return indices.clone();
        }
        let op = CastOpIr::create(indices.clone(), dtype, || self.fresh_id());
        self.push(OperationIr::BaseInt(Base::Cast(op)))
    }

    /// `x` with the shape `shape`, expanded only where it differs.
    pub fn broadcast_to(&mut self, x: &TensorIr, shape: &Shape) -> TensorIr {
        if x.shape == *shape { x.clone() } else { self.expand(x, shape.clone()) }
    }

    /// The transpose of a matrix.
    pub fn transpose(&mut self, x: &TensorIr) -> TensorIr {
        let mut shape = x.shape.clone();
        shape.swap(0, 1);
        let out = initialized(TensorIr::uninit(self.fresh_id(), shape, x.dtype));
        let op = SwapDimsOpIr { input: x.clone(), out, dim1: 0, dim2: 1 };
        self.push(OperationIr::BaseFloat(Base::SwapDims(op)))
    }

    /// `x[.., range, ..]` along `axis`.
    pub fn slice(&mut self, x: &TensorIr, axis: usize, range: std::ops::Range<usize>) -> TensorIr {
        let mut ranges: Vec<Slice> = x.shape.iter().map(|&n| Slice::from(0..n)).collect();
        ranges[axis] = Slice::from(range);
        let op = SliceOpIr::create(x.clone(), ranges, || self.fresh_id());
        self.base(x.dtype, Base::Slice(op))
    }

    pub fn cat(&mut self, parts: Vec<TensorIr>, axis: usize) -> TensorIr {
        let dtype = parts[0].dtype;
        let op = CatOpIr::create(parts, axis, || self.fresh_id());
        self.base(dtype, Base::Cat(op))
    }

    pub fn gather(&mut self, x: &TensorIr, axis: usize, indices: &TensorIr) -> TensorIr {
        let op = GatherOpIr::create(x.clone(), axis, indices.clone(), || self.fresh_id());
        self.push(OperationIr::BaseFloat(Base::Gather(op)))
    }

    /// `x` where `mask` is false, 0 where it is true.
    pub fn mask_zero(&mut self, x: &TensorIr, mask: &TensorIr) -> TensorIr {
        let zero = ScalarIr::new(0.0, &x.dtype);
        let op = MaskFillOpIr::create(x.clone(), mask.clone(), zero, || self.fresh_id());
        self.push(OperationIr::BaseFloat(Base::MaskFill(op)))
    }

    fn comparison(&mut self, x: &TensorIr, c: f64) -> ScalarOpIr {
        let (c, dtype) = (ScalarIr::new(c, &x.dtype), self.bool_dtype());
        ScalarOpIr::create_comparison(x.clone(), c, dtype, || self.fresh_id())
    }

    pub fn equal_elem(&mut self, x: &TensorIr, c: f64) -> TensorIr {
        let op = self.comparison(x, c);
        self.base(x.dtype, Base::EqualElem(op))
    }

    pub fn lower_elem(&mut self, x: &TensorIr, c: f64) -> TensorIr {
        let op = self.comparison(x, c);
        self.numeric(x, Numeric::LowerElem(op))
    }

    pub fn greater_elem(&mut self, x: &TensorIr, c: f64) -> TensorIr {
        let op = self.comparison(x, c);
        self.numeric(x, Numeric::GreaterElem(op))
    }

    pub fn greater_equal_elem(&mut self, x: &TensorIr, c: f64) -> TensorIr {
        let op = self.comparison(x, c);
        self.numeric(x, Numeric::GreaterEqualElem(op))
    }

    /// Indices of the largest element along `axis`.
    pub fn argmax(&mut self, x: &TensorIr, axis: usize) -> TensorIr {
        let dtype = self.int_dtype();
        let op = ReduceDimOpIr::create_arg(x.clone(), axis, 1, dtype, || self.fresh_id());
        self.numeric(x, Numeric::ArgMax(op))
    }

    /// Indices of the smallest element along `axis`.
    pub fn argmin(&mut self, x: &TensorIr, axis: usize) -> TensorIr {
        let dtype = self.int_dtype();
        let op = ReduceDimOpIr::create_arg(x.clone(), axis, 1, dtype, || self.fresh_id());
        self.numeric(x, Numeric::ArgMin(op))
    }

    /// Indices of the `k` largest elements along `axis`, largest first.
    pub fn argtopk(&mut self, x: &TensorIr, axis: usize, k: usize) -> TensorIr {
        let dtype = self.int_dtype();
        let op = ReduceDimOpIr::create_arg(x.clone(), axis, k, dtype, || self.fresh_id());
        self.numeric(x, Numeric::ArgTopK(op))
    }

    pub fn argsort(&mut self, x: &TensorIr, axis: usize, descending: bool) -> TensorIr {
        let dtype = self.int_dtype();
        let op = SortOpIr::create_arg(x.clone(), axis, descending, dtype, || self.fresh_id());
        self.numeric(x, Numeric::ArgSort(op))
    }

    /// For each position along `axis`, the last position up to it at which `x == y`; `line` holds
    /// the positions 0, 1, 2, ... along that axis.
    pub fn last_equal(
        &mut self,
        x: &TensorIr,
        y: &TensorIr,
        line: &TensorIr,
        axis: usize,
    ) -> TensorIr {
        let (int, bool) = (self.int_dtype(), self.bool_dtype());
        let equal = BinaryOpIr::create_comparison(x.clone(), y.clone(), bool, || self.fresh_id());
        let equal = self.push(OperationIr::BaseFloat(Base::Equal(equal)));
        let equal = CastOpIr::create(equal, int, || self.fresh_id());
        let equal = self.push(OperationIr::Bool(BoolOperationIr::IntoInt(equal)));
        let line = ShapeOpIr::expand(line.clone(), x.shape.clone(), || self.fresh_id());
        let line = self.push(OperationIr::BaseInt(Base::Expand(line)));
        let hits = self.binary_op(&line, &equal);
        let hits = self.push(OperationIr::NumericInt(int, Numeric::Mul(hits)));
        let last = DimOpIr::create(hits, axis, || self.fresh_id());
        self.push(OperationIr::NumericInt(int, Numeric::CumMax(last)))
    }

    /// Places of the largest elements that the pooling `op` selects from `x`, flat in each plane.
    pub fn max_pool1d_indices(&mut self, op: &MaxPool1dOpIr, x: TensorIr) -> TensorIr {
        let MaxPool1dOpIr { kernel_size, stride, padding, dilation, ceil_mode, .. } = *op;
        let int = self.int_dtype();
        let new_id = || self.fresh_id();
        let op = MaxPool1dWithIndicesOpIr::create(
            x,
            kernel_size,
            stride,
            padding,
            dilation,
            ceil_mode,
            int,
            new_id,
        );
        let indices = initialized(op.out_indices.clone());
        self.ops.push(OperationIr::Module(ModuleOperationIr::MaxPool1dWithIndices(op)));
        indices
    }

    /// As `max_pool1d_indices`.
    pub fn max_pool2d_indices(&mut self, op: &MaxPool2dOpIr, x: TensorIr) -> TensorIr {
        let MaxPool2dOpIr { kernel_size, stride, padding, dilation, ceil_mode, .. } = *op;
        let int = self.int_dtype();
        let new_id = || self.fresh_id();
        let op = MaxPool2dWithIndicesOpIr::create(
            x,
            kernel_size,
            stride,
            padding,
            dilation,
            ceil_mode,
            int,
            new_id,
        );
        let indices = initialized(op.out_indices.clone());
        self.ops.push(OperationIr::Module(ModuleOperationIr::MaxPool2dWithIndices(op)));
        indices
    }

    /// An int tensor as floats of `dtype`.
    pub fn int_to_float(&mut self, x: &TensorIr, dtype: DType) -> TensorIr {
        let op = CastOpIr::create(x.clone(), dtype, || self.fresh_id());
        self.push(OperationIr::Int(IntOperationIr::IntoFloat(op)))
    }
}

fn initialized(mut tensor: TensorIr) -> TensorIr {
    tensor.status = TensorStatus::ReadOnly;
    tensor
}
