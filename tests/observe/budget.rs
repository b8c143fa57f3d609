//! A budget of counted work is kept at every step, by fewer batches first and by waiting then.

use burn_sharpness::observe::{Budget, Cadence, MIN_BATCHES, Measure, SharpnessMonitorConfig};
use burn_sharpness::prelude::*;
use burn_sharpness::spectrum::SpectralDensityConfig;

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

/// The number of its products is known in advance: that of steps, or of parameters, times that of probes.
#[test]
fn a_spectrum_is_paid_for_before_it_is_made() {
    let (fraction, num_probes, n_params) = (10.0, 4, 3 * 6 + 6 * 2);
    let spectrum = SpectralDensityConfig::new().with_num_probes(num_probes);
    let config = SharpnessMonitorConfig::new(BATCH)
        .with_measures(vec![])
        .with_spectrum(Some((Cadence::Every(1), spectrum)))
        .with_chunk_size(N)
        .with_budget(Budget::Work(fraction));
    let (mut monitor, net) = (config.init(loss).unwrap(), Training::new().net);
    let mut row = |step: usize| monitor.observe(step, &net, &data()).unwrap().cloned();
    let row = (0..500).find_map(&mut row).unwrap();
    let paid = |step: usize| fraction * (step * BATCH) as f64;
    assert!(passes(N, row.cost.n_hvps) <= paid(row.step), "step {}", row.step);
    // And no later than at the most that it may take.
    assert!(paid(row.step - 1) < passes(N, num_probes * n_params), "step {}", row.step);
}

/// Products of the mini-batches of a gap are over few samples, those of its full batch over all.
#[test]
fn a_gap_costs_the_samples_that_its_products_are_over() {
    let (fraction, b, num_batches) = (2.0, 2, 8);
    let config = SharpnessMonitorConfig::new(BATCH)
        .with_measures(vec![Measure::Gap(b)])
        .with_cadence(Cadence::Every(1))
        .with_num_batches(num_batches)
        .with_chunk_size(N)
        .with_budget(Budget::Work(fraction));
    let (mut monitor, net) = (config.init(loss).unwrap(), Training::new().net);
    for step in 0..500 {
        monitor.observe(step, &net, &data()).unwrap();
    }
    let [first, second, ..] = monitor.history().rows() else { panic!("fewer than two rows") };
    // The same measurement says how its products are shared out.
    let gap = SharpnessGapConfig::new(vec![b]).with_num_batches(num_batches);
    let gap = gap.with_num_eigenvalues(1).with_chunk_size(N).init(loss).measure(&net, &data());
    let found = gap.unwrap();
    let (full, mini) = (found.full_batch.n_hvps, found.gaps[0].n_hvps);
    assert_eq!(first.cost.n_hvps, full + mini);
    let cost = passes(N, full) + (num_batches * b) as f64 + 1.2 * (mini * b) as f64;
    // As much again has to be there for the second one, and no more.
    let paid = |step: usize| fraction * (step * BATCH) as f64;
    assert!(paid(second.step) > cost, "step {}", second.step);
    let waited = second.step > first.step + 1;
    assert!(!waited || paid(second.step - 1) < 2.0 * cost, "step {}, {cost}", second.step);
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
