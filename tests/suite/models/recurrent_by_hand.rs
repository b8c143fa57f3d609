//! burn's LSTM and GRU written out, on the weights of its modules.
//!
//! The modules make their states with the device's default dtype, so that on a device that
//! defaults to f32, as flex does here, they cannot run in f64. These can.

use burn::nn::GateController;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, s};

use crate::networks::recurrent::{GruClassifier, LstmClassifier};
use crate::networks::{Labelled, cross_entropy};

/// [`LstmClassifier::loss`].
pub fn lstm_loss(model: &LstmClassifier, (x, labels): Labelled<3>) -> Tensor<1> {
    let lstm = &model.lstm;
    let [samples, length, _] = x.dims();
    let zeros = Tensor::<2>::zeros([samples, lstm.d_hidden], (&x.device(), x.dtype()));
    let (mut cell, mut hidden, mut sum) = (zeros.clone(), zeros.clone(), zeros);
    for t in 0..length {
        let now = x.clone().slice(s![.., t, ..]).squeeze_dim::<2>(1);
        let gate = |gate: &GateController| gate.gate_product(now.clone(), hidden.clone());
        let input = sigmoid(gate(&lstm.input_gate));
        let forget = sigmoid(gate(lstm.forget_gate.as_ref().unwrap()));
        let output = sigmoid(gate(&lstm.output_gate));
        cell = forget * cell + input * gate(&lstm.cell_gate).tanh();
        hidden = output * cell.clone().tanh();
        sum = sum + hidden.clone();
    }
    cross_entropy(model.head.forward(sum * (1.0 / length as f64)), labels)
}

/// [`GruClassifier::loss`].
pub fn gru_loss(model: &GruClassifier, (x, labels): Labelled<3>) -> Tensor<1> {
    let gru = &model.gru;
    let [samples, length, _] = x.dims();
    let mut hidden = Tensor::<2>::zeros([samples, gru.d_hidden], (&x.device(), x.dtype()));
    for t in 0..length {
        let now = x.clone().slice(s![.., t, ..]).squeeze_dim::<2>(1);
        let gate = |gate: &GateController| gate.gate_product(now.clone(), hidden.clone());
        let update = sigmoid(gate(&gru.update_gate));
        let reset = sigmoid(gate(&gru.reset_gate));
        let new = &gru.new_gate;
        let reset_hidden = reset * new.hidden_transform.forward(hidden.clone());
        let candidate = (new.input_transform.forward(now) + reset_hidden).tanh();
        hidden = (-update.clone() + 1.0) * candidate + update * hidden;
    }
    cross_entropy(model.head.forward(hidden), labels)
}
