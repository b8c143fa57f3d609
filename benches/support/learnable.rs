//! A task that can be learnt, and training on it: weights at which mini-batch sharpness means
//! something. `benches/peers/common.py` makes the same samples.

use std::fs;
use std::io;
use std::path::Path;

use burn::module::{Module, Param, ParamId};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{Batch, CLASSES, Loss, Mlp, WIDTHS, floats, hash, unit};

/// Samples of the task.
pub const SAMPLES: usize = 4096;
/// Half the range of the entries of a class's mean; the noise has variance 1.
const SIGNAL: f32 = 0.1;
/// One label in so many is drawn anew, so that the loss does not go to zero and the curvature
/// with it.
const NOISY: u64 = 5;

/// The samples 0..n: the noise and labels of [`Case::new`](super::Case::new), each input shifted by
/// the mean of its class, then some labels drawn anew.
pub fn samples(n: usize, device: &Device) -> Batch {
    let features = WIDTHS[0];
    let class = |i: usize| hash(2, i as u64) % CLASSES as u64;
    let noise = floats(1, &[n, features], 3.0_f32.sqrt()).try_into_vec::<f32>().expect("floats");
    let mean = |class: u64, j: usize| SIGNAL * unit(4, class * features as u64 + j as u64);
    let inputs: Vec<f32> = noise
        .iter()
        .enumerate()
        .map(|(at, noise)| noise + mean(class(at / features), at % features))
        .collect();
    let label = |i: usize| match hash(5, i as u64) % NOISY {
        0 => hash(6, i as u64) % CLASSES as u64,
        _ => class(i),
    };
    let labels: Vec<i64> = (0..n).map(|i| label(i) as i64).collect();
    let labels = Tensor::<1, Int>::from_data(labels.as_slice(), device);
    let targets = labels.clone().one_hot::<2>(CLASSES).float();
    (Tensor::from_data(TensorData::new(inputs, [n, features]), device), labels, targets)
}

/// The samples at `indices`.
pub fn select((x, labels, targets): &Batch, indices: &[usize]) -> Batch {
    let indices: Vec<i64> = indices.iter().map(|i| *i as i64).collect();
    let indices = Tensor::<1, Int>::from_data(indices.as_slice(), &x.device());
    let select = |x: &Tensor<2>| x.clone().select(0, indices.clone());
    (select(x), labels.clone().select(0, indices.clone()), select(targets))
}

/// Plain SGD, steps `steps.start` to `steps.end`, on consecutive batches of `data`, round and
/// round: the samples are independent, so their order is as good as a shuffled one.
pub fn train(
    mut model: Mlp,
    data: &Batch,
    loss: Loss,
    batch_size: usize,
    learning_rate: f64,
    steps: std::ops::Range<usize>,
) -> Mlp {
    let n = data.0.dims()[0];
    let loss = loss.function();
    let mut optimizer = SgdConfig::new().init();
    for step in steps {
        let indices: Vec<usize> = (0..batch_size).map(|i| (step * batch_size + i) % n).collect();
        let gradients = loss(&model, select(data, &indices)).backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(learning_rate, model, gradients);
    }
    model
}

/// All weights and biases in order, as little-endian f32.
pub fn write(model: &Mlp, path: &Path) -> io::Result<()> {
    let values = model.layers.iter().flat_map(|layer| {
        let bias = layer.bias.as_ref().expect("every layer has one").val();
        [layer.weight.val().flatten::<1>(0, 1), bias]
    });
    let mut bytes = Vec::new();
    for tensor in values {
        let values = tensor.into_data().try_into_vec::<f32>().expect("f32 weights");
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    fs::write(path, bytes)
}

/// The network that [`write`] wrote.
pub fn read(path: &Path, device: &Device) -> io::Result<Mlp> {
    let bytes = fs::read(path)?;
    let mut model = Mlp::new(device);
    if bytes.len() != 4 * model.num_params() {
        let problem = format!("{} does not hold the weights of this network", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let mut values = bytes.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
    let mut next = |shape: Vec<usize>| {
        let values: Vec<f32> = values.by_ref().take(shape.iter().product()).collect();
        TensorData::new(values, shape)
    };
    for (layer, ends) in model.layers.iter_mut().zip(WIDTHS.windows(2)) {
        let weight = Tensor::from_data(next(ends.to_vec()), device);
        let bias = Tensor::from_data(next(vec![ends[1]]), device);
        layer.weight = Param::initialized(ParamId::new(), weight.require_grad());
        layer.bias = Some(Param::initialized(ParamId::new(), bias.require_grad()));
    }
    Ok(model)
}
