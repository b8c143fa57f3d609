//! Residual networks for CIFAR (He et al. 2016, section 4.2), with batch normalization or without.

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor, s};

use super::{Labelled, cross_entropy};

/// Sizes of [`CifarResNet`].
#[derive(Config, Debug)]
pub struct CifarResNetConfig {
    /// Residual blocks of each of the three stages: `[3, 3, 3]` is ResNet-20.
    pub blocks: [usize; 3],
    /// Channels of each stage.
    #[config(default = "[16, 32, 64]")]
    pub widths: [usize; 3],
    /// Channels of an image.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Number of classes.
    #[config(default = 10)]
    pub classes: usize,
    /// Batch normalization after every convolution; the identity without.
    #[config(default = true)]
    pub batch_norm: bool,
}

/// A convolution without bias, and its normalization.
#[derive(Module, Debug)]
pub struct ConvNorm {
    convolution: Conv2d,
    norm: Option<BatchNorm>,
}

/// Two convolutions and a shortcut without parameters.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    first: ConvNorm,
    second: ConvNorm,
    stride: usize,
    channels: usize,
}

/// A 3×3 convolution, three stages of residual blocks of which the second and third halve the
/// image, the mean over the image, and a linear layer.
#[derive(Module, Debug)]
pub struct CifarResNet {
    /// The first convolution.
    pub stem: ConvNorm,
    /// The residual blocks of each stage.
    pub stages: Vec<Vec<ResidualBlock>>,
    pool: AdaptiveAvgPool2d,
    head: Linear,
}

impl CifarResNetConfig {
    /// The network with burn's default initialization.
    pub fn init(&self, device: &Device) -> CifarResNet {
        let mut channels = self.widths[0];
        let stem = self.convolution(self.image_channels, channels, 1, device);
        let mut stages = Vec::new();
        for (stage, (&blocks, &width)) in self.blocks.iter().zip(&self.widths).enumerate() {
            let block = |block| {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let first = self.convolution(channels, width, stride, device);
                let second = self.convolution(width, width, 1, device);
                channels = width;
                ResidualBlock { first, second, stride, channels: width }
            };
            stages.push((0..blocks).map(block).collect());
        }
        CifarResNet {
            stem,
            stages,
            pool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            head: LinearConfig::new(channels, self.classes).init(device),
        }
    }

    fn convolution(&self, from: usize, to: usize, stride: usize, device: &Device) -> ConvNorm {
        let convolution = Conv2dConfig::new([from, to], [3, 3])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_bias(false)
            .init(device);
        let norm = self.batch_norm.then(|| BatchNormConfig::new(to).init(device));
        ConvNorm { convolution, norm }
    }
}

impl ConvNorm {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.convolution.forward(x);
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

impl ResidualBlock {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let residual = self.second.forward(relu(self.first.forward(x.clone())));
        relu(residual + self.shortcut(x))
    }

    /// He et al.'s option A: every second pixel, and channels of zeros on both sides.
    fn shortcut(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, channels, _, _] = x.dims();
        let x = match self.stride {
            1 => x,
            stride => x.slice(s![.., .., ..;stride, ..;stride]),
        };
        let missing = self.channels - channels;
        if missing == 0 {
            return x;
        }
        let before = missing / 2;
        let zeros = [(0, 0), (before, missing - before), (0, 0), (0, 0)];
        x.pad(zeros, PadMode::Constant(0.0))
    }
}

impl CifarResNet {
    /// Logits.
    ///
    /// # Shapes
    /// - `images`: `[samples, channels, height, width]`
    /// - output: `[samples, classes]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let stem = relu(self.stem.forward(images));
        let x = self.stages.iter().flatten().fold(stem, |x, block| block.forward(x));
        self.head.forward(self.pool.forward(x).flatten(1, 3))
    }

    /// Mean cross-entropy.
    pub fn loss(&self, (images, labels): Labelled<4>) -> Tensor<1> {
        cross_entropy(self.forward(images), labels)
    }
}
