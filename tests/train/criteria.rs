//! Criteria that end a training or choose its checkpoints, and failures that must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn_sharpness::Error;
use burn_sharpness::observe::{Cadence, Measure};
use burn_sharpness::train::{Monitored, SharpnessMetric};
use burn_train::checkpoint::MetricCheckpointingStrategy;
use burn_train::metric::store::{Aggregate, Direction, Split};
use burn_train::{MetricEarlyStoppingStrategy, StoppingCondition};

use crate::metrics::read;
use crate::setup::{
    Batch, Folder, Net, PER_EPOCH, bits, config, data, learner, loss, metrics, monitored, net,
    steps, training,
};

#[test]
fn training_stops_when_the_ratio_stays_beyond_a_number() {
    let dir = Folder::new("whole");
    let whole = metrics(training(dir.root())).num_epochs(6).launch(learner(monitored(&config())));
    let history = whole.model.history();
    let ratios: Vec<(usize, f64)> =
        history.rows().iter().map(|row| (row.step, row.ratio().unwrap())).collect();
    // Limits that some three ratios in a row are above.
    let mut sorted: Vec<f64> = ratios.iter().map(|(_, ratio)| *ratio).collect();
    sorted.sort_by(f64::total_cmp);
    for limit in [sorted[sorted.len() / 4], sorted[sorted.len() / 2]] {
        let stays = ratios.windows(3).find(|three| three.iter().all(|(_, ratio)| *ratio > limit));
        let last = stays.map(|three| three[2].0);

        let dir = Folder::new("stop");
        let training = metrics(training(dir.root())).num_epochs(6);
        let model = monitored(&config()).stop_beyond(limit, 3, training.interrupter());
        let result = training.launch(learner(model));
        assert!(result.error.is_none());
        assert_eq!(result.interrupted.is_some(), last.is_some());
        let history = result.model.history();
        if let Some(last) = last {
            let reason = result.interrupted.unwrap().reason.unwrap();
            assert!(reason.contains(&format!("at step {last}")), "{reason}");
            assert_eq!(history.rows().last().unwrap().step, last);
            // The step whose measurement was the last straw is the last one: its loss is in the file.
            let epoch = last / PER_EPOCH + 1;
            let losses = dir.path(&format!("train/epoch-{epoch}/Loss.log"));
            let losses = std::fs::read_to_string(losses).unwrap();
            let n_steps = losses.lines().filter(|line| !line.ends_with("final")).count();
            assert_eq!(n_steps, last % PER_EPOCH + 1);
        }
        assert!(last.is_some(), "a limit that is never passed tests nothing");
    }
    let never = 2.0 * sorted.last().unwrap();
    let dir = Folder::new("never");
    let training = metrics(training(dir.root())).num_epochs(2);
    let model = monitored(&config()).stop_beyond(never, 1, training.interrupter());
    assert!(training.launch(learner(model)).interrupted.is_none());
}

#[test]
fn the_metric_is_a_criterion_of_burn() {
    let ratio = SharpnessMetric::ratio();
    let (mean, train) = (Aggregate::Mean, Split::Train);
    let dir = Folder::new("criteria");
    let best = MetricCheckpointingStrategy::new(&ratio, mean, Direction::Highest, train.clone());
    let model = monitored(&config());
    let best = model.checkpoints(dir.path("checkpoint"), best);
    let condition = StoppingCondition::NoImprovementSince { n_epochs: 1 };
    let stop = MetricEarlyStoppingStrategy::new(&ratio, mean, Direction::Lowest, train, condition);
    metrics(training(dir.root()))
        .num_epochs(30)
        .with_default_checkpointers()
        .with_checkpointing_strategy(best)
        .early_stopping(stop)
        .launch(learner(model));
    let mut epochs = Vec::new();
    while let Some(value) = read(&dir, "Sharpness Ratio", epochs.len() + 1).1 {
        epochs.push(value);
    }
    // The training ends after the first epoch that is not lower than all before.
    let n_epochs = epochs.len();
    let (last, before) = epochs.split_last().unwrap();
    let lowest = before.iter().copied().fold(f64::INFINITY, f64::min);
    assert!((2..30).contains(&n_epochs), "{epochs:?}");
    assert!(*last >= lowest, "{epochs:?}");
    assert!(before.windows(2).all(|pair| pair[1] < pair[0]), "{epochs:?}");
    // One checkpoint is left, of the epoch with the highest ratio, with the monitor's file.
    let highest = (1..=n_epochs).max_by(|a, b| epochs[a - 1].total_cmp(&epochs[b - 1])).unwrap();
    let files = std::fs::read_dir(dir.path("checkpoint")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names[0] == format!("model-{highest}.bpk"), "{names:?}");
    assert!(names[1].starts_with(&format!("monitor-{highest}-")), "{names:?}");
}

#[test]
fn a_measurement_that_fails_does_not_stop_the_training() {
    let dir = Folder::new("bare");
    let bare = training::<Net>(dir.root()).num_epochs(2).launch(learner(net()));

    // One quantity of two fails at every step.
    let dir = Folder::new("fails");
    let measures = vec![Measure::StepSharpness, Measure::Group("nothing".into())];
    let config = config().with_measures(measures).with_cadence(Cadence::Every(1));
    let group = SharpnessMetric::of(Measure::Group("nothing".into()));
    let training = metrics(training(dir.root())).metric_train_numeric(group).num_epochs(2);
    let result = training.launch(learner(monitored(&config)));
    assert!(result.error.is_none() && result.interrupted.is_none());
    let (model, history) = (&result.model, result.model.history());
    assert_eq!(bits(model.inner()), bits(&bare.model));
    let error = model.error().unwrap().to_string();
    assert!(error.contains("`nothing`"), "{error}");
    assert_eq!(history.rows().len(), 2 * PER_EPOCH);
    for row in history.rows() {
        assert_eq!(row.error.as_deref(), Some(error.as_str()));
        assert!(row.mean(&Measure::StepSharpness).is_some() && row.values.len() == 1);
    }
    let (values, of_epoch) = read(&dir, "Step Sharpness", 1);
    assert_eq!((values.len(), of_epoch.is_some()), (PER_EPOCH, true));
    assert_eq!(read(&dir, "Sharpness of nothing", 1), (vec![], None));
}

#[test]
fn a_loss_that_fails_for_a_while_is_measured_again_later() {
    let dir = Folder::new("for-a-while");
    let is_broken = Arc::new(AtomicBool::new(false));
    let watched = is_broken.clone();
    let failing = move |net: &Net, batch: Batch| {
        let loss = loss(net, batch);
        // NaN, which no estimator accepts.
        if watched.load(Ordering::Relaxed) { loss.mul_scalar(f64::NAN) } else { loss }
    };
    let config = config().with_measures(vec![Measure::MiniBatchSharpness]);
    let switch = move |row: &burn_sharpness::observe::Row| {
        is_broken.store((2..6).contains(&row.step), Ordering::Relaxed);
        Ok(())
    };
    let monitor = config.init(failing).unwrap().with_sink(switch);
    let model = Monitored::new(net(), monitor, data());
    let result = metrics(training(dir.root())).num_epochs(2).launch(learner(model));
    let history = result.model.history();
    assert_eq!(steps(&history), [0, 2, 4, 6, 8]);
    let failed: Vec<bool> = history.rows().iter().map(|row| row.error.is_some()).collect();
    assert_eq!(failed, [false, false, true, true, false]);
    assert!(!matches!(result.model.error(), None | Some(Error::InvalidSetting { .. })));
    assert_eq!(read(&dir, "Mini-batch Sharpness", 2).0.len(), 1);
}
