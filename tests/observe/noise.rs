//! Dropout of a training batch: each measurement has masks of its own, and a continued run goes on with them.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Tensor};
use burn_sharpness::Mode;
use burn_sharpness::observe::{Budget, Cadence, Measure, SharpnessMonitor, SharpnessMonitorConfig};

use crate::folder::Folder;

#[derive(Module, Debug)]
struct Noisy {
    weight: Param<Tensor<1>>,
    dropout: Dropout,
}

fn loss(model: &Noisy, x: Tensor<2>) -> Tensor<1> {
    let dropped = model.dropout.forward(x * model.weight.val().unsqueeze::<2>());
    dropped.sum_dim(1).powi_scalar(2).mean()
}

fn ramp(n: usize) -> Tensor<1> {
    let values: Vec<f32> = (0..n).map(|i| 0.5 + 0.1 * i as f32).collect();
    Tensor::from_floats(values.as_slice(), &Device::flex())
}

fn model() -> Noisy {
    Noisy { weight: Param::from_tensor(ramp(12)), dropout: DropoutConfig::new(0.5).init() }
}

type Monitor = SharpnessMonitor<fn(&Noisy, Tensor<2>) -> Tensor<1>>;

fn monitor(measure: Measure) -> Monitor {
    let config = SharpnessMonitorConfig::new(4)
        .with_measures(vec![measure])
        .with_cadence(Cadence::Every(1))
        .with_budget(Budget::Unlimited)
        .with_mode(Mode::TrainWithNoise { seed: 1 });
    config.init(loss as fn(&Noisy, Tensor<2>) -> Tensor<1>).unwrap()
}

/// The means at these steps, of one model and one batch.
fn means(monitor: &mut Monitor, measure: &Measure, steps: std::ops::Range<usize>) -> Vec<f64> {
    let (model, data) = (model(), ramp(48).reshape([4, 12]));
    let mut mean = |step: usize| {
        let row = monitor.observe_with_batch(step, &model, &data, &data).unwrap();
        row.unwrap().mean(measure).unwrap()
    };
    steps.map(&mut mean).collect()
}

#[test]
fn live_quantities_have_noise_of_their_own_at_each_step() {
    for measure in [Measure::LiveSharpness, Measure::StepSharpness] {
        let whole = means(&mut monitor(measure.clone()), &measure, 0..4);
        // Masks of 48 entries are not the same twice.
        assert!((1..4).all(|i| !whole[..i].contains(&whole[i])), "{measure}: {whole:?}");

        let folder = Folder::new(&format!("noise-{measure}"));
        let mut first = monitor(measure.clone());
        means(&mut first, &measure, 0..2);
        first.save(&folder.path("monitor.bpk"), &model()).unwrap();
        let mut second = monitor(measure.clone());
        second.load(&folder.path("monitor.bpk"), &model()).unwrap();
        assert_eq!(means(&mut second, &measure, 2..4), whole[2..], "{measure}");
    }
}
