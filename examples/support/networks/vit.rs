//! A vision transformer (Dosovitskiy et al. 2021).

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::{Labelled, cross_entropy};

/// Sizes of [`VisionTransformer`]; the defaults are a small one for CIFAR-10.
#[derive(Config, Debug)]
pub struct VisionTransformerConfig {
    /// Channels, height and width of an image.
    #[config(default = "[3, 32, 32]")]
    pub image: [usize; 3],
    /// Side of a square patch, a divisor of height and width.
    #[config(default = 4)]
    pub patch: usize,
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
    #[config(default = 4)]
    pub n_layers: usize,
    /// Number of classes.
    #[config(default = 10)]
    pub classes: usize,
    /// Dropout probability.
    #[config(default = 0.1)]
    pub dropout: f64,
}

/// Patches by a convolution, a class token, learned positions, pre-norm encoder blocks with GELU,
/// and a linear layer on the class token.
#[derive(Module, Debug)]
pub struct VisionTransformer {
    patches: Conv2d,
    class_token: Param<Tensor<3>>,
    positions: Param<Tensor<3>>,
    encoder: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl VisionTransformerConfig {
    /// The network with burn's default initialization; class token and positions are normal with
    /// deviation 0.02.
    pub fn init(&self, device: &Device) -> VisionTransformer {
        let ([channels, height, width], side) = (self.image, self.patch);
        let n_patches = (height / side) * (width / side);
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let Self { d_model, d_ff, n_heads, n_layers, .. } = *self;
        VisionTransformer {
            patches: Conv2dConfig::new([channels, d_model], [side, side])
                .with_stride([side, side])
                .init(device),
            class_token: small.init([1, 1, d_model], device),
            positions: small.init([1, n_patches + 1, d_model], device),
            encoder: TransformerEncoderConfig::new(d_model, d_ff, n_heads, n_layers)
                .with_norm_first(true)
                .with_dropout(self.dropout)
                .init(device),
            norm: LayerNormConfig::new(d_model).init(device),
            head: LinearConfig::new(d_model, self.classes).init(device),
        }
    }
}

impl VisionTransformer {
    /// Logits.
    ///
    /// # Shapes
    /// - `images`: `[samples, channels, height, width]`
    /// - output: `[samples, classes]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let patches = self.patches.forward(images).flatten::<3>(2, 3).swap_dims(1, 2);
        let [samples, _, d_model] = patches.dims();
        let class_token = self.class_token.val().expand([samples, 1, d_model]);
        let x = Tensor::cat(vec![class_token, patches], 1) + self.positions.val();
        let x = self.encoder.forward(TransformerEncoderInput::new(x));
        let class_token = x.narrow(1, 0, 1).squeeze_dim::<2>(1);
        self.head.forward(self.norm.forward(class_token))
    }

    /// Mean cross-entropy.
    pub fn loss(&self, (images, labels): Labelled<4>) -> Tensor<1> {
        cross_entropy(self.forward(images), labels)
    }
}
