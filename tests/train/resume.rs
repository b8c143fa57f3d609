//! A training that burn resumes from a checkpoint goes on as if it had not stopped.

use burn::module::Module;
use burn_sharpness::observe::{Budget, Cadence, Measure, SharpnessMonitorConfig};

use crate::setup::{
    Folder, bits, config, learner, metrics, monitored, net, timeless, training, with_checkpoints,
};

fn all(budget: Budget) -> SharpnessMonitorConfig {
    let adaptive = Cadence::Adaptive { shortest: 1, longest: 4, tolerance: 0.02 };
    config().with_cadences(vec![(Measure::BatchSharpness, adaptive)]).with_budget(budget)
}

#[test]
fn two_epochs_and_two_more_are_four() {
    for (name, budget) in [("unlimited", Budget::Unlimited), ("work", Budget::Work(20.0))] {
        let dir = Folder::new(&format!("resume-{name}"));
        let model = monitored(&all(budget));
        let whole = metrics(training(dir.root())).num_epochs(4).launch(learner(model)).model;
        let expected = timeless(&whole.history());
        assert!(expected.len() > 8, "{}", expected.len());

        let dir = Folder::new(&format!("resumed-{name}"));
        let model = monitored(&all(budget));
        let first = with_checkpoints(metrics(training(dir.root())), &model, &dir);
        // It goes on for an epoch after the checkpoint that will be used.
        let first = first.num_epochs(3).launch(learner(model)).model;
        assert_eq!(first.error(), None);
        drop(first);

        let model = monitored(&all(budget));
        let second = with_checkpoints(metrics(training(dir.root())), &model, &dir);
        let second = second.num_epochs(4).checkpoint(2).launch(learner(model)).model;
        assert_eq!(second.error(), None);
        assert_eq!(bits(second.inner()), bits(whole.inner()));
        assert_eq!(timeless(&second.history()), expected, "{name}");
    }
}

#[test]
fn without_the_file_of_its_record_a_training_does_not_go_on() {
    let dir = Folder::new("lost");
    let model = monitored(&config());
    let training = with_checkpoints(metrics(training(dir.root())), &model, &dir);
    training.num_epochs(2).launch(learner(model));
    let strategy = || burn_train::checkpoint::KeepLastNCheckpoints::new(2);

    // A record of other weights.
    let model = monitored(&config());
    let _strategy = model.checkpoints(dir.path("checkpoint"), strategy());
    let error = model.try_load_record(net().into_record()).unwrap_err().to_string();
    assert!(error.contains("restore the file"), "{error}");

    // Without a folder, and with one that has no file of a monitor, records are loaded as ever.
    let model = monitored(&config()).try_load_record(net().into_record()).unwrap();
    let _strategy = model.checkpoints(dir.path("elsewhere"), strategy());
    let model = model.try_load_record(net().into_record()).unwrap();
    assert!(model.history().rows().is_empty());

    // Settings of another monitor.
    let other = monitored(&config().with_measures(vec![Measure::StepSharpness]));
    let _strategy = other.checkpoints(dir.path("checkpoint"), strategy());
    let record = burn::store::ModuleRecord::load(dir.path("checkpoint/model-2.bpk")).unwrap();
    let error = other.try_load_record(record.clone()).unwrap_err().to_string();
    assert!(error.contains("settings of that run"), "{error}");
    let same = monitored(&config());
    let _strategy = same.checkpoints(dir.path("checkpoint"), strategy());
    let same = same.try_load_record(record).unwrap();
    assert_eq!(same.history().rows().last().unwrap().step, 8);
}

#[test]
fn files_are_deleted_with_their_checkpoints() {
    let dir = Folder::new("deleted");
    let model = monitored(&config());
    let training = with_checkpoints(metrics(training(dir.root())), &model, &dir);
    training.num_epochs(5).launch(learner(model));
    let names = std::fs::read_dir(dir.path("checkpoint")).unwrap();
    let names: Vec<String> =
        names.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let count = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
    assert_eq!((count("model-"), count("monitor-")), (2, 2), "{names:?}");
    assert_eq!((count("monitor-4-20-"), count("monitor-5-25-")), (1, 1), "{names:?}");
}
