//! The CTC loss: burn records it as elementary operations. (`burn::nn::loss::CTCLoss` reads the
//! lengths of its targets, so it cannot be recorded; the function below is what it calls.)

use burn::tensor::{Tensor, activation, module};

use crate::rules::{ANY, Row, check, ints, row};

pub fn rows() -> Vec<Row> {
    vec![
        row("ctc_loss", ANY, |x| ctc(x.reshape([4, 2, 3]), [4, 4], [2, 2], &[1, 2, 2, 1]))
            .params(24),
        row("ctc_loss of equal neighbours", ANY, |x| {
            ctc(x.reshape([4, 2, 3]), [4, 4], [2, 2], &[1, 1, 2, 2])
        })
        .params(24),
        row("ctc_loss of shorter inputs and targets", ANY, |x| {
            ctc(x.reshape([4, 2, 3]), [4, 3], [2, 1], &[1, 2, 2, 1])
        })
        .params(24),
        row("ctc_loss of an empty target", ANY, |x| {
            ctc(x.reshape([3, 2, 3]), [3, 3], [1, 0], &[1, 2])
        })
        .params(18),
        row("ctc_loss of one step", ANY, |x| ctc(x.reshape([1, 2, 3]), [1, 1], [1, 1], &[1, 2]))
            .params(6),
    ]
}

#[test]
fn ctc_rules() {
    check(&rows());
}

/// The losses of two samples for `logits` `[time, 2, classes]`; class 0 is the blank.
fn ctc(logits: Tensor<3>, inputs: [i64; 2], lengths: [i64; 2], targets: &[i64]) -> Tensor<1> {
    let device = logits.device();
    let targets = ints(targets, [2, targets.len() / 2], &device);
    let (inputs, lengths) = (ints(&inputs, [2], &device), ints(&lengths, [2], &device));
    module::ctc_loss(activation::log_softmax(logits, 2), targets, inputs, lengths, 0)
}
