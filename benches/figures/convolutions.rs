//! Convolutional networks: the paper's, and a small residual network. `benches/peers` measures the
//! same in JAX, at the same numbers.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor};
use burn_sharpness::{HessianOperator, LinearOperator, Result};
use serde::Serialize;

use crate::networks::Labelled;
use crate::networks::cnn::{PaperCnn, PaperCnnConfig};
use crate::networks::resnet::{CifarResNet, CifarResNetConfig};
use crate::support::clock::{interleaved, median_ratio};
use crate::support::{CLASSES, direction, floats, hash};
use crate::{Extent, line};

/// One network on one batch.
#[derive(Serialize)]
pub struct Measured {
    network: &'static str,
    batch: usize,
    /// L, ‖∇L‖ and ‖Hv‖: equal to those of other programs that measure the same.
    check: [f64; 3],
    /// Gradient and product, in the same rounds.
    times_ms: BTreeMap<&'static str, Vec<f64>>,
}

/// One dense product over one gradient, cross-entropy, batch normalization in training mode; without
/// batch sizes at one that suits the extent.
pub fn products(extent: Extent, batches: &[usize], rounds: usize) -> Result<Vec<Measured>> {
    let device = device();
    let cnn = PaperCnnConfig::new().init(&device).map(&mut Fill::new(&device));
    // ResNet-8.
    let resnet = CifarResNetConfig::new([1, 1, 1]).init(&device).map(&mut Fill::new(&device));
    let usual: &[usize] = if extent == Extent::Full { &[64] } else { &[8] };
    let mut measured = Vec::new();
    for &batch in if batches.is_empty() { usual } else { batches } {
        let images = images(batch, &device);
        measured.push(measure("cnn", &cnn, &images, PaperCnn::loss, rounds)?);
        measured.push(measure("resnet", &resnet, &images, CifarResNet::loss, rounds)?);
    }
    Ok(measured)
}

/// The device of the networks, seeded.
pub fn device() -> Device {
    let device = Device::flex().autodiff();
    device.seed(0);
    device
}

/// Noise of variance 1 in the shape of CIFAR-10's images, with labels: from the streams of the inputs
/// and labels of the MLP.
pub fn images(batch: usize, device: &Device) -> Labelled<4> {
    let images = floats(1, &[batch, 3, 32, 32], 3.0_f32.sqrt());
    let labels: Vec<i64> =
        (0..batch as u64).map(|i| (hash(2, i) % CLASSES as u64) as i64).collect();
    let labels = Tensor::<1, Int>::from_data(labels.as_slice(), device);
    (Tensor::from_data(images, device), labels)
}

/// Weights and biases in visit order from the streams 10, 11, ..., uniform within 1/√(inputs of a
/// unit), as burn and PyTorch initialize them. Normalizations keep their ones and zeros.
struct Fill<'a> {
    device: &'a Device,
    field: String,
    stream: u64,
    /// Of the last weight: its bias comes next.
    bound: f32,
}

impl<'a> Fill<'a> {
    fn new(device: &'a Device) -> Self {
        Self { device, field: String::new(), stream: 10, bound: 0.0 }
    }
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.field = name.into();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.shape().dims::<D>();
        match self.field.as_str() {
            "weight" => {
                // Linear: [in, out]; convolution: [out, in, height, width].
                let fan_in: usize = if D == 2 { shape[0] } else { shape[1..].iter().product() };
                self.bound = 1.0 / (fan_in as f32).sqrt();
            }
            "bias" => {}
            _ => return param,
        }
        let values = Tensor::from_data(floats(self.stream, &shape, self.bound), self.device);
        self.stream += 1;
        param.map(|old| values.set_require_grad(old.is_require_grad()))
    }
}

fn measure<M: Module>(
    network: &'static str,
    model: &M,
    batch: &Labelled<4>,
    loss: fn(&M, Labelled<4>) -> Tensor<1>,
    rounds: usize,
) -> Result<Measured> {
    let operator = HessianOperator::new(model, batch.clone(), loss)?;
    let v = direction(&operator);
    let check = [operator.loss(), operator.gradient().norm()?, operator.apply(&v)?.norm()?];
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
    let batch = batch.1.dims()[0];
    line(&format!("{network}_hvp_over_gradient"), batch, median_ratio(&product, &gradient));
    let times_ms = BTreeMap::from([("gradient", gradient), ("product", product)]);
    Ok(Measured { network, batch, check, times_ms })
}
