//! On several devices one worker measures, once for each update.

use burn::module::Module;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use burn_sharpness::observe::{Cadence, Measure};
use burn_train::{ExecutionStrategy, MultiDeviceOptim};

use crate::metrics::read;
use crate::setup::{
    BATCH, ETA, Folder, N, config, data, learner, loss, metrics, monitored, net, steps, training,
};

/// Updates of an epoch by two workers with half of the samples each: 8 + 8 + 4.
const PER_EPOCH: usize = (N / 2).div_ceil(BATCH);

#[test]
fn one_worker_of_two_measures_each_update_once() {
    for optim in [MultiDeviceOptim::OptimMainDevice, MultiDeviceOptim::OptimSharded] {
        let dir = Folder::new("multi");
        let devices = vec![Device::flex().autodiff(), Device::flex().autodiff()];
        let strategy = ExecutionStrategy::multi(devices, optim);
        let config = config()
            .with_measures(vec![Measure::BatchSharpness, Measure::FullBatchSharpness])
            .with_chunk_size(N)
            .with_cadence(Cadence::Every(1));
        let training = metrics(training(dir.root()))
            .metric_train_numeric(burn_sharpness::train::SharpnessMetric::of(
                Measure::BatchSharpness,
            ))
            .with_training_strategy(strategy.into())
            .num_epochs(2);
        let result = training.launch(learner(monitored(&config)));
        assert!(result.error.is_none(), "{:?}", result.error);
        let history = result.model.history();
        assert_eq!(result.model.error(), None);
        assert_eq!(steps(&history), (0..2 * PER_EPOCH).collect::<Vec<_>>());

        // The same by hand: the sum of the gradients of two batches.
        let (mut net, mut optimizer) = (net(), SgdConfig::new().init());
        let autodiff = Device::flex().autodiff();
        let mut monitor = config.init(loss).unwrap();
        for row in history.rows() {
            let first = row.step % PER_EPOCH * BATCH;
            let size = BATCH.min(N / 2 - first);
            let part = |half: usize| {
                let part = |x: Tensor<2>| x.narrow(0, half * N / 2 + first, size);
                let (x, y) = data();
                loss(&net, (part(x).to_device(&autodiff), part(y).to_device(&autodiff)))
            };
            let expected = monitor.observe(row.step, &net, &data()).unwrap().unwrap();
            for (measure, value) in &row.values {
                // Sums in another order: rounding of f32, times what it grows to in 6 updates.
                let error = (value.mean / expected.mean(measure).unwrap() - 1.0).abs();
                assert!(error < 1e-4, "{measure} at {}: {error:.1e}", row.step);
            }
            assert_eq!(row.threshold, Some(2.0 / ETA / 2.0));
            assert_eq!(row.epoch, Some(row.step / PER_EPOCH));
            let gradients = (part(0) + part(1)).backward();
            let gradients = GradientsParams::from_grads(gradients, &net);
            net = optimizer.step(ETA, net, gradients);
        }
        for epoch in [1, 2] {
            let (values, _) = read(&dir, "Batch Sharpness", epoch);
            let rows = &history.rows()[(epoch - 1) * PER_EPOCH..epoch * PER_EPOCH];
            let expected: Vec<_> =
                rows.iter().filter_map(|row| row.mean(&Measure::BatchSharpness)).collect();
            assert_eq!(values, expected);
        }
        assert_eq!(net.num_params(), result.model.num_params());
    }
}
