//! What burn writes to its metric files is what the monitor has in its rows.

use burn_sharpness::observe::{Measure, Row};
use burn_train::logger::{FileMetricLogger, MetricLogger};
use burn_train::metric::NumericEntry;
use burn_train::metric::store::Split;

use crate::setup::{Folder, PER_EPOCH, config, learner, metrics, monitored, steps, training};

/// The values of the measured steps of an epoch, and the value of the epoch.
pub fn read(dir: &Folder, name: &str, epoch: usize) -> (Vec<f64>, Option<f64>) {
    let entries = FileMetricLogger::new(dir.root()).read_numeric(name, epoch, &Split::Train);
    let (mut values, mut last) = (Vec::new(), None);
    for entry in entries.unwrap() {
        match entry {
            NumericEntry::Value(value) => values.push(value),
            NumericEntry::Final(value) => last = Some(value),
            NumericEntry::Aggregated { .. } => panic!("{name}: {entry:?}"),
        }
    }
    (values, last)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn files_of_a_headless_training_have_the_rows() {
    let dir = Folder::new("metrics");
    let training = metrics(training(dir.root())).num_epochs(3);
    let result = training.launch(learner(monitored(&config())));
    let model = result.model;
    assert_eq!(model.error(), None);
    let history = model.history();
    assert_eq!(steps(&history), [0, 2, 4, 6, 8, 10, 12, 14]);

    type Of = fn(&Row) -> Option<f64>;
    let columns: [(&str, Of); 4] = [
        ("Sharpness Ratio", Row::ratio),
        ("Sharpness Cost", |row| row.cost.overhead.map(|overhead| 100.0 * overhead)),
        ("Mini-batch Sharpness", |row| row.mean(&Measure::MiniBatchSharpness)),
        ("Step Sharpness", |row| row.mean(&Measure::StepSharpness)),
    ];
    for epoch in 1..=3 {
        let rows: Vec<&Row> =
            history.rows().iter().filter(|row| row.step / PER_EPOCH == epoch - 1).collect();
        assert!(rows.iter().all(|row| row.epoch == Some(epoch - 1)));
        for (name, of) in columns {
            let (values, last) = read(&dir, name, epoch);
            // At step 0 there was no training yet, so no overhead.
            let expected: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
            assert_eq!(values, expected, "{name}, epoch {epoch}");
            assert!(expected.len() >= 2, "{name}, epoch {epoch}");
            let of_epoch =
                if name == "Sharpness Cost" { *expected.last().unwrap() } else { mean(&expected) };
            assert_eq!(last, Some(of_epoch), "{name}, epoch {epoch}");
        }
        // burn's own metrics read the output of the model.
        let losses = dir.path(&format!("train/epoch-{epoch}/Loss.log"));
        let losses = std::fs::read_to_string(losses).unwrap();
        assert_eq!(losses.lines().count(), PER_EPOCH + 1);
    }
}
