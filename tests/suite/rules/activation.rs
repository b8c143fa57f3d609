//! Activations and their backward operations: `src/tangent/rules/activation.rs`.

use burn::tensor::activation;

use super::{ANY, Row, check, data, f, m, row, row_through_f32};

pub fn rows() -> Vec<Row> {
    [piecewise(), smooth(), ranks()].into_iter().flatten().collect()
}

#[test]
fn activation_rules() {
    check(&rows());
}

fn piecewise() -> Vec<Row> {
    vec![
        row("relu", ANY, |x| activation::relu(x.clone()) * x),
        row("relu of a square", ANY, |x| activation::relu(x.powi_scalar(2) - 0.3)),
        row("leaky_relu", ANY, |x| activation::leaky_relu(x.clone(), 0.1) * x),
        row("prelu", ANY, |x| f(activation::prelu(m(x.clone()), x.narrow(0, 2, 4)))),
        row("prelu with one slope", ANY, |x| f(activation::prelu(m(x.clone()), x.narrow(0, 2, 1)))),
        row("prelu of data", ANY, |x| {
            f(activation::prelu(data([3, 4], 0.2, &x.device()), x.narrow(0, 2, 4))).powi_scalar(2)
        }),
        row("prelu with fixed slopes", ANY, |x| {
            let slopes = data([4], 0.2, &x.device());
            f(activation::prelu(m(x), slopes)).powi_scalar(2)
        }),
        row_through_f32("hard_sigmoid", |x| {
            activation::hard_sigmoid(x.clone() * 2.0, 0.2, 0.5) * x
        }),
        row_through_f32("hard_swish", |x| activation::hard_swish(x * 2.0)),
        row("hardtanh", ANY, |x| activation::hardtanh(x.powi_scalar(3), -0.3, 0.3)),
        row("soft_shrink", ANY, |x| activation::soft_shrink(x.powi_scalar(3), 0.1)),
        row("hard_shrink", ANY, |x| activation::hard_shrink(x.powi_scalar(3), 0.1)),
        row("threshold", ANY, |x| activation::threshold(x.powi_scalar(3), 0.1, 0.3)),
    ]
}

fn smooth() -> Vec<Row> {
    vec![
        row("gelu", ANY, |x| activation::gelu(x * 2.0)),
        row("gelu_approximate", ANY, |x| activation::gelu_approximate(x * 2.0)),
        row("sigmoid", ANY, |x| activation::sigmoid(x * 2.0)),
        row("log_sigmoid", ANY, |x| activation::log_sigmoid(x * 2.0)),
        row("softmax", ANY, |x| f(activation::softmax(m(x) * 2.0, 1)) * 3.0),
        row("softmax along the first dimension", ANY, |x| {
            f(activation::softmax(m(x) * 2.0, 0)) * 3.0
        }),
        row("softmax of length one", ANY, |x| {
            f(activation::softmax(x.clone().unsqueeze_dim::<2>(1), 1)) * x
        }),
        row("softmin", ANY, |x| f(activation::softmin(m(x) * 2.0, 0)) * 3.0),
        row("log_softmax", ANY, |x| f(activation::log_softmax(m(x) * 2.0, 1))),
        row("log_softmax along the first dimension", ANY, |x| {
            f(activation::log_softmax(m(x) * 2.0, 0))
        }),
        row("quiet_softmax", ANY, |x| f(activation::quiet_softmax(m(x) * 2.0, 1)) * 3.0),
        row("silu", ANY, |x| activation::silu(x * 2.0)),
        row("softplus", ANY, |x| activation::softplus(x, 1.3)),
        row("mish", ANY, activation::mish),
        row("elu", ANY, |x| activation::elu(x.clone(), 0.7) * x),
        row("celu", ANY, |x| activation::celu(x.clone(), 0.7) * x),
        row("selu", ANY, |x| activation::selu(x.clone()) * x),
        row("glu", ANY, |x| f(activation::glu(m(x), 1))),
        row("softsign", ANY, activation::softsign),
        row("tanhshrink", ANY, activation::tanhshrink),
    ]
}

fn ranks() -> Vec<Row> {
    let lists = [
        every_rank!("relu", ANY, |x| activation::relu(x.clone()) * x),
        every_rank!("gelu", ANY, |x| activation::gelu(x * 2.0)),
        every_rank!("softmax", ANY, |x| activation::softmax(x.clone() * 2.0, 0) * x),
        every_rank!("log_softmax", ANY, |x| activation::log_softmax(x.clone() * 2.0, 0) * x),
    ];
    lists.into_iter().flatten().collect()
}
