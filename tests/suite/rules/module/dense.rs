//! Dense layers and embeddings.

use burn::tensor::{Tensor, module};

use crate::rules::{ANY, Row, check, data, f, ints, m, row};

pub fn rows() -> Vec<Row> {
    [linear(), embedding()].into_iter().flatten().collect()
}

#[test]
fn dense_rules() {
    check(&rows());
}

fn linear() -> Vec<Row> {
    let weight = |x: &Tensor<1>| x.clone().narrow(0, 2, 8).reshape([4, 2]);
    vec![
        row("linear with bias", ANY, move |x| {
            f(module::linear(m(x.clone()), weight(&x), Some(x.narrow(0, 9, 2))))
        }),
        row("linear without bias, of data", ANY, move |x| {
            f(module::linear(m(x.ones_like()), weight(&x), None)).powi_scalar(2)
        }),
        row("linear with only the input trained", ANY, |x| {
            let weight = data([4, 2], 0.2, &x.device());
            f(module::linear(m(x.clone()), weight, None)).powi_scalar(2)
        }),
        row("linear with only the bias trained", ANY, |x| {
            let weight = x.ones_like().narrow(0, 2, 8).reshape([4, 2]);
            f(module::linear(m(x.ones_like()), weight, Some(x.narrow(0, 9, 2)))).powi_scalar(2)
        }),
        row("linear of rank one", ANY, move |x| {
            module::linear(x.clone().narrow(0, 0, 4), weight(&x), Some(x.narrow(0, 9, 2)))
        }),
        row("linear of rank three", ANY, |x| {
            let weight = x.clone().narrow(0, 2, 4).reshape([2, 2]);
            f(module::linear(x.clone().reshape([3, 2, 2]), weight, Some(x.narrow(0, 9, 2))))
        }),
        row("linear of one sample, one feature", ANY, |x| {
            let weight = x.clone().narrow(0, 2, 1).reshape([1, 1]);
            let input = x.clone().narrow(0, 0, 1).reshape([1, 1]);
            f(module::linear(input, weight, Some(x.narrow(0, 9, 1))))
        }),
        row("two linear layers that share a weight", ANY, |x| {
            let weight = x.clone().narrow(0, 0, 9).reshape([3, 3]);
            let hidden = module::linear(data([2, 3], 0.2, &x.device()), weight.clone(), None);
            f(module::linear(hidden.tanh(), weight, None))
        }),
    ]
}

fn embedding() -> Vec<Row> {
    vec![
        row("embedding, one line twice, all used", ANY, |x| {
            let i = ints(&[2, 0, 2, 1], [2, 2], &x.device());
            f(module::embedding(m(x), i)).powi_scalar(2)
        }),
        row("embedding, one line three times, one never", ANY, |x| {
            let i = ints(&[1, 1, 1, 2], [1, 4], &x.device());
            f(module::embedding(m(x), i)).powi_scalar(2)
        }),
        row("embedding of one index", ANY, |x| {
            let i = ints(&[1], [1, 1], &x.device());
            f(module::embedding(m(x), i)).powi_scalar(2)
        }),
        row("embedding times a function of its weight", ANY, |x| {
            let i = ints(&[2, 0, 2, 1], [4, 1], &x.device());
            let scores = module::embedding(m(x.clone()), i).reshape([4, 4]);
            f(scores.matmul(m(x).transpose()))
        }),
    ]
}
