//! Replay of burn-ir's activation operations.

use burn_backend::Backend;
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
            let (x, y) = (r.float(&d.lhs), r.float(&d.rhs));
            r.set_float(&d.out, B::gelu_backward(x, y));
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
