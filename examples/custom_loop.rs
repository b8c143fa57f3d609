//! The smallest use in a training loop of one's own: `cargo run --release --example custom_loop`.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor, activation::tanh};
use burn_sharpness::observe::{Cadence, Measure, TrainingStep};
use burn_sharpness::prelude::*;

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    output: Linear,
}

/// Any closure or function from model and batch to one number is a loss.
fn loss(net: &Net, (x, y): (Tensor<2>, Tensor<2>)) -> Tensor<1> {
    let predicted = net.output.forward(tanh(net.hidden.forward(x)));
    (predicted - y).powi_scalar(2).sum_dim(1).mean()
}

fn main() -> Result<(), burn_sharpness::Error> {
    let device = Device::flex().autodiff();
    device.seed(0);
    let hidden = LinearConfig::new(4, 64).init(&device);
    let mut net = Net { hidden, output: LinearConfig::new(64, 1).init(&device) };

    // y = sin(3 x₁): 512 samples to train on, in batches of 8.
    let x = Tensor::<2>::random([512, 4], Distribution::Normal(0.0, 1.0), &device);
    let y = x.clone().narrow(1, 0, 1).mul_scalar(3.0).sin();
    let (eta, batch_size) = (0.1, 8);

    // Beside the loop: the size of a batch, and the loss that is trained.
    let config = SharpnessMonitorConfig::new(batch_size).with_cadence(Cadence::Every(1000));
    let mut monitor = config.init(loss)?;
    let mut optimizer = SgdConfig::new().init();

    for step in 0..=15_000 {
        // Measures at the present weights, over batches drawn from all data; changes nothing.
        let at = TrainingStep::new(step).with_learning_rate(eta);
        if let Some(row) = monitor.observe(at, &net, &(x.clone(), y.clone()))? {
            let value = |measure| row.mean(&measure).unwrap_or(f64::NAN);
            println!(
                "step {step:>5}: mini-batch sharpness {:>5.1}, batch sharpness {:>5.1}, 2/η = {}",
                value(Measure::MiniBatchSharpness),
                value(Measure::BatchSharpness),
                2.0 / eta
            );
        }
        // The training step is yours.
        let start = step * batch_size % 512;
        let batch =
            (x.clone().narrow(0, start, batch_size), y.clone().narrow(0, start, batch_size));
        let gradients = GradientsParams::from_grads(loss(&net, batch).backward(), &net);
        net = optimizer.step(eta, net, gradients);
    }
    let overhead = 100.0 * monitor.overhead().unwrap_or_default();
    println!("measuring took {overhead:.1}% of the training time");
    Ok(())
}
