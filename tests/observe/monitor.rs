//! What a monitor measures is what the estimators measure, and training does not notice.

use std::sync::{Arc, Mutex};

use burn::module::Param;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use burn_sharpness::Error;
use burn_sharpness::estimator::{BatchSharpnessConfig, FullBatchSharpnessConfig};
use burn_sharpness::observe::{
    Budget, Cadence, Measure, PhaseName, Row, SharpnessMonitorConfig, TrainingStep, Value,
};
use burn_sharpness::prelude::*;
use burn_sharpness::spectrum::SpectralDensityConfig;
use burn_sharpness::stability::AdamStabilityConfig;

use crate::training::{BATCH, Batch, ETA, N, Net, Training, data, loss};

/// The device's stream of random numbers is one for all tests.
static SEED: Mutex<()> = Mutex::new(());

/// Everything that a monitor can measure.
pub fn everything() -> Vec<Measure> {
    vec![
        Measure::MiniBatchSharpness,
        Measure::FullBatchSharpness,
        Measure::BatchSharpness,
        Measure::LiveSharpness,
        Measure::StepSharpness,
        Measure::Group("hidden".into()),
        Measure::Gap(16),
    ]
}

pub fn config() -> SharpnessMonitorConfig {
    SharpnessMonitorConfig::new(BATCH)
        .with_measures(everything())
        .with_cadence(Cadence::Every(10))
        .with_num_batches(4)
        .with_num_gradients(8)
        .with_budget(Budget::Unlimited)
        .with_chunk_size(N)
}

#[test]
fn training_is_bit_for_bit_the_one_without_a_monitor() {
    let (mut with, mut without) = (Training::new(), Training::new());
    let spectrum = SpectralDensityConfig::new().with_num_probes(2).with_num_steps(8);
    let config = config().with_spectrum(Some((Cadence::Every(20), spectrum)));
    let mut monitor = config.init(loss).unwrap();
    for step in 0..40 {
        monitor.observe_with_batch(step, &with.net, &data(), &with.batch()).unwrap();
        with.update();
        without.update();
    }
    assert_eq!(with.bits(), without.bits());
    let history = monitor.history();
    assert_eq!(history.rows().iter().map(|row| row.step).collect::<Vec<_>>(), [0, 10, 20, 30]);
    for row in history.rows() {
        assert!(
            row.values
                .keys()
                .eq(everything().into_iter().collect::<std::collections::BTreeSet<_>>().iter())
        );
        assert_eq!(row.spectrum.is_some(), row.step.is_multiple_of(20));
        assert_eq!(row.epoch, Some(row.step * BATCH / N));
        assert_eq!(row.threshold, None);
        let mean = |measure| row.mean(&measure).unwrap();
        // Jensen; Rayleigh; a principal submatrix; a Ritz value may be low by its residual.
        let slack = 2e-3 * mean(Measure::MiniBatchSharpness);
        assert!(mean(Measure::StepSharpness) <= mean(Measure::LiveSharpness) + slack);
        assert!(mean(Measure::Group("hidden".into())) <= mean(Measure::FullBatchSharpness) + slack);
        assert!(mean(Measure::Gap(16)) >= 0.0);
    }
}

#[test]
fn parameters_that_burn_has_still_to_draw_are_left_to_the_training() {
    let fresh = || {
        let device = Device::flex().autodiff();
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&device);
        // Used in another order than declared.
        Net { hidden: linear(3, 6), output: linear(6, 2) }
    };
    let run = |mut monitor: Option<SharpnessMonitor<_>>| {
        let _guard = SEED.lock().unwrap();
        Device::flex().seed(7);
        let mut training = Training::from(fresh(), 0);
        let mut steps = Vec::new();
        for step in 0..12 {
            if let Some(monitor) = &mut monitor {
                steps
                    .extend(monitor.observe(step, &training.net, &data()).unwrap().map(|r| r.step));
            }
            training.update();
        }
        (training.bits(), steps)
    };
    let (with, steps) = run(Some(config().init(loss).unwrap()));
    let (without, _) = run(None);
    assert_eq!(with, without);
    assert_eq!(steps, [1, 10]);
}

#[test]
fn values_are_those_of_the_estimators() {
    let training = Training::new();
    let mut monitor = config().init(loss).unwrap();
    let row = monitor.observe(0, &training.net, &data()).unwrap().unwrap().clone();

    let mut mini_batch = MiniBatchSharpnessConfig::new(BATCH).with_num_batches(4).init(loss);
    let found = mini_batch.measure(&training.net, &data()).unwrap();
    let value = row.value(&Measure::MiniBatchSharpness).unwrap();
    assert_eq!((value.mean, &value.each), (found.estimate.mean, &found.values));
    assert_eq!(value.standard_error, Some(found.estimate.standard_error));
    assert_eq!((value.n_hvps, value.count), (found.n_hvps, 4));

    let mut batch = BatchSharpnessConfig::new(BATCH).with_num_batches(8).init(loss);
    let found = batch.measure(&training.net, &data()).unwrap();
    assert_eq!(row.mean(&Measure::BatchSharpness), Some(found.estimate.mean));

    let mut full = FullBatchSharpnessConfig::new().with_chunk_size(N).init(loss);
    let found = full.measure(&training.net, &data()).unwrap();
    assert_eq!(row.mean(&Measure::FullBatchSharpness), Some(found.value));
    assert_eq!(row.loss, Some(found.loss));
    // Without its batch a step has no live quantities.
    assert_eq!(row.value(&Measure::LiveSharpness), None);
}

#[test]
fn the_threshold_follows_the_learning_rate_and_the_edge() {
    let training = Training::new();
    let at = |step| TrainingStep::new(step).with_learning_rate(ETA).with_loss(0.5);
    let mut sgd = config().init(loss).unwrap();
    let row = sgd.observe(at(0), &training.net, &data()).unwrap().unwrap();
    assert_eq!((row.threshold, row.loss), (Some(2.0 / ETA), Some(0.5)));
    assert_eq!(row.watched, Some(Measure::BatchSharpness));
    assert_eq!(row.ratio().unwrap(), row.mean(&Measure::BatchSharpness).unwrap() * ETA / 2.0);
    assert_eq!(row.phase.unwrap().name, PhaseName::Undetermined);

    let edge = SgdStabilityConfig::new(1.0).with_momentum(0.9).init().unwrap();
    let mut momentum = config().init(loss).unwrap().with_edge(edge);
    let row = momentum.observe(at(0), &training.net, &data()).unwrap().unwrap();
    assert!((row.threshold.unwrap() - 3.8 / ETA).abs() < 1e-12 / ETA);
    assert_eq!(row.watched, Some(Measure::FullBatchSharpness));
    let row = momentum.observe(10, &training.net, &data()).unwrap().unwrap();
    assert!((row.threshold.unwrap() - 3.8).abs() < 1e-12);
}

#[test]
fn a_threshold_is_compared_with_its_own_quantity_or_with_none() {
    let training = Training::new();
    let watched = |edge: Stability, measures: &[Measure]| {
        let config = config().with_measures(measures.to_vec());
        let mut monitor = config.init(loss).unwrap().with_edge(edge);
        let row = match monitor.observe(0, &training.net, &data()) {
            Err(Error::InvalidSetting { setting: "edge", .. }) => return None,
            row => row.unwrap().unwrap(),
        };
        assert!(row.threshold.is_some() && row.ratio().is_some() && row.phase.is_some());
        row.watched.clone()
    };
    let [mini, batch, full] =
        [Measure::MiniBatchSharpness, Measure::BatchSharpness, Measure::FullBatchSharpness];
    let of_batches = SgdStabilityConfig::new(1.0).with_momentum(0.9).with_batching(Batching::Small);
    let of_batches = of_batches.init().unwrap();
    let of_all = SgdStabilityConfig::new(1.0).with_momentum(0.9).init().unwrap();
    let adam = AdamStabilityConfig::new(1.0).init().unwrap();
    let all = [mini.clone(), batch.clone(), full.clone()];
    assert_eq!(watched(of_batches.clone(), &all), Some(batch));
    assert_eq!(watched(of_batches.clone(), &all[..1]), Some(mini.clone()));
    assert_eq!(watched(of_batches, &all[2..]), None);
    assert_eq!(watched(of_all.clone(), &all), Some(full));
    assert_eq!(watched(of_all, &all[..2]), None);
    // λ_max(P⁻¹H) is none of them, however similar the numbers look.
    assert_eq!(watched(adam.clone(), &all), None);
    let mut monitor = config().with_measures(vec![mini]).init(loss).unwrap().with_edge(adam);
    monitor = monitor.with_watched(Measure::Custom("preconditioned".into()));
    monitor.note("preconditioned", Value::of(19.0)).unwrap();
    let row = monitor.observe(0, &training.net, &data()).unwrap().unwrap();
    assert!((row.ratio().unwrap() - 0.5).abs() < 1e-12); // of 38/η
}

#[test]
fn a_loss_that_is_no_number_does_not_cost_the_row() {
    let training = Training::new();
    let mut monitor = config().init(loss).unwrap();
    let at = TrainingStep::new(0).with_loss(f64::NAN).with_learning_rate(f64::NAN);
    let error = monitor.observe(at, &training.net, &data()).unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { setting: "learning_rate", .. }), "{error}");
    let row = &monitor.history().rows()[0];
    assert!(row.values.len() == 5 && row.learning_rate.is_none());
}

#[test]
fn a_loss_that_cannot_be_recorded_is_tried_once() {
    let training = Training::new();
    let n_calls = Arc::new(Mutex::new(0));
    let counted = n_calls.clone();
    let reads = move |net: &Net, batch: crate::training::Batch| {
        *counted.lock().unwrap() += 1;
        let value = loss(net, batch).into_scalar::<f32>();
        Tensor::from_floats([value], &Device::flex())
    };
    let full = Measure::FullBatchSharpness;
    let mut monitor = config().with_measures(vec![full]).init(reads).unwrap();
    let error = monitor.observe(0, &training.net, &data()).unwrap_err();
    assert!(matches!(error, Error::LossReadsData { .. }), "{error}");
    let calls = *n_calls.lock().unwrap();
    for step in 1..40 {
        assert!(monitor.observe(step, &training.net, &data()).unwrap().is_none());
    }
    assert_eq!(*n_calls.lock().unwrap(), calls);
    assert!(monitor.history().rows()[0].error.is_some());
}

/// The error of step 0, after which 40 steps make no row.
fn tried_once<F>(config: SharpnessMonitorConfig, loss: F) -> Error
where
    F: Fn(&Net, Batch) -> Tensor<1> + Clone,
{
    let (training, mut monitor) = (Training::new(), config.init(loss).unwrap());
    let error = monitor.observe(0, &training.net, &data()).unwrap_err();
    for step in 1..40 {
        let row = monitor.observe(step, &training.net, &data());
        assert!(row.is_ok_and(|row| row.is_none()), "step {step} after: {error}");
    }
    error
}

#[test]
fn what_the_program_rules_out_is_tried_once() {
    let gap = config().with_measures(vec![Measure::Gap(16)]);
    let error = tried_once(gap.with_mode(Mode::TrainWithNoise { seed: 1 }), loss);
    assert!(matches!(error, Error::BatchesAreNoParts { .. }), "{error}");
    let full = config().with_measures(vec![Measure::FullBatchSharpness]);
    let summed = |net: &Net, (x, y): Batch| loss(net, (x.clone(), y)) * x.dims()[0] as f64;
    let error = tried_once(full.with_chunk_size(N / 2), summed);
    assert!(matches!(error, Error::NotAMeanOverSamples { .. }), "{error}");
}

#[test]
fn a_note_has_a_name_of_its_own() {
    let mut monitor = config().init(loss).unwrap();
    for measure in everything() {
        let error = monitor.note(&measure.to_string(), Value::of(1.0)).unwrap_err();
        assert!(matches!(error, Error::InvalidSetting { setting: "name", .. }), "{error}");
        monitor.note(&format!("my {measure}"), Value::of(1.0)).unwrap();
    }
    // Files have one column for each name.
    let row = monitor.observe(0, &Training::new().net, &data()).unwrap().unwrap();
    let keys: std::collections::BTreeSet<String> =
        row.values.keys().map(ToString::to_string).collect();
    assert_eq!(keys.len(), row.values.len());
}

#[test]
fn sinks_see_every_row_and_their_errors_lose_none() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let copy = seen.clone();
    let failing = |row: &Row| match row.step {
        10 => Err(Error::File { path: "disk".into(), message: "full".into() }),
        _ => Ok(()),
    };
    let collecting = move |row: &Row| {
        copy.lock().unwrap().push(row.step);
        Ok(())
    };
    let mut monitor = config().init(loss).unwrap().with_sink(failing).with_sink(collecting);
    let training = Training::new();
    monitor.note("hours", Value::of(3.0)).unwrap();
    let nan = monitor.note("hours", Value::of(f64::NAN));
    assert!(matches!(nan, Err(Error::NonFinite { .. })));
    for step in 0..30 {
        let result = monitor.observe(step, &training.net, &data());
        assert_eq!(result.is_err(), step == 10);
    }
    assert_eq!(*seen.lock().unwrap(), [0, 10, 20]);
    let rows = monitor.history().rows();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].mean(&Measure::Custom("hours".into())), Some(3.0));
    assert_eq!(rows[1].value(&Measure::Custom("hours".into())), None);
}

fn diverged(net: &Net) -> Net {
    let weight = Tensor::full_like(&net.hidden.weight.val(), f32::NAN);
    let hidden = Linear { weight: Param::from_tensor(weight), ..net.hidden.clone() };
    Net { hidden, ..net.clone() }
}

#[test]
fn a_diverged_model_is_a_row_with_an_error_and_the_monitor_goes_on() {
    let training = Training::new();
    let mut monitor = config().init(loss).unwrap();
    monitor.observe(0, &training.net, &data()).unwrap();
    let error = monitor.observe(10, &diverged(&training.net), &data()).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    monitor.observe(20, &training.net, &data()).unwrap();
    let rows = monitor.history().rows();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1].error.as_deref(), Some(error.to_string().as_str()));
    assert!(rows[1].values.is_empty() && rows[2].error.is_none() && rows[2].values.len() == 5);
}

#[test]
fn an_adaptive_cadence_waits_after_a_failure() {
    let cadence = Cadence::Adaptive { shortest: 4, longest: 16, tolerance: 0.1 };
    let config = config().with_measures(vec![Measure::FullBatchSharpness]).with_cadence(cadence);
    let (mut monitor, net) = (config.init(loss).unwrap(), diverged(&Training::new().net));
    for step in 0..20 {
        assert_eq!(monitor.observe(step, &net, &data()).is_err(), step % 4 == 0, "step {step}");
    }
    let steps: Vec<usize> = monitor.history().rows().iter().map(|row| row.step).collect();
    assert_eq!(steps, [0, 4, 8, 12, 16]);
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let bad = [
        config().with_budget(Budget::Time(0.0)),
        config().with_budget(Budget::Work(f64::NAN)),
        config().with_cadence(Cadence::Every(0)),
        config().with_cadence(Cadence::Adaptive { shortest: 4, longest: 2, tolerance: 0.1 }),
        config().with_measures(vec![Measure::Custom("mine".into())]),
        config().with_cadences(vec![(Measure::Gap(3), Cadence::Every(1))]),
    ];
    for config in bad {
        assert!(matches!(config.init(loss), Err(Error::InvalidSetting { .. })), "{config:?}");
    }
    let mut monitor =
        config().with_measures(vec![Measure::Group("nothing".into())]).init(loss).unwrap();
    let error = monitor.observe(0, &Training::new().net, &data()).unwrap_err();
    assert!(error.to_string().contains("`nothing`"), "{error}");
}
