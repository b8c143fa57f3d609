//! A small U-Net (Ronneberger et al. 2015) with group normalization, for segmentation.

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::interpolate::{Interpolate2d, Interpolate2dConfig, InterpolateMode};
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Int, Tensor};

use super::cross_entropy;

/// How a [`UNet`] doubles an image.
#[derive(Config, Debug, PartialEq)]
pub enum Upsampling {
    /// By a transposed convolution.
    Transposed,
    /// By bilinear interpolation and a convolution.
    Bilinear,
}

/// Sizes of [`UNet`].
#[derive(Config, Debug)]
pub struct UNetConfig {
    /// Channels of an image.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Channels at full resolution; each halving doubles them.
    #[config(default = 16)]
    pub channels: usize,
    /// Groups of the normalizations, a divisor of `channels`.
    #[config(default = 4)]
    pub groups: usize,
    /// Classes of a pixel.
    #[config(default = 2)]
    pub classes: usize,
    /// How the image is doubled.
    #[config(default = "Upsampling::Transposed")]
    pub upsampling: Upsampling,
}

/// A 3×3 convolution, group normalization, SiLU.
#[derive(Module, Debug)]
struct ConvGroupNorm {
    convolution: Conv2d,
    norm: GroupNorm,
}

#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // one of each in a network
enum Upsample {
    Transposed(ConvTranspose2d),
    Interpolated(InterpolatedConv),
}

/// The image twice as large, then a 1×1 convolution.
#[derive(Module, Debug)]
struct InterpolatedConv {
    interpolate: Interpolate2d,
    convolution: Conv2d,
}

/// Two halvings by strided convolutions, two doublings, and a skip connection at each resolution.
#[derive(Module, Debug)]
pub struct UNet {
    encoder: Vec<ConvGroupNorm>,
    ups: Vec<Upsample>,
    decoder: Vec<ConvGroupNorm>,
    head: Conv2d,
}

impl UNetConfig {
    /// The network with burn's default initialization.
    pub fn init(&self, device: &Device) -> UNet {
        let c = self.channels;
        UNet {
            encoder: vec![
                self.convolution(self.image_channels, c, 1, device),
                self.convolution(c, 2 * c, 2, device),
                self.convolution(2 * c, 4 * c, 2, device),
            ],
            ups: vec![self.upsample(4 * c, 2 * c, device), self.upsample(2 * c, c, device)],
            decoder: vec![
                self.convolution(4 * c, 2 * c, 1, device),
                self.convolution(2 * c, c, 1, device),
            ],
            head: Conv2dConfig::new([c, self.classes], [1, 1]).init(device),
        }
    }

    fn convolution(&self, from: usize, to: usize, stride: usize, device: &Device) -> ConvGroupNorm {
        let convolution = Conv2dConfig::new([from, to], [3, 3])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .init(device);
        ConvGroupNorm { convolution, norm: GroupNormConfig::new(self.groups, to).init(device) }
    }

    fn upsample(&self, from: usize, to: usize, device: &Device) -> Upsample {
        match self.upsampling {
            Upsampling::Transposed => {
                let config = ConvTranspose2dConfig::new([from, to], [2, 2]).with_stride([2, 2]);
                Upsample::Transposed(config.init(device))
            }
            Upsampling::Bilinear => {
                let interpolate = Interpolate2dConfig::new()
                    .with_scale_factor(Some([2.0, 2.0]))
                    .with_mode(InterpolateMode::Linear)
                    .with_align_corners(false)
                    .init();
                let convolution = Conv2dConfig::new([from, to], [1, 1]).init(device);
                Upsample::Interpolated(InterpolatedConv { interpolate, convolution })
            }
        }
    }
}

impl ConvGroupNorm {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        silu(self.norm.forward(self.convolution.forward(x)))
    }
}

impl Upsample {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Transposed(convolution) => convolution.forward(x),
            Self::Interpolated(InterpolatedConv { interpolate, convolution }) => {
                convolution.forward(interpolate.forward(x))
            }
        }
    }
}

impl UNet {
    /// Logits of each pixel.
    ///
    /// # Shapes
    /// - `images`: `[samples, channels, height, width]`, height and width divisible by 4
    /// - output: `[samples, classes, height, width]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut x = images;
        let mut skips = Vec::new();
        for layer in &self.encoder {
            x = layer.forward(x);
            skips.push(x.clone());
        }
        skips.pop(); // the lowest resolution goes on as it is
        for (up, layer) in self.ups.iter().zip(&self.decoder) {
            let skip = skips.pop().expect("one skip connection per doubling");
            x = layer.forward(Tensor::cat(vec![skip, up.forward(x)], 1));
        }
        self.head.forward(x)
    }

    /// Mean cross-entropy over pixels.
    ///
    /// # Shapes
    /// - `images`: `[samples, channels, height, width]`
    /// - `labels`: `[samples, height, width]`
    pub fn loss(&self, (images, labels): (Tensor<4>, Tensor<3, Int>)) -> Tensor<1> {
        let logits = self.forward(images).permute([0, 2, 3, 1]);
        cross_entropy(logits.flatten(0, 2), labels.flatten(0, 2))
    }
}
