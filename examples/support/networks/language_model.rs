//! A decoder-only language model whose embedding is also its output projection.

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig};
use burn::tensor::{Device, Int, Tensor};

use super::cross_entropy;

/// Sizes of [`LanguageModel`].
#[derive(Config, Debug)]
pub struct LanguageModelConfig {
    /// Number of different tokens.
    pub vocabulary: usize,
    /// The most tokens that the model can read.
    pub context: usize,
    /// Width of a token.
    #[config(default = 64)]
    pub d_model: usize,
    /// Width of the feed-forward layers.
    #[config(default = 256)]
    pub d_ff: usize,
    /// Attention heads, a divisor of `d_model`.
    #[config(default = 4)]
    pub n_heads: usize,
    /// Decoder blocks.
    #[config(default = 2)]
    pub n_layers: usize,
    /// Dropout probability.
    #[config(default = 0.1)]
    pub dropout: f64,
}

/// Embedding and positions, pre-norm blocks that see only the past, and the embedding again, which
/// turns what they return into logits.
#[derive(Module, Debug)]
pub struct LanguageModel {
    embedding: Embedding,
    positions: Param<Tensor<2>>,
    // Without cross-attention a decoder is an encoder with a causal mask.
    blocks: TransformerEncoder,
    norm: LayerNorm,
}

impl LanguageModelConfig {
    /// The network with burn's default initialization; embedding and positions are normal with
    /// deviation 0.02.
    pub fn init(&self, device: &Device) -> LanguageModel {
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let Self { d_model, d_ff, n_heads, n_layers, .. } = *self;
        LanguageModel {
            embedding: EmbeddingConfig::new(self.vocabulary, d_model)
                .with_initializer(small.clone())
                .init(device),
            positions: small.init([self.context, d_model], device),
            blocks: TransformerEncoderConfig::new(d_model, d_ff, n_heads, n_layers)
                .with_norm_first(true)
                .with_dropout(self.dropout)
                .init(device),
            norm: LayerNormConfig::new(d_model).init(device),
        }
    }
}

impl LanguageModel {
    /// Logits of the token after each.
    ///
    /// # Shapes
    /// - `tokens`: `[samples, length]`
    /// - output: `[samples, length, vocabulary]`
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [samples, length] = tokens.dims();
        let future = generate_autoregressive_mask(samples, length, &tokens.device());
        let positions = self.positions.val().narrow(0, 0, length).unsqueeze();
        let x = self.embedding.forward(tokens) + positions;
        let x = self.blocks.forward(TransformerEncoderInput::new(x).mask_attn(future));
        self.norm.forward(x).matmul(self.embedding.weight.val().transpose().unsqueeze())
    }

    /// Mean cross-entropy of every token but the first, given those before it.
    ///
    /// # Shapes
    /// - `tokens`: `[samples, length + 1]`
    pub fn loss(&self, tokens: Tensor<2, Int>) -> Tensor<1> {
        let [samples, length] = tokens.dims();
        let next = tokens.clone().narrow(1, 1, length - 1);
        let logits = self.forward(tokens.narrow(1, 0, length - 1));
        let n = samples * (length - 1);
        cross_entropy(logits.flatten(0, 1), next.reshape([n]))
    }
}
