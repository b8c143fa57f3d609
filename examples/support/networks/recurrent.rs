//! Classifiers of sequences with burn's recurrent layers.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Gru, GruConfig, Linear, LinearConfig, Lstm, LstmConfig};
use burn::tensor::{Device, Tensor};

use super::{Labelled, cross_entropy};

/// Sizes of [`LstmClassifier`] and [`GruClassifier`].
#[derive(Config, Debug)]
pub struct RecurrentConfig {
    /// Features of each element of a sequence.
    pub inputs: usize,
    /// Width of the hidden state.
    pub hidden: usize,
    /// Number of classes.
    pub classes: usize,
}

/// An LSTM, and a linear layer on the mean of its outputs.
#[derive(Module, Debug)]
pub struct LstmClassifier {
    /// The recurrent layer.
    pub lstm: Lstm,
    /// From the mean output to logits.
    pub head: Linear,
}

/// A GRU, and a linear layer on its last output.
#[derive(Module, Debug)]
pub struct GruClassifier {
    /// The recurrent layer.
    pub gru: Gru,
    /// From the last output to logits.
    pub head: Linear,
}

impl RecurrentConfig {
    /// An LSTM classifier with burn's default initialization.
    pub fn init_lstm(&self, device: &Device) -> LstmClassifier {
        LstmClassifier {
            lstm: LstmConfig::new(self.inputs, self.hidden, true).init(device),
            head: LinearConfig::new(self.hidden, self.classes).init(device),
        }
    }

    /// A GRU classifier with burn's default initialization.
    pub fn init_gru(&self, device: &Device) -> GruClassifier {
        GruClassifier {
            gru: GruConfig::new(self.inputs, self.hidden, true).init(device),
            head: LinearConfig::new(self.hidden, self.classes).init(device),
        }
    }
}

impl LstmClassifier {
    /// Logits.
    ///
    /// # Shapes
    /// - `sequences`: `[samples, length, inputs]`
    /// - output: `[samples, classes]`
    pub fn forward(&self, sequences: Tensor<3>) -> Tensor<2> {
        let (outputs, _) = self.lstm.forward(sequences, None);
        self.head.forward(outputs.mean_dim(1).squeeze_dim(1))
    }

    /// Mean cross-entropy.
    pub fn loss(&self, (sequences, labels): Labelled<3>) -> Tensor<1> {
        cross_entropy(self.forward(sequences), labels)
    }
}

impl GruClassifier {
    /// Logits.
    ///
    /// # Shapes
    /// - `sequences`: `[samples, length, inputs]`
    /// - output: `[samples, classes]`
    pub fn forward(&self, sequences: Tensor<3>) -> Tensor<2> {
        let [_, length, _] = sequences.dims();
        let outputs = self.gru.forward(sequences, None);
        self.head.forward(outputs.narrow(1, length - 1, 1).squeeze_dim(1))
    }

    /// Mean cross-entropy.
    pub fn loss(&self, (sequences, labels): Labelled<3>) -> Tensor<1> {
        cross_entropy(self.forward(sequences), labels)
    }
}
