//! Networks that classify images, their data and losses, and the options of the experiments on them.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::init::{self, Fan};
use super::run::Stream;
use crate::support::dataset::Dataset;
use crate::support::device::DeviceName;
use crate::support::error::{ExampleError, Result};
use crate::support::mlp::{Batch, Mlp, squared_error};
use crate::support::networks::cnn::{PaperCnn, PaperCnnConfig};
use crate::support::networks::resnet::{CifarResNet, CifarResNetConfig};
use crate::support::{cifar10, digits};

/// Options of every experiment on images.
#[derive(Clone, Debug, clap::Args)]
pub struct ImageOptions {
    /// Digits, which are built in, and a small network: what the paper says in outline, in about two minutes.
    /// So it is without --path, too
    #[arg(long, conflicts_with = "path")]
    pub quick: bool,

    /// The setting of the paper, on CIFAR-10: a folder with data_batch_1.bin ... of the CIFAR-10 binary version,
    /// or one such file. Of a folder, the files whose names end in .bin and do not contain `test` are read in the
    /// order of their names
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,

    /// Number of training samples, the first of the data set [default: all 1797 digits; 8192 of CIFAR-10]
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,

    /// Seed of the initial weights, of the order of the samples, and of the batches that are measured
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Where to compute. All but flex need the feature of the same name
    #[arg(long, value_enum, default_value = "flex")]
    pub device: DeviceName,

    /// Folder of the results: a run that was stopped goes on there, one that is finished is read
    /// [default: out/ and the name of the experiment, -quick with digits]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl ImageOptions {
    pub fn is_quick(&self) -> bool {
        self.quick || self.path.is_none()
    }

    /// The folder of the experiment `name`.
    pub fn folder(&self, name: &str) -> PathBuf {
        let ending = if self.is_quick() { "-quick" } else { "" };
        self.out.clone().unwrap_or_else(|| Path::new("out").join(format!("{name}{ending}")))
    }

    /// The training set for this architecture, on the device.
    pub fn data(&self, architecture: &Architecture, device: &Device) -> Result<Images> {
        let data = match (&self.path, self.is_quick()) {
            (Some(path), false) => cifar10::load(path, self.samples.unwrap_or(8192))?,
            _ => {
                let digits = digits::load(self.samples)?;
                // Three convolutions and two pools leave nothing of 8×8 pixels.
                if matches!(architecture, Architecture::Cnn { .. }) {
                    digits.enlarged(2)
                } else {
                    digits
                }
            }
        };
        Ok(Images::new(&data, device))
    }
}

/// A training set on a device.
pub struct Images {
    /// Features `[n, channels·height·width]`, and one-hot labels.
    pub batch: Batch,
    pub n: usize,
    pub image: [usize; 3],
    pub n_classes: usize,
    pub description: String,
}

impl Images {
    fn new(data: &Dataset, device: &Device) -> Self {
        let Dataset { image, n_classes, ref description, .. } = *data;
        let (n, description) = (data.len(), description.clone());
        Self { batch: data.tensors(device), n, image, n_classes, description }
    }

    /// The data set and its size, for titles.
    pub fn name(&self) -> String {
        let name = if self.image[0] == 3 { "CIFAR-10" } else { "digits" };
        format!("{name}, {} samples", self.n)
    }
}

/// A network's kind and sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Fully connected, with these hidden widths.
    Mlp { hidden: Vec<usize> },
    /// The paper's CNN, with these channels and this width of the fully connected layer.
    Cnn { channels: [usize; 2], hidden: usize },
    /// A ResNet without batch normalization, with these blocks and channels per stage.
    ResNet { blocks: [usize; 3], widths: [usize; 3] },
}

impl Architecture {
    pub fn describe(&self) -> String {
        let join = |sizes: &[usize]| {
            let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            sizes.join("–")
        };
        match self {
            Self::Mlp { hidden } => format!("MLP {}", join(hidden)),
            Self::Cnn { channels, hidden } => format!("CNN {}–{hidden}", join(channels)),
            Self::ResNet { blocks, widths } => {
                let layers = 2 + 2 * blocks.iter().sum::<usize>();
                format!("ResNet-{layers} {} without normalization", join(widths))
            }
        }
    }

    /// The network with initial weights of `seed`, scaled by `scale`.
    pub fn init(&self, data: &Images, scale: f64, seed: u64, device: &Device) -> Network {
        let (image, classes, seed) = (data.image, data.n_classes, Stream::Weights.seed(seed));
        let body = match self {
            Self::Mlp { hidden } => {
                let ends = [image.iter().product(), classes];
                let widths = [&ends[..1], hidden, &ends[1..]].concat();
                Body::Mlp(Mlp::new(&widths, scale, seed, device))
            }
            Self::Cnn { channels, hidden } => {
                let config = PaperCnnConfig::new().with_image(image).with_classes(classes);
                let config = config.with_channels(*channels).with_hidden(*hidden);
                Body::Cnn(init::normal(config.init(device), Fan::In, scale, seed))
            }
            Self::ResNet { blocks, widths } => {
                let config = CifarResNetConfig::new(*blocks).with_widths(*widths);
                let config = config.with_image_channels(image[0]).with_classes(classes);
                let net = config.with_batch_norm(false).init(device);
                Body::ResNet(init::normal(net, Fan::Out, scale, seed))
            }
        };
        Network { body, image }
    }
}

/// A classifier of images.
#[derive(Module, Debug)]
pub struct Network {
    body: Body,
    image: [usize; 3],
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Body {
    Mlp(Mlp),
    Cnn(PaperCnn),
    ResNet(CifarResNet),
}

impl Network {
    /// # Shapes
    /// - `features`: `[samples, channels·height·width]`
    /// - output: `[samples, classes]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let [n, _] = features.dims();
        let [channels, height, width] = self.image;
        let images = |features: Tensor<2>| features.reshape([n, channels, height, width]);
        match &self.body {
            Body::Mlp(net) => net.forward(features),
            Body::Cnn(net) => net.forward(images(features)),
            Body::ResNet(net) => net.forward(images(features)),
        }
    }
}

/// Its scale is the scale of every sharpness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LossName {
    /// Mean over samples of the sum over classes of squared differences to the one-hot label (no factor 1/2)
    Mse,
    /// Mean over samples of the cross-entropy
    Ce,
}

impl LossName {
    /// The loss of a batch: what is trained on, and what is measured.
    pub fn of(self, model: &Network, (features, one_hot): Batch) -> Tensor<1> {
        let outputs = model.forward(features);
        match self {
            Self::Mse => squared_error(outputs, one_hot),
            Self::Ce => -(log_softmax(outputs, 1) * one_hot).sum_dim(1).mean(),
        }
    }

    /// [`of`](Self::of) as a closure.
    pub fn closure(self) -> impl Fn(&Network, Batch) -> Tensor<1> + Copy + 'static {
        move |model: &Network, batch: Batch| self.of(model, batch)
    }

    pub fn describe(self) -> &'static str {
        match self {
            Self::Mse => "squared error",
            Self::Ce => "cross-entropy",
        }
    }
}

/// Fails for a batch size, given by `option`, that the data does not have.
pub fn check_batch_size(option: &'static str, batch_size: usize, samples: usize) -> Result<()> {
    match (1..=samples).contains(&batch_size) {
        true => Ok(()),
        false => Err(ExampleError::BatchSize { option, batch_size, samples }),
    }
}
