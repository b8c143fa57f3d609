//! A residual network of gated layers, as in today's language models, on plain vectors.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig, RmsNorm, RmsNormConfig, SwiGlu, SwiGluConfig};
use burn::tensor::{Device, Tensor};

use super::{Labelled, cross_entropy};

/// Sizes of [`GatedMlp`].
#[derive(Config, Debug)]
pub struct GatedMlpConfig {
    /// Features of a sample.
    pub inputs: usize,
    /// Number of classes.
    pub classes: usize,
    /// Width of the residual stream.
    #[config(default = 64)]
    pub d_model: usize,
    /// Width of the gated layers.
    #[config(default = 128)]
    pub d_ff: usize,
    /// Residual blocks.
    #[config(default = 2)]
    pub n_layers: usize,
}

/// x + W(SwiGLU(RMSNorm(x))).
#[derive(Module, Debug)]
struct GatedBlock {
    norm: RmsNorm,
    gate: SwiGlu,
    out: Linear,
}

/// A linear layer, gated residual blocks, RMSNorm, a linear layer.
#[derive(Module, Debug)]
pub struct GatedMlp {
    stem: Linear,
    blocks: Vec<GatedBlock>,
    norm: RmsNorm,
    head: Linear,
}

impl GatedMlpConfig {
    /// The network with burn's default initialization.
    pub fn init(&self, device: &Device) -> GatedMlp {
        let block = |_| GatedBlock {
            norm: RmsNormConfig::new(self.d_model).init(device),
            gate: SwiGluConfig::new(self.d_model, self.d_ff).init(device),
            out: LinearConfig::new(self.d_ff, self.d_model).with_bias(false).init(device),
        };
        GatedMlp {
            stem: LinearConfig::new(self.inputs, self.d_model).init(device),
            blocks: (0..self.n_layers).map(block).collect(),
            norm: RmsNormConfig::new(self.d_model).init(device),
            head: LinearConfig::new(self.d_model, self.classes).init(device),
        }
    }
}

impl GatedBlock {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.clone() + self.out.forward(self.gate.forward(self.norm.forward(x)))
    }
}

impl GatedMlp {
    /// Logits.
    ///
    /// # Shapes
    /// - `x`: `[samples, inputs]`
    /// - output: `[samples, classes]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let stem = self.stem.forward(x);
        let x = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        self.head.forward(self.norm.forward(x))
    }

    /// Mean cross-entropy.
    pub fn loss(&self, (x, labels): Labelled<2>) -> Tensor<1> {
        cross_entropy(self.forward(x), labels)
    }
}
