//! The convolutional network of "Edge of Stochastic Stability" (arXiv 2412.20553).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::{Labelled, cross_entropy};

/// Sizes of [`PaperCnn`]; the defaults are the paper's, for CIFAR-10.
#[derive(Config, Debug)]
pub struct PaperCnnConfig {
    /// Channels, height and width of an image.
    #[config(default = "[3, 32, 32]")]
    pub image: [usize; 3],
    /// Channels of the first two convolutions, and of the third.
    #[config(default = "[64, 128]")]
    pub channels: [usize; 2],
    /// Width of the fully connected layer.
    #[config(default = 512)]
    pub hidden: usize,
    /// Number of classes.
    #[config(default = 10)]
    pub classes: usize,
}

/// C3-64, C64-64, max pool, C64-128, max pool, FC4608-512, FC512-10: 3×3 convolutions without
/// padding, stride 1, 2×2 pools, ReLU.
#[derive(Module, Debug)]
pub struct PaperCnn {
    first: Conv2d,
    second: Conv2d,
    third: Conv2d,
    pool: MaxPool2d,
    hidden: Linear,
    head: Linear,
}

impl PaperCnnConfig {
    /// The network with burn's default initialization.
    ///
    /// # Panics
    /// When nothing is left of an image after three convolutions and two pools: it needs 14 pixels
    /// in each direction.
    pub fn init(&self, device: &Device) -> PaperCnn {
        let ([inputs, height, width], [narrow, wide]) = (self.image, self.channels);
        assert!(height >= 14 && width >= 14, "an image of {height}×{width} pixels is too small");
        let convolution = |from, to| Conv2dConfig::new([from, to], [3, 3]).init(device);
        let pooled = |side: usize| ((side - 4) / 2 - 2) / 2;
        let features = wide * pooled(height) * pooled(width);
        PaperCnn {
            first: convolution(inputs, narrow),
            second: convolution(narrow, narrow),
            third: convolution(narrow, wide),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            hidden: LinearConfig::new(features, self.hidden).init(device),
            head: LinearConfig::new(self.hidden, self.classes).init(device),
        }
    }
}

impl PaperCnn {
    /// Logits.
    ///
    /// # Shapes
    /// - `images`: `[samples, channels, height, width]`
    /// - output: `[samples, classes]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.first.forward(images));
        let x = self.pool.forward(relu(self.second.forward(x)));
        let x = self.pool.forward(relu(self.third.forward(x)));
        let x = relu(self.hidden.forward(x.flatten(1, 3)));
        self.head.forward(x)
    }

    /// Mean cross-entropy.
    pub fn loss(&self, (images, labels): Labelled<4>) -> Tensor<1> {
        cross_entropy(self.forward(images), labels)
    }
}
