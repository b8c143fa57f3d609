//! A budget of counted work is kept at every step, by fewer batches first and by waiting then.

use burn_sharpness::observe::{Budget, Cadence, MIN_BATCHES, Measure, SharpnessMonitorConfig};

use crate::training::{BATCH, N, Training, data, loss};

/// Passes over samples: a gradient and 1.2 for each product.
fn passes(n_samples: usize, n_hvps: usize) -> f64 {
    n_samples as f64 + 1.2 * n_hvps as f64 * (n_samples as f64)
}

#[test]
fn counted_work_stays_below_the_fraction_up_to_one_measurement() {
    let measures = vec![Measure::MiniBatchSharpness, Measure::FullBatchSharpness];
    let fraction = 0.5;
    let config = SharpnessMonitorConfig::new(BATCH)
        .with_measures(measures)
        .with_cadence(Cadence::Every(50))
        .with_chunk_size(N)
        .with_budget(Budget::Work(fraction));
    let mut monitor = config.init(loss).unwrap();
    let mut training = Training::new();
    for step in 0..1500 {
        monitor.observe(step, &training.net, &data()).unwrap();
        training.update();
    }
    let rows = monitor.history().rows();
    let of_row = |row: &burn_sharpness::observe::Row| {
        let mini = row.value(&Measure::MiniBatchSharpness);
        let full = row.value(&Measure::FullBatchSharpness);
        let mini = mini
            .map_or(0.0, |v| v.count as f64 * BATCH as f64 + 1.2 * v.n_hvps as f64 * BATCH as f64);
        (mini, full.map_or(0.0, |v| passes(N, v.n_hvps)))
    };
    let (mut spent, mut largest) = (0.0, 0f64);
    for row in rows {
        let (mini, full) = of_row(row);
        spent += mini + full;
        largest = largest.max(mini + full);
        let trained = (row.step * BATCH) as f64;
        // What was expected of a measurement may be less than it took, by less than all of it.
        assert!(spent <= fraction * trained + largest, "step {}", row.step);
    }
    // The budget is used, too: each quantity has half of it.
    assert!(spent > 0.5 * fraction * (1500 * BATCH) as f64, "{spent}");
    let counts: Vec<usize> = rows
        .iter()
        .filter_map(|r| r.value(&Measure::MiniBatchSharpness))
        .map(|v| v.count)
        .collect();
    assert!(counts.iter().all(|count| *count >= MIN_BATCHES), "{counts:?}");
    assert!(counts.iter().any(|count| *count < 16), "{counts:?}");
}

#[test]
fn nothing_is_measured_before_it_is_paid_for() {
    let config = SharpnessMonitorConfig::new(BATCH)
        .with_measures(vec![Measure::FullBatchSharpness])
        .with_budget(Budget::Work(1e-3));
    let mut monitor = config.init(loss).unwrap();
    let training = Training::new();
    for step in 0..100 {
        assert!(monitor.observe(step, &training.net, &data()).unwrap().is_none());
    }
}

#[test]
fn a_pause_is_no_training() {
    let config = SharpnessMonitorConfig::new(BATCH)
        .with_measures(vec![Measure::BatchSharpness])
        .with_budget(Budget::Unlimited)
        .with_cadence(Cadence::Every(1));
    let waits = |pauses: bool| {
        let mut monitor = config.init(loss).unwrap();
        let training = Training::new();
        for step in 0..3 {
            monitor.observe(step, &training.net, &data()).unwrap();
            if pauses {
                monitor.pause();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        monitor.overhead()
    };
    // Training is 100 ms at least, or the microseconds up to a pause.
    let (with, without) = (waits(true).unwrap(), waits(false).unwrap());
    assert!(with > without, "{with} {without}");
}
