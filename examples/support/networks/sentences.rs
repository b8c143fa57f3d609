//! A classifier of sentences of different lengths, with a batch type of its own.

use burn::config::Config;
use burn::module::Module;
use burn::nn::attention::generate_padding_mask;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Int, Tensor};

use super::cross_entropy;

/// The token that fills up short sentences.
pub const PADDING: usize = 0;

/// Sentences filled up to the same length.
#[derive(Clone, Debug)]
pub struct Sentences {
    /// `[samples, length]`.
    pub tokens: Tensor<2, Int>,
    /// Classes, `[samples]`.
    pub targets: Tensor<1, Int>,
    /// True where a sentence has ended, `[samples, length]`.
    pub padding: Tensor<2, Bool>,
}
burn_sharpness::batch!(Sentences { tokens, targets, padding });

impl Sentences {
    /// Fills up `sentences` to the length of the longest.
    pub fn new(sentences: Vec<Vec<usize>>, targets: &[i64], device: &Device) -> Self {
        let padded = generate_padding_mask(PADDING, sentences, None, device);
        let targets = Tensor::from_ints(targets, device);
        Self { tokens: padded.tensor, targets, padding: padded.mask }
    }
}

/// Sizes of [`SentenceClassifier`].
#[derive(Config, Debug)]
pub struct SentenceClassifierConfig {
    /// Number of different tokens, [`PADDING`] included.
    pub vocabulary: usize,
    /// Number of classes.
    pub classes: usize,
    /// Width of a token.
    #[config(default = 64)]
    pub d_model: usize,
    /// Width of the feed-forward layers.
    #[config(default = 128)]
    pub d_ff: usize,
    /// Attention heads, a divisor of `d_model`.
    #[config(default = 4)]
    pub n_heads: usize,
    /// Encoder blocks.
    #[config(default = 2)]
    pub n_layers: usize,
    /// Dropout probability.
    #[config(default = 0.1)]
    pub dropout: f64,
}

/// Embedding, post-norm encoder blocks that do not see the padding, the mean over a sentence's own
/// tokens, and a linear layer.
#[derive(Module, Debug)]
pub struct SentenceClassifier {
    embedding: Embedding,
    encoder: TransformerEncoder,
    head: Linear,
}

impl SentenceClassifierConfig {
    /// The network with burn's default initialization.
    pub fn init(&self, device: &Device) -> SentenceClassifier {
        let Self { d_model, d_ff, n_heads, n_layers, .. } = *self;
        SentenceClassifier {
            embedding: EmbeddingConfig::new(self.vocabulary, d_model).init(device),
            encoder: TransformerEncoderConfig::new(d_model, d_ff, n_heads, n_layers)
                .with_dropout(self.dropout)
                .init(device),
            head: LinearConfig::new(d_model, self.classes).init(device),
        }
    }
}

impl SentenceClassifier {
    /// Logits.
    ///
    /// # Shapes
    /// - `tokens`, `padding`: `[samples, length]`
    /// - output: `[samples, classes]`
    pub fn forward(&self, tokens: Tensor<2, Int>, padding: Tensor<2, Bool>) -> Tensor<2> {
        let embedded = TransformerEncoderInput::new(self.embedding.forward(tokens));
        let x = self.encoder.forward(embedded.mask_pad(padding.clone()));
        // The mask's floats have the device's default dtype.
        let kept = padding.bool_not().float().cast(x.dtype()).unsqueeze_dim::<3>(2);
        let lengths = kept.clone().sum_dim(1);
        let mean = (x * kept).sum_dim(1) / lengths;
        self.head.forward(mean.squeeze_dim(1))
    }

    /// Mean cross-entropy.
    pub fn loss(&self, batch: Sentences) -> Tensor<1> {
        cross_entropy(self.forward(batch.tokens, batch.padding), batch.targets)
    }
}
