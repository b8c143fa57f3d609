//! Replay of burn-ir's activation operations.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use burn_backend::tensor::FloatTensor;
use burn_backend::{Backend, Scalar};
use burn_ir::ActivationOperationIr as Op;

use super::Replay;

pub(super) fn run<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Relu(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::relu(x));
        }
        Op::Gelu(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::gelu(x));
        }
        Op::Sigmoid(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::sigmoid(x));
        }
        Op::LogSigmoid(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::log_sigmoid(x));
        }
        Op::ReluBackward(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::relu_backward(x, y));
        }
        Op::PRelu(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::prelu(x, y));
        }
        Op::GeluBackward(d) => {
            let (x, g) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::float_mul(gelu_slope::<B>(x), g));
        }
        Op::SigmoidBackward(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::sigmoid_backward(x, y));
        }
        Op::LogSigmoidBackward(d) => {
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::log_sigmoid_backward(x, y));
        }
        Op::Softmax(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::softmax(x, d.axis));
        }
        Op::LogSoftmax(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::log_softmax(x, d.axis));
        }
        Op::Softmin(d) => {
            let x = r.float(&d.input);
            r.set_float(&d.out, B::softmin(x, d.axis));
        }
        Op::LeakyRelu(d) => {
            let x = r.float(&d.lhs);
            r.set_float(&d.out, B::leaky_relu(x, d.rhs.into()));
        }
        Op::HardSigmoid(d) => {
            let x = r.float(&d.tensor);
            let y = B::hard_sigmoid(x, d.alpha.into(), d.beta.into());
            r.set_float(&d.out, y);
        }
    }
}

/// gelu′(x) = Φ(x) + x φ(x). `Backend::gelu_backward` of burn 0.22.1 is the derivative of the tanh
/// approximation on the backends that do not override it (ndarray and all of cubecl), off by 4e-4,
/// while their `gelu` is exact: a gradient that belongs to no loss.
fn gelu_slope<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let times = |x, c| B::float_mul_scalar(x, Scalar::Float(c));
    let erf = B::float_erf(times(x.clone(), FRAC_1_SQRT_2));
    let probability = times(B::float_add_scalar(erf, Scalar::Float(1.0)), 0.5);
    let bell = B::float_exp(times(B::float_mul(x.clone(), x.clone()), -0.5));
    B::float_add(probability, B::float_mul(x, times(bell, 1.0 / (2.0 * PI).sqrt())))
}
