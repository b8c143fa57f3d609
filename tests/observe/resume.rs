//! A run that is stopped and continued is the run that was not.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;
use burn_sharpness::Error;
use burn_sharpness::observe::{
    Budget, Cadence, History, HistoryFile, Measure, Row, SharpnessMonitor, SharpnessMonitorConfig,
    TrainingStep,
};
use burn_sharpness::spectrum::SpectralDensityConfig;

use crate::folder::Folder;
use crate::monitor::config;
use crate::timeless::timeless;
use crate::training::{Batch, ETA, Net, Training, data, loss};

fn all(budget: Budget) -> SharpnessMonitorConfig {
    let adaptive = Cadence::Adaptive { shortest: 2, longest: 16, tolerance: 0.02 };
    let spectrum = SpectralDensityConfig::new().with_num_probes(2).with_num_steps(6);
    config()
        .with_cadence(Cadence::Every(3))
        .with_cadences(vec![(Measure::BatchSharpness, adaptive)])
        .with_spectrum(Some((Cadence::Logarithmic { per_decade: 4 }, spectrum)))
        .with_budget(budget)
}

type Monitor = SharpnessMonitor<fn(&Net, Batch) -> Tensor<1>>;

fn run(training: &mut Training, monitor: &mut Monitor, until: usize) {
    while training.step < until {
        let at = TrainingStep::new(training.step).with_learning_rate(ETA);
        monitor.observe_with_batch(at, &training.net, &data(), &training.batch()).unwrap();
        training.update();
    }
}

const LOSS: fn(&Net, Batch) -> Tensor<1> = loss;

#[test]
fn a_continued_run_gives_the_same_rows_bit_for_bit() {
    for (name, budget) in [("unlimited", Budget::Unlimited), ("work", Budget::Work(10.0))] {
        let folder = Folder::new(&format!("resume-{name}"));
        let (mut whole, mut monitor) = (Training::new(), all(budget).init(LOSS).unwrap());
        run(&mut whole, &mut monitor, 100);
        let expected = timeless(monitor.history());
        assert!(expected.len() > 20, "{}", expected.len());

        for stop in [1, 40, 61] {
            let file = folder.path(&format!("rows-{stop}.jsonl"));
            let mut first = all(budget).init(LOSS).unwrap();
            first = first.with_sink(HistoryFile::create(&file).unwrap());
            let mut training = Training::new();
            run(&mut training, &mut first, stop);
            training.net.clone().save_file(folder.path("net")).unwrap();
            first.save(&folder.path("monitor.bpk"), &training.net).unwrap();
            // It goes on for a while after its checkpoint, and is killed.
            run(&mut training, &mut first, stop + 10);
            drop((first, training));

            let net = crate::training::net().load_file(folder.path("net"));
            let mut second = all(budget).init(LOSS).unwrap();
            second.load(&folder.path("monitor.bpk"), &net).unwrap();
            assert_eq!(second.next_step(), stop);
            let resumed = HistoryFile::resume(&file, second.next_step()).unwrap();
            second = second.with_sink(resumed);
            let mut training = Training::from(net, stop);
            run(&mut training, &mut second, 100);
            assert_eq!(training.bits(), whole.bits());
            assert_eq!(timeless(second.history()), expected, "{name}, stopped at {stop}");
            assert_eq!(timeless(&History::read(&file).unwrap()), expected, "{name}, {stop}");
        }
    }
}

#[test]
fn without_its_memory_a_continued_run_is_another_one() {
    // The law above would hold for any file if vectors and streams of random numbers did not matter.
    let (mut whole, mut monitor) = (Training::new(), all(Budget::Unlimited).init(LOSS).unwrap());
    run(&mut whole, &mut monitor, 60);
    let mut training = Training::new();
    (0..30).for_each(|_| training.update());
    let mut fresh = all(Budget::Unlimited).init(LOSS).unwrap();
    run(&mut training, &mut fresh, 60);
    let ours = timeless(&fresh.history().clone());
    let theirs: Vec<Row> =
        timeless(monitor.history()).into_iter().filter(|r| r.step >= 30).collect();
    assert_ne!(ours, theirs);
}

/// The first of the steps at which there is a row.
fn first_row(monitor: &mut Monitor, training: &Training, mut steps: Range<usize>) -> Option<usize> {
    steps.find(|step| monitor.observe(*step, &training.net, &data()).unwrap().is_some())
}

fn of_mini_batches(budget: Budget) -> Monitor {
    let config = config().with_measures(vec![Measure::MiniBatchSharpness]);
    config.with_budget(budget).init(LOSS).unwrap()
}

/// Seconds and passes over samples do not add up: a budget of work measures where a run does that has spent nothing.
#[test]
fn a_budget_of_work_begins_anew_after_the_clock() {
    let (folder, training) = (Folder::new("clocked"), Training::new());
    let mut clocked = of_mini_batches(Budget::Unlimited);
    for step in 0..20 {
        clocked.observe(step, &training.net, &data()).unwrap();
    }
    assert_eq!(clocked.history().rows().len(), 2);
    clocked.save(&folder.path("monitor.bpk"), &training.net).unwrap();
    let mut counted = of_mini_batches(Budget::Work(1.0));
    counted.load(&folder.path("monitor.bpk"), &training.net).unwrap();
    let fresh = first_row(&mut of_mini_batches(Budget::Work(1.0)), &training, 0..200);
    assert!(fresh > Some(20), "{fresh:?}");
    assert_eq!(first_row(&mut counted, &training, 20..200), fresh);
}

/// 40 ms of training, or a little more, pay here for seconds of measurements; the passes of one, taken for seconds, are
/// hundreds.
#[test]
fn a_budget_of_time_begins_anew_after_counted_work() {
    let (folder, training) = (Folder::new("counted"), Training::new());
    let mut counted = of_mini_batches(Budget::Work(1e3));
    for step in 0..20 {
        counted.observe(step, &training.net, &data()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(!counted.history().rows().is_empty());
    counted.save(&folder.path("monitor.bpk"), &training.net).unwrap();
    let mut clocked = of_mini_batches(Budget::Time(100.0));
    clocked.load(&folder.path("monitor.bpk"), &training.net).unwrap();
    assert!(first_row(&mut clocked, &training, 20..40).is_some());
}

fn other_run() -> Monitor {
    all(Budget::Unlimited).init(LOSS).unwrap()
}

#[test]
fn a_file_of_another_monitor_or_model_is_refused() {
    let folder = Folder::new("refused");
    let path = folder.path("monitor.bpk");
    let mut training = Training::new();
    let mut monitor = all(Budget::Unlimited).init(LOSS).unwrap();
    run(&mut training, &mut monitor, 5);
    monitor.save(&path, &training.net).unwrap();
    let mut other = config().init(LOSS).unwrap();
    assert!(matches!(other.load(&path, &training.net), Err(Error::File { .. })));
    let mut fresh = all(Budget::Unlimited).init(LOSS).unwrap();
    // The weights of a later step, and another stream of random numbers.
    let before = training.net.clone();
    run(&mut training, &mut other_run(), 7);
    let error = fresh.load(&path, &training.net).unwrap_err();
    assert!(error.to_string().contains("other weights"), "{error}");
    let mut reseeded = all(Budget::Unlimited).with_seed(99).init(LOSS).unwrap();
    let error = reseeded.load(&path, &before).unwrap_err();
    assert!(error.to_string().contains("seed"), "{error}");
    let part = &training.net.hidden;
    let error = fresh.load(&path, part).unwrap_err();
    assert!(error.to_string().contains("checkpoint"), "{error}");
    assert!(matches!(fresh.load(&folder.path("none"), part), Err(Error::File { .. })));
    std::fs::write(&path, b"nothing").unwrap();
    assert!(matches!(fresh.load(&path, part), Err(Error::File { .. })));
    assert!(fresh.history().rows().is_empty());
}
