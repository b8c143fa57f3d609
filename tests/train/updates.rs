//! A row has the learning rate and the threshold of the update that follows its measurement.

use burn::module::{Module, ParamGroup};
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::optim::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::{GradientsAccumulator, GradientsParams, SgdConfig};
use burn_sharpness::observe::{Cadence, History, Measure, TrainingStep};
use burn_train::Learner;

use crate::metrics::read;
use crate::setup::{
    BATCH, ETA, Folder, N, Net, PER_EPOCH, batch, bits, config, data, learner, loss, metrics,
    monitored, net, steps, timeless, training,
};

fn every_step() -> burn_sharpness::observe::SharpnessMonitorConfig {
    config().with_cadence(Cadence::Every(1))
}

/// What a loop of one's own does: `accumulation` batches for each update, the rest at the end of an epoch.
fn by_hand(n_epochs: usize, accumulation: usize, rate: impl Fn(usize) -> f64) -> (Net, History) {
    let (mut net, mut optimizer) = (net(), SgdConfig::new().init());
    let mut monitor = every_step().init(loss).unwrap();
    let mut n_updates = 0;
    for epoch in 0..n_epochs {
        for first in (0..PER_EPOCH).step_by(accumulation) {
            let at = TrainingStep::new(n_updates).with_epoch(epoch);
            let at = at.with_learning_rate(rate(n_updates));
            monitor.observe_with_batch(at, &net, &data(), &batch(first)).unwrap();
            let mut accumulator = GradientsAccumulator::new();
            for i in first..(first + accumulation).min(PER_EPOCH) {
                let gradients = loss(&net, batch(i)).backward();
                accumulator.accumulate(&net, GradientsParams::from_grads(gradients, &net));
            }
            net = optimizer.step(rate(n_updates), net, accumulator.grads());
            n_updates += 1;
        }
    }
    (net, monitor.history().clone())
}

#[test]
fn rows_are_those_of_a_loop_by_hand_with_the_rate_of_the_schedule() {
    let dir = Folder::new("schedule");
    let n_updates = 3 * PER_EPOCH;
    let scheduler = LinearLrSchedulerConfig::new(0.08, 0.01, n_updates).init().unwrap();
    let training = metrics(training(dir.root())).num_epochs(3);
    let optimizer = SgdConfig::new().init();
    let result = training.launch(Learner::new(monitored(&every_step()), optimizer, scheduler));

    // The schedule by itself: what it gives for update number i.
    let mut schedule = LinearLrSchedulerConfig::new(0.08, 0.01, n_updates).init().unwrap();
    let rates: Vec<f64> = (0..n_updates).map(|_| schedule.step().base()).collect();
    assert!(rates.windows(2).all(|pair| pair[1] < pair[0]));
    let (net, expected) = by_hand(3, 1, |i| rates[i]);
    let history = result.model.history();
    assert_eq!(timeless(&history), timeless(&expected));
    for (row, rate) in history.rows().iter().zip(&rates) {
        assert_eq!((row.learning_rate, row.threshold), (Some(*rate), Some(2.0 / rate)));
    }
    assert_eq!(bits(result.model.inner()), bits(&net));
}

#[test]
fn accumulated_gradients_are_one_update_of_their_sum() {
    let dir = Folder::new("accumulation");
    let training = metrics(training(dir.root())).num_epochs(2).grads_accumulation(3);
    let result = training.launch(learner(monitored(&every_step())));
    let (net, expected) = by_hand(2, 3, |_| ETA);
    assert_eq!(bits(result.model.inner()), bits(&net));

    let history = result.model.history();
    assert_eq!(steps(&history), [0, 1, 2, 3]);
    let summed = [3.0, 2.0, 3.0, 2.0];
    for ((row, by_hand), n_summed) in history.rows().iter().zip(expected.rows()).zip(summed) {
        // gradient of the sum = n · gradient of the mean: η acts as n·η.
        assert_eq!(row.threshold, Some(2.0 / ETA / n_summed));
        assert_eq!(row.learning_rate, Some(ETA));
        assert_eq!(row.values.keys().count(), 3);
        for (measure, value) in &row.values {
            assert_eq!(Some(value.mean), by_hand.mean(measure), "{measure} at {}", row.step);
        }
    }
    // Each row is one line of the metric.
    let rows = history.rows();
    for epoch in [1, 2] {
        let (ratios, _) = read(&dir, "Sharpness Ratio", epoch);
        let rows = &rows[2 * (epoch - 1)..2 * epoch];
        assert_eq!(ratios, rows.iter().filter_map(|row| row.ratio()).collect::<Vec<_>>());
    }
}

#[test]
fn several_learning_rates_have_no_single_threshold() {
    let of_hidden = || ModuleLrScheduler::new(ConstantLr::new(ETA));
    let run = |name, scheduler: ModuleLrScheduler| {
        let dir = Folder::new(name);
        let optimizer = SgdConfig::new().init();
        let learner = Learner::new(monitored(&every_step()), optimizer, scheduler);
        let result = metrics(training(dir.root())).launch(learner);
        assert_eq!(result.model.error(), None);
        assert!(read(&dir, "Mini-batch Sharpness", 1).1.is_some());
        (result.model.history(), read(&dir, "Sharpness Ratio", 1))
    };
    let two =
        of_hidden().with_group(ParamGroup::from_path("output.weight"), ConstantLr::new(ETA / 2.0));
    let (history, ratios) = run("two-rates", two);
    assert_eq!(history.rows().len(), PER_EPOCH);
    for row in history.rows() {
        assert_eq!((row.learning_rate, row.threshold, row.phase), (None, None, None));
        assert!(row.mean(&Measure::BatchSharpness).is_some());
    }
    assert_eq!(ratios, (vec![], None));
    // Groups that agree are one rate, whatever the base is.
    let all = ParamGroup::all();
    let same = ModuleLrScheduler::new(ConstantLr::new(1.0)).with_group(all, ConstantLr::new(ETA));
    let (history, _) = run("same-rates", same);
    assert!(history.rows().iter().all(|row| row.threshold == Some(2.0 / ETA)));
}

#[test]
fn validation_measures_nothing_and_counts_epochs() {
    let model = monitored(&every_step().with_cadence(Cadence::Epochs(1)));
    let dir = Folder::new("epochs");
    let training = training(dir.root()).num_epochs(4).grads_accumulation(2);
    let model = training.launch(learner(model)).model;
    // Updates of an epoch: 2 + 2 + 1 batches. The number by samples would be step · 8 / 40.
    let rows: Vec<_> =
        model.history().rows().iter().map(|row| (row.step, row.epoch.unwrap())).collect();
    assert_eq!(rows, [(0, 0), (3, 1), (6, 2), (9, 3)]);
    assert_eq!(N / BATCH, PER_EPOCH);
    let valid = model.valid();
    burn_train::InferenceStep::step(&valid, data());
    assert_eq!(valid.history().rows().len(), 4);
}
