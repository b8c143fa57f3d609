//! Convolutional networks: the paper's, and a small residual network.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_sharpness::{HessianOperator, LinearOperator, Result};

use crate::networks::Labelled;
use crate::networks::cnn::{PaperCnn, PaperCnnConfig};
use crate::networks::resnet::{CifarResNet, CifarResNetConfig};
use crate::support::clock::{interleaved, median_ratio};
use crate::{Extent, line};

/// One product over one gradient.
pub fn products(extent: Extent, rounds: usize) -> Result<()> {
    let batch = if extent == Extent::Full { 64 } else { 8 };
    let device = device();
    let images = images(batch, &device);
    let rounds = (rounds / 10).max(1);
    let cnn = PaperCnnConfig::new().init(&device);
    line("cnn_hvp_over_gradient", batch, ratio(&cnn, &images, PaperCnn::loss, rounds)?);
    // ResNet-8.
    let resnet = CifarResNetConfig::new([1, 1, 1]).init(&device);
    line("resnet_hvp_over_gradient", batch, ratio(&resnet, &images, CifarResNet::loss, rounds)?);
    Ok(())
}

/// The device of the networks, seeded.
pub fn device() -> Device {
    let device = Device::flex().autodiff();
    device.seed(0);
    device
}

/// Noise of the size of CIFAR-10's images, with labels.
pub fn images(batch: usize, device: &Device) -> Labelled<4> {
    let images = Tensor::random([batch, 3, 32, 32], Distribution::Normal(0.0, 1.0), device);
    let labels: Vec<i64> = (0..batch as i64).map(|i| i % 10).collect();
    (images, Tensor::<1, Int>::from_data(labels.as_slice(), device))
}

fn ratio<M: Module>(
    model: &M,
    batch: &Labelled<4>,
    loss: fn(&M, Labelled<4>) -> Tensor<1>,
    rounds: usize,
) -> Result<f64> {
    let operator = HessianOperator::new(model, batch.clone(), loss)?;
    let v = operator.gradient().clone();
    let device = v.space().device().clone();
    let sync = || device.sync().expect("the device works");
    let [gradient, product] = interleaved(
        rounds,
        [
            &mut || {
                drop(loss(model, batch.clone()).backward());
                sync();
            },
            &mut || {
                drop(operator.apply(&v).expect("the vector fits"));
                sync();
            },
        ],
    );
    Ok(median_ratio(&product, &gradient))
}
