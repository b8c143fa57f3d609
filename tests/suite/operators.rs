//! Operators against dense matrices that are built without this crate: Jacobians from burn's own
//! autodiff, one reverse pass per output, and textbook formulas for what stands between them.

mod algebra;
mod curvature;
mod errors;
mod finite_difference;
mod fisher;
mod jacobian;
mod lanes;
mod modes;
#[cfg(feature = "optim")]
mod optimizers;
mod streamed;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Gradients, Int, Tensor};
use burn_sharpness::LinearOperator;

use crate::common::{assert_close, float, max_abs, wave};

pub type Matrix = Vec<Vec<f64>>;
pub type Labelled<const D: usize> = (Tensor<D>, Tensor<1, Int>);

/// f64 rounds at 2e-16; about a hundred operations in sequence, and sums that cancel to a hundredth.
pub const F64: f64 = 1e-11;

pub fn device() -> Device {
    Device::flex().autodiff()
}

/// Two linear layers with a tanh between them.
#[derive(Module, Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
}

impl Mlp {
    pub fn new(inputs: usize, hidden: usize, classes: usize) -> Self {
        let layer = |a, b| LinearConfig::new(a, b).init(&device());
        wavy(Self { first: layer(inputs, hidden), second: layer(hidden, classes) })
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.second.forward(self.first.forward(x).tanh())
    }
}

/// A convolution, a tanh, a linear layer.
#[derive(Module, Debug)]
pub struct Cnn {
    conv: Conv2d,
    head: Linear,
}

impl Cnn {
    pub fn new() -> Self {
        let conv = Conv2dConfig::new([2, 2], [3, 3]).init(&device());
        wavy(Self { conv, head: LinearConfig::new(8, 3).init(&device()) })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.head.forward(self.conv.forward(x).tanh().flatten(1, 3))
    }
}

/// A model in f64 with parameters that are irregular numbers, each from a phase of its own.
pub fn wavy<M: Module>(model: M) -> M {
    struct Wavy(f64);
    impl ModuleMapper for Wavy {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, value, mapper) = param.consume();
            self.0 += 1.3;
            let shape = value.dims();
            let values = wave(shape.iter().product(), self.0).iter().map(|w| 0.4 * w).collect();
            let tensor = float(values, shape, DType::F64, &device());
            Param::from_mapped_value(id, tensor.require_grad(), mapper)
        }
    }
    model.map(&mut Wavy(0.1))
}

pub fn samples<const D: usize>(shape: [usize; D], classes: usize) -> Labelled<D> {
    let x = float(wave(shape.iter().product(), 0.7), shape, DType::F64, &device());
    let labels: Vec<i64> = (0..shape[0]).map(|i| ((3 * i + 1) % classes) as i64).collect();
    (x, Tensor::from_ints(labels.as_slice(), &device()))
}

/// The gradients of all parameters, in visit order.
pub fn flat_gradient<M: Module>(model: &M, gradients: &Gradients) -> Vec<f64> {
    struct Collect<'a>(&'a Gradients, Vec<f64>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.0).unwrap();
            self.1.extend(gradient.into_data().iter::<f64>());
        }
    }
    let mut collect = Collect(gradients, Vec::new());
    model.visit(&mut collect);
    collect.1
}

/// J by burn's autodiff: row k is the gradient of output number k.
pub fn jacobian<M: Module, const D: usize>(
    model: &M,
    x: &Tensor<D>,
    forward: fn(&M, Tensor<D>) -> Tensor<2>,
) -> Matrix {
    let n_outputs: usize = forward(model, x.clone()).dims().iter().product();
    let row = |k| {
        let outputs = forward(model, x.clone()).reshape([n_outputs]);
        flat_gradient(model, &outputs.narrow(0, k, 1).sum().backward())
    };
    (0..n_outputs).map(row).collect()
}

pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.to_data().iter::<f64>().collect()
}

pub fn zeros(rows: usize, columns: usize) -> Matrix {
    vec![vec![0.0; columns]; rows]
}

pub fn matmul(a: &Matrix, b: &Matrix) -> Matrix {
    let entry = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(a, b)| a * b[j]).sum();
    a.iter().map(|row| (0..b[0].len()).map(|j| entry(row, j)).collect()).collect()
}

pub fn transpose(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// Jᵀ M J.
pub fn sandwich(j: &Matrix, m: &Matrix) -> Matrix {
    matmul(&transpose(j), &matmul(m, j))
}

/// a·A + b·B.
pub fn combine(a: f64, x: &Matrix, b: f64, y: &Matrix) -> Matrix {
    let row =
        |(x, y): (&Vec<f64>, &Vec<f64>)| x.iter().zip(y).map(|(x, y)| a * x + b * y).collect();
    x.iter().zip(y).map(row).collect()
}

/// The mean of vvᵀ over the rows v.
pub fn second_moment(rows: &Matrix) -> Matrix {
    let sum = matmul(&transpose(rows), rows);
    combine(1.0 / rows.len() as f64, &sum, 0.0, &sum)
}

pub fn softmax(f: &[f64]) -> Vec<f64> {
    let sum: f64 = f.iter().map(|f| f.exp()).sum();
    f.iter().map(|f| f.exp() / sum).collect()
}

/// (diag p − ppᵀ)/b of each sample, on the diagonal of a matrix over all outputs.
pub fn softmax_curvature(f: &[f64], classes: usize) -> Matrix {
    let mut m = zeros(f.len(), f.len());
    let n_samples = (f.len() / classes) as f64;
    for (i, f) in f.chunks(classes).enumerate() {
        let p = softmax(f);
        for k in 0..classes {
            for l in 0..classes {
                let same = f64::from(u8::from(k == l));
                m[i * classes + k][i * classes + l] = p[k] * (same - p[l]) / n_samples;
            }
        }
    }
    m
}

/// The operator is `expected`, in single products and in blocks, symmetric to rounding.
pub fn check_dense(operator: &dyn LinearOperator, expected: &Matrix, what: &str) {
    let dense = operator.to_dense().unwrap();
    assert_close(&dense.concat(), &expected.concat(), F64, what);
    let asymmetry = combine(1.0, &dense, -1.0, &transpose(&dense)).concat();
    assert!(max_abs(&asymmetry) <= F64 * max_abs(&dense.concat()), "{what}: symmetry");
    let n = operator.dim();
    // In no common plane, unlike waves of one frequency.
    let values =
        |phase: f64| (0..n).map(|i| (0.3 * (i * i) as f64 + phase).cos()).collect::<Vec<_>>();
    let vector = |phase| operator.space().from_values(&values(phase)).unwrap();
    let vectors = [vector(0.2), vector(1.1), vector(2.5)];
    let block = burn_sharpness::ParamBlock::from_vectors(&vectors).unwrap();
    let before = operator.n_applies();
    let products = operator.apply_block(&block).unwrap();
    assert_eq!(operator.n_applies(), before + 3, "{what}: products of a block");
    for (v, product) in vectors.iter().zip(products.vectors()) {
        let column: Matrix = v.to_values().unwrap().iter().map(|v| vec![*v]).collect();
        let expected = matmul(expected, &column).concat();
        assert_close(&product.to_values().unwrap(), &expected, F64, &format!("{what}, block"));
    }
}
