//! Estimators: seeds, draws, targets, warm starts, live batches.

mod critical;
mod edge;
mod gap;
mod noise;
mod regression;
mod row_space;
mod steps;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::estimator::{Draws, Estimate, Sampling, draw_batches};
use burn_sharpness::operator::{ChunkMemory, FullBatchHessian};
use burn_sharpness::prelude::*;

use crate::common::{Dense, float, relative_error, wave};

type Pair = (Tensor<2>, Tensor<2>);

const N: usize = 40;

#[derive(burn::module::Module, Debug)]
struct Net {
    hidden: Dense,
    head: Dense,
}

fn model() -> Net {
    Net { hidden: Dense::wavy(6, 8, 0.1), head: Dense::wavy(8, 3, 0.7) }
}

fn data() -> Pair {
    let device = Device::flex();
    let x = float(wave(6 * N, 0.3), [N, 6], DType::F64, &device);
    (x, float(wave(3 * N, 0.4), [N, 3], DType::F64, &device))
}

fn loss(model: &Net, (x, y): Pair) -> Tensor<1> {
    let hidden = model.hidden.forward(x).tanh();
    (model.head.forward(hidden) - y).powi_scalar(2).sum_dim(1).mean()
}

fn rows((x, y): &Pair, indices: &[usize]) -> Pair {
    let indices: Vec<i64> = indices.iter().map(|i| *i as i64).collect();
    let indices = Tensor::from_ints(indices.as_slice(), &x.device());
    (x.clone().select(0, indices.clone()), y.clone().select(0, indices))
}

#[test]
fn same_seed_same_numbers_other_seed_other_batches() {
    let measure = |seed| {
        let mut monitor = MiniBatchSharpnessConfig::new(5).with_seed(seed).init(loss);
        let first = monitor.measure(&model(), &data()).unwrap();
        let second = monitor.measure(&model(), &data()).unwrap();
        (first.values, second.values)
    };
    assert_eq!(measure(3), measure(3));
    assert_ne!(measure(3).0, measure(4).0);
    assert_ne!(measure(3).0, measure(3).1);
}

#[test]
fn fixed_draws_measure_the_same_batches_again() {
    let config = MiniBatchSharpnessConfig::new(5).with_draws(Draws::Fixed).with_rel_tol(1e-9);
    let mut monitor = config.init(loss);
    let first = monitor.measure(&model(), &data()).unwrap();
    let second = monitor.measure(&model(), &data()).unwrap();
    assert_eq!((first.draw, second.draw), (0, 0));
    // λ is accurate to (residual)²/gap; the start vectors differ.
    assert!(relative_error(&first.values, &second.values) < 1e-12);
}

#[test]
fn the_batches_of_a_measurement_can_be_drawn_again() {
    for sampling in [Sampling::WithoutReplacement, Sampling::WithReplacement, Sampling::Epoch] {
        let config = MiniBatchSharpnessConfig::new(5).with_sampling(sampling).with_seed(9);
        let mut monitor = config.with_num_batches(3).with_rel_tol(1e-9).init(loss);
        monitor.measure(&model(), &data()).unwrap();
        let measured = monitor.measure(&model(), &data()).unwrap();
        assert_eq!(measured.draw, 1);
        let batches = draw_batches(sampling, N, 5, 3, 9, measured.draw).unwrap();
        let again: Vec<_> = batches
            .iter()
            .map(|b| model().sharpness(rows(&data(), b), loss).unwrap().value)
            .collect();
        assert!(relative_error(&measured.values, &again) < 1e-5, "{sampling:?}");
    }
}

#[test]
fn draws_are_what_they_say() {
    let distinct = |batch: &[usize]| {
        let mut batch = batch.to_vec();
        batch.sort_unstable();
        batch.dedup();
        batch.len()
    };
    let draw = |sampling, b, m| draw_batches(sampling, N, b, m, 1, 0).unwrap();
    assert!(draw(Sampling::WithoutReplacement, 30, 20).iter().all(|b| distinct(b) == 30));
    assert!(draw(Sampling::WithReplacement, 30, 20).iter().any(|b| distinct(b) < 30));
    // 40 samples in batches of 12: three batches an epoch that share nothing, four samples dropped.
    let epochs = draw(Sampling::Epoch, 12, 7);
    assert_eq!(epochs.len(), 7);
    for epoch in epochs.chunks(3) {
        assert_eq!(distinct(&epoch.concat()), 12 * epoch.len());
    }
    // Uniform: each of 40 samples is in a quarter of 4000 batches of 10, within five deviations.
    let mut counts = [0_i32; N];
    draw(Sampling::WithoutReplacement, 10, 4000).concat().iter().for_each(|i| counts[*i] += 1);
    let deviation = (4000.0 * 0.25 * 0.75_f64).sqrt();
    assert!(counts.iter().all(|c| f64::from(c - 1000).abs() < 5.0 * deviation), "{counts:?}");
}

#[test]
fn estimate_is_that_of_the_values() {
    let measured = MiniBatchSharpnessConfig::new(5).init(loss).measure(&model(), &data()).unwrap();
    let m = measured.values.len() as f64;
    assert_eq!(measured.values.len(), 16);
    assert_eq!(measured.residual_norms.len(), 16);
    assert_eq!(measured.n_unconverged, 0);
    assert!(measured.n_hvps >= 32, "each value needs two products at least");
    let mean = measured.values.iter().sum::<f64>() / m;
    let variance = measured.values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (m - 1.0);
    let Estimate { mean: found, standard_error, interval, max, count, .. } = measured.estimate;
    assert_eq!(count, 16);
    assert!((found - mean).abs() < 1e-12);
    assert!((standard_error - (variance / m).sqrt()).abs() < 1e-12);
    // t of Student's distribution for 15 degrees of freedom.
    assert!((interval.1 - mean - 2.1314 * standard_error).abs() < 1e-4 * standard_error);
    assert!((interval.1 + interval.0 - 2.0 * mean).abs() < 1e-12);
    assert_eq!(max, measured.values.iter().copied().fold(f64::MIN, f64::max));
}

#[test]
fn a_target_error_ends_between_minimum_and_maximum() {
    let config = MiniBatchSharpnessConfig::new(5).with_num_batches(200).with_min_batches(4);
    let count = |target| {
        let mut monitor = config.clone().with_target_relative_error(Some(target)).init(loss);
        let estimate = monitor.measure(&model(), &data()).unwrap().estimate;
        (estimate.count, estimate.relative_error())
    };
    assert_eq!(count(10.0).0, 4);
    assert_eq!(count(1e-9).0, 200);
    let (some, error) = count(0.03);
    assert!(4 < some && some < 200 && error <= 0.03, "{some} batches, error {error}");
    // The same rule for batch sharpness.
    let config = BatchSharpnessConfig::new(5).with_num_batches(200).with_min_batches(4);
    let mut along = config.with_target_relative_error(Some(0.05)).init(loss);
    let measured = along.measure(&model(), &data()).unwrap();
    assert!(measured.estimate.relative_error() <= 0.05 && measured.n_hvps < 200);
}

/// On a spectrum without a gap, L = ½ Σ aᵢ wᵢ² with aᵢ = 1/(1 + i/50); on networks of a few parameters
/// the gradient alone is as good a start.
#[test]
fn warm_starts_save_products() {
    let (n, device) = (2000, Device::flex());
    let quadratic =
        |m: &Dense, a: Tensor<2>| (a.squeeze_dim(0) * m.bias.val().powi_scalar(2)).sum() * 0.5;
    let model = Dense {
        weight: Param::from_tensor(float(vec![0.0], [1, 1], DType::F64, &device)),
        bias: Param::from_tensor(float(wave(n, 0.3), [n], DType::F64, &device)),
    };
    let a = (0..n).map(|i| 1.0 / (1.0 + i as f64 / 50.0)).collect();
    let a = float(a, [1, n], DType::F64, &device);
    let mut monitor = FullBatchSharpnessConfig::new().with_rel_tol(1e-4).init(quadratic);
    let cold = monitor.measure(&model, &a).unwrap();
    let warm = monitor.measure(&model, &a).unwrap();
    assert!(warm.n_hvps < cold.n_hvps, "{} then {}", cold.n_hvps, warm.n_hvps);
    assert!((warm.value - 1.0).abs() < 1e-7 && (cold.value - 1.0).abs() < 1e-7);
}

/// How many batches are side by side is a matter of memory: none by itself changes by it. In f64 products
/// of other shapes round at 1e-16, over some twenty steps, relative to norms up to a hundred times a
/// value: 1e-12.
#[test]
fn memory_changes_nothing_but_rounding() {
    let config = MiniBatchSharpnessConfig::new(5).with_num_batches(7).with_rel_tol(1e-6);
    let measure = |mib, target| {
        let config = config.clone().with_memory_mib(mib).with_target_relative_error(target);
        let mut monitor = config.with_min_batches(3).init(loss);
        [monitor.measure(&model(), &data()).unwrap(), monitor.measure(&model(), &data()).unwrap()]
    };
    for target in [None, Some(0.2)] {
        for (alone, together) in measure(0, target).iter().zip(measure(64, target)) {
            assert_eq!(alone.values.len(), together.values.len());
            for (a, b) in alone.values.iter().zip(&together.values) {
                assert!(((a - b) / a).abs() < 1e-12, "{a} is not {b}");
            }
            if target.is_none() {
                assert_eq!(alone.n_hvps, together.n_hvps);
            } else {
                assert!(alone.values.len() < 7);
            }
        }
    }
    let along = |mib| {
        let config = BatchSharpnessConfig::new(5).with_num_batches(7).with_memory_mib(mib);
        config.init(loss).measure(&model(), &data()).unwrap().values
    };
    for (a, b) in along(0).iter().zip(along(64)) {
        assert!(((a - b) / a).abs() < 1e-12, "{a} is not {b}");
    }
}

/// The full-batch eigenvector starts mini-batches; one of another model is ignored.
#[test]
fn a_measurement_starts_from_a_vector_that_is_given() {
    let full = FullBatchSharpnessConfig::new().init(loss).measure(&model(), &data()).unwrap();
    let config = MiniBatchSharpnessConfig::new(5).with_rel_tol(1e-8);
    let cold = config.init(loss).measure(&model(), &data()).unwrap();
    let started = |vector: &burn_sharpness::ParamVector| {
        let mut monitor = config.init(loss);
        monitor.start_from(vector);
        monitor.measure(&model(), &data()).unwrap()
    };
    // Its length does not matter.
    for vector in [full.vector.clone(), full.vector.scale(1e3)] {
        for (a, b) in cold.values.iter().zip(started(&vector).values) {
            assert!(((a - b) / a).abs() < 1e-7, "{a} is not {b}");
        }
    }
    let other = burn_sharpness::ParamSpace::flat(3, DType::F64, &Device::flex()).zeros();
    assert_eq!(started(&other).values, cold.values);
}

/// The worst case of a warm start: the old eigenvector is still exactly one, another direction has
/// overtaken it, and the gradient does not see that direction.
#[test]
fn a_warm_start_does_not_hold_on_to_an_overtaken_eigenvector() {
    // L = ½ Σ aᵢ wᵢ², with H = diag(a) and wᵢ = 0 where a is to grow.
    const LEN: usize = 50_000;
    let loss =
        |m: &Dense, a: Tensor<2>| (a.squeeze_dim(0) * m.bias.val().powi_scalar(2)).sum() * 0.5;
    let device = Device::flex();
    let mut w = wave(LEN, 0.3);
    w[1] = 0.0;
    let model = Dense {
        weight: Param::from_tensor(float(vec![0.0], [1, 1], DType::F32, &device)),
        bias: Param::from_tensor(float(w, [LEN], DType::F32, &device)),
    };
    let curvature = |second: f64| {
        let mut a: Vec<f64> = wave(LEN, 0.9).iter().map(|x| 0.3 * x.abs()).collect();
        (a[0], a[1]) = (1.0, second);
        float(a, [1, LEN], DType::F32, &device)
    };
    let mut monitor = MiniBatchSharpnessConfig::new(1).with_num_batches(1).init(loss);
    let mut top = |second| monitor.measure(&model, &curvature(second)).unwrap().values[0];
    for second in [0.5, 1.1, 0.5, 1.5, 3.0] {
        let (found, expected) = (top(second), f64::max(1.0, second));
        // The residual is within a hundredth, so the value within its square.
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} is not {expected}");
    }
}

#[test]
fn a_warm_start_of_another_model_is_ignored() {
    let mut monitor = MiniBatchSharpnessConfig::new(5).with_rel_tol(1e-8).init(loss);
    monitor.measure(&model(), &data()).unwrap();
    let wider = Net { hidden: Dense::wavy(6, 11, 0.1), head: Dense::wavy(11, 3, 0.7) };
    let measured = monitor.measure(&wider, &data()).unwrap();
    let batches = draw_batches(Sampling::WithoutReplacement, N, 5, 16, 0, 1).unwrap();
    let fresh = wider.sharpness(rows(&data(), &batches[0]), loss).unwrap().value;
    assert!(((measured.values[0] - fresh) / fresh).abs() < 1e-5);
}

#[test]
fn the_live_batch_is_measured_by_itself() {
    let mut monitor = MiniBatchSharpnessConfig::new(5).with_rel_tol(1e-8).init(loss);
    let batch = rows(&data(), &[3, 1, 4, 15, 9]);
    let live = monitor.measure_live(&model(), batch.clone()).unwrap();
    let single = model().sharpness(batch.clone(), loss).unwrap();
    assert!(((live.value - single.value) / single.value).abs() < 1e-5);
    assert_eq!(live.loss, single.loss);
    // It does not move the draws of the Monte Carlo estimate.
    assert_eq!(monitor.measure(&model(), &data()).unwrap().draw, 0);
}

#[test]
fn whole_batch_is_the_same_by_every_way() {
    let single = model().sharpness(data(), loss).unwrap().value;
    let full = |chunk, memory| {
        let config = FullBatchSharpnessConfig::new().with_chunk_size(chunk).with_memory(memory);
        config.with_rel_tol(1e-8).init(loss).measure(&model(), &data()).unwrap().value
    };
    for (chunk, memory) in [
        (7, ChunkMemory::Keep),
        (7, ChunkMemory::Recompute),
        (N, ChunkMemory::Keep),
        (99, ChunkMemory::Keep),
    ] {
        assert!(((full(chunk, memory) - single) / single).abs() < 1e-5, "{chunk} {memory:?}");
    }
    let mini = MiniBatchSharpnessConfig::new(N).with_num_batches(2).with_rel_tol(1e-8);
    let values = mini.init(loss).measure(&model(), &data()).unwrap().values;
    assert!(values.iter().all(|v| ((v - single) / single).abs() < 1e-5));
}

#[test]
fn chunks_weigh_as_much_as_they_have_samples() {
    let whole = model().hessian(data(), loss).unwrap();
    let v = whole.space().from_values(&wave(whole.dim(), 2.2)).unwrap();
    let expected = whole.apply(&v).unwrap().to_values().unwrap();
    for (chunk, memory) in
        [(1, ChunkMemory::Keep), (7, ChunkMemory::Recompute), (39, ChunkMemory::Keep)]
    {
        let chunked = FullBatchHessian::new(&model(), &data(), loss, chunk, memory).unwrap();
        let product = chunked.apply(&v).unwrap().to_values().unwrap();
        assert!(relative_error(&product, &expected) < 1e-13);
        assert!((chunked.loss() - whole.loss()).abs() < 1e-13);
        let (a, b) =
            (chunked.gradient().to_values().unwrap(), whole.gradient().to_values().unwrap());
        assert!(relative_error(&a, &b) < 1e-13);
        assert_eq!(chunked.n_applies(), 1);
    }
}

#[test]
fn batch_sharpness_is_the_mean_of_ratios_and_below_minibatch_sharpness() {
    let along = BatchSharpnessConfig::new(5)
        .with_num_batches(6)
        .with_seed(2)
        .init(loss)
        .measure(&model(), &data());
    let along = along.unwrap();
    let batches = draw_batches(Sampling::WithoutReplacement, N, 5, 6, 2, 0).unwrap();
    for (ratio, indices) in along.values.iter().zip(&batches) {
        let hessian = model().hessian(rows(&data(), indices), loss).unwrap();
        let g = hessian.gradient();
        let (gg, ghg) = (g.dot(g).unwrap(), g.dot(&hessian.apply(g).unwrap()).unwrap());
        assert!((ratio - ghg / gg).abs() < 1e-12 * ratio.abs());
    }
    assert_eq!((along.n_hvps, along.n_zero_gradients), (6, 0));
    let config =
        MiniBatchSharpnessConfig::new(5).with_num_batches(6).with_seed(2).with_rel_tol(1e-6);
    let mini = config.init(loss).measure(&model(), &data()).unwrap();
    assert!(mini.values.iter().zip(&along.values).all(|(top, ratio)| ratio <= top));
}

#[test]
fn a_monitor_is_due_at_multiples_of_its_step() {
    let monitor = MiniBatchSharpnessConfig::new(5).with_every(3).init(loss);
    let due: Vec<_> = (0..8).filter(|step| monitor.is_due(*step)).collect();
    assert_eq!(due, [0, 3, 6]);
    assert!(MiniBatchSharpnessConfig::new(5).with_every(0).init(loss).is_due(1));
}
