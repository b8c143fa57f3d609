//! Predictions and noise formulas against models in which they are exact.

use burn_sharpness::Error;
use burn_sharpness::stability::*;

use super::matrices::{kronecker, log_spectral_radius};

/// 4 features with eigenvectors that are spread evenly over 8 samples (columns of a Hadamard matrix).
fn samples(eigenvalues: [f64; 4]) -> Vec<[f64; 4]> {
    let sign = |bits: u32| if bits.count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let row = |i: u32| {
        let entry = |a: u32| sign(i & (a + 1)) * eigenvalues[a as usize].sqrt();
        [entry(0), entry(1), entry(2), entry(3)]
    };
    (0..8).map(row).collect()
}

/// log ρ of E[A ⊗ A] over all batches of b of the samples, A = 1 − η/b Σ x xᵀ.
fn growth(samples: &[[f64; 4]], rate: f64, b: u32) -> f64 {
    let (mut sum, mut count) = (vec![vec![0.0; 16]; 16], 0.0);
    for batch in 0..1u32 << samples.len() {
        if batch.count_ones() != b {
            continue;
        }
        let mut a = vec![vec![0.0; 4]; 4];
        for i in 0..4 {
            a[i][i] = 1.0;
            for j in 0..4 {
                let chosen = (0..samples.len()).filter(|k| batch >> k & 1 == 1);
                let moment: f64 = chosen.map(|k| samples[k][i] * samples[k][j]).sum();
                a[i][j] -= rate / f64::from(b) * moment;
            }
        }
        let square = kronecker(&a);
        sum.iter_mut().flatten().zip(square.iter().flatten()).for_each(|(s, v)| *s += v);
        count += 1.0;
    }
    sum.iter_mut().flatten().for_each(|s| *s /= count);
    log_spectral_radius(&sum)
}

#[test]
fn the_noise_kernel_is_one_where_mean_squares_stop_to_contract() {
    let eigenvalues = [3.0, 1.0, 0.4, 0.1];
    let trace = eigenvalues.iter().sum();
    let samples = samples(eigenvalues);
    for b in 1..8 {
        let kernel = |rate: f64| noise_kernel(rate, b, 8, &eigenvalues, trace).unwrap().low;
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if kernel(middle) < 1.0 { low = middle } else { high = middle }
        }
        // Off by a relative 1e-6, the radius is off by about as much; rounding is 1e-15 times small counts.
        let radius = |rate| growth(&samples, rate, b as u32);
        assert!(radius(low * (1.0 - 1e-6)) < 0.0 && radius(low * (1.0 + 1e-6)) > 0.0, "b = {b}");
        let bounds = noise_kernel(low, b, 8, &eigenvalues, trace).unwrap();
        assert!((bounds.low - bounds.high).abs() < 1e-12, "all is known: {bounds:?}");
    }
}

#[test]
fn the_noise_kernel_is_bounded_by_what_is_known() {
    let eigenvalues = [3.0, 1.0, 0.4, 0.1];
    let exact = noise_kernel(0.3, 2, 8, &eigenvalues, 4.5).unwrap().low;
    let mut gap = f64::INFINITY;
    for k in 1..4 {
        let known = noise_kernel(0.3, 2, 8, &eigenvalues[..k], 4.5).unwrap();
        assert!(known.low < exact && exact < known.high, "{k}: {known:?} {exact}");
        assert!(known.high - known.low < gap, "more eigenvalues, less doubt");
        gap = known.high - known.low;
    }
    let trace = noise_kernel(0.3, 2, 8, &[], 4.5).unwrap();
    assert!(trace.low < exact && trace.high == f64::INFINITY);
    // The orthogonal model: n eigenvalues h/n, edge ηh/b = 2 for every batch size.
    for b in [1, 5, 19] {
        let (h, rate) = (7.0, 2.0 * b as f64 / 7.0);
        let k = noise_kernel(rate, b, 20, &[h / 20.0; 20], h).unwrap();
        assert!((k.low - 1.0).abs() < 1e-13 && (k.high - 1.0).abs() < 1e-5, "{k:?}");
    }
    assert_eq!(noise_kernel(0.3, 8, 8, &eigenvalues, 4.5).unwrap().high, 0.0, "no noise");
    assert_eq!(noise_kernel(0.3, 8, 8, &[], 4.5).unwrap().high, 0.0, "no noise");
    assert_eq!(noise_kernel(9.0, 4, 8, &[3.0], 3.0).unwrap().low, f64::INFINITY);
    let fails =
        |b, eigenvalues: &[f64], trace| noise_kernel(0.3, b, 8, eigenvalues, trace).is_err();
    assert!(fails(0, &[1.0], 2.0) && fails(9, &[1.0], 2.0) && fails(2, &[-1.0], 2.0));
    assert!(fails(2, &[f64::NAN], 2.0) && fails(2, &[1.0], f64::NAN) && fails(2, &[3.0], 2.0));
    assert!(noise_kernel(0.0, 2, 8, &[1.0], 2.0).is_err());
}

/// Batches of everything: no noise below ηλ = 2, no stable state from there on, whatever else is known.
#[test]
fn without_noise_the_kernel_is_zero_or_infinite() {
    for (rate, expected) in [(0.9, 0.0), (1.0, f64::INFINITY), (1.5, f64::INFINITY)] {
        for trace in [3.0, 4.0] {
            let k = noise_kernel(rate, 8, 8, &[2.0, 1.0], trace).unwrap();
            assert_eq!((k.low, k.high), (expected, expected), "η = {rate}, trace {trace}");
        }
    }
}

#[test]
fn non_uniformity_is_bounded_by_the_noise_of_a_flat_direction() {
    // A direction with mean curvature zero and H_i = ±s: E x² grows by 1 + η²ps² per step. The limit is where the
    // second term alone is 1.
    let (rate, b, n) = (0.1, 4, 20);
    let s = non_uniformity_limit(rate, b, n).unwrap();
    let p = (20.0 - 4.0) / (4.0 * 19.0);
    assert!((rate * rate * p * s * s - 1.0).abs() < 1e-14);
    assert_eq!(non_uniformity_limit(rate, n, n), Ok(f64::INFINITY));
    assert!((non_uniformity_limit(rate, 1, n).unwrap() - 10.0).abs() < 1e-13);
    assert!(non_uniformity_limit(rate, 0, n).is_err() && non_uniformity_limit(-1.0, 1, n).is_err());
}

fn orthogonal(rate: f64, batch_size: usize) -> Stability {
    let batching = Batching::Of { batch_size, n_samples: 120 };
    SgdStabilityConfig::new(rate).with_batching(batching).init().unwrap()
}

#[test]
fn the_orthogonal_model_obeys_the_gap_law_and_its_level() {
    // Batches have h/b, the full batch h/n: the law has c = h. At the edge h/b is the threshold.
    for (rate, b) in [(0.1, 8), (0.02, 1), (0.3, 60)] {
        let edge = orthogonal(rate, b);
        let h = edge.threshold() * b as f64;
        let law = GapLaw::through(h / b as f64, h / 120.0, b, 120).unwrap();
        assert!((law.coefficient() - h).abs() < 1e-12 * h);
        for other in [1, 3, 40, 120] {
            let gap = h / other as f64 - h / 120.0;
            assert!((law.gap(other).unwrap() - gap).abs() < 1e-12 * h);
        }
        let level = law.full_batch_level(edge.threshold(), b).unwrap();
        assert!((level - h / 120.0).abs() < 1e-12 * level);
        assert!((edge.orthogonal_full_batch_level().unwrap() - level).abs() < 1e-12 * level);
        assert!((level - b as f64 / 120.0 * 2.0 / rate).abs() < 1e-11 * level, "(b/n) 2/η");
        assert_eq!(law.smallest_batch_size(level, edge.threshold()), Ok(Some(b)));
        // A larger rate than batches of b allow needs b times as large.
        let lower = 0.5 * edge.threshold();
        assert_eq!(law.smallest_batch_size(level, lower), Ok(Some(2 * b)));
    }
    let law = GapLaw::new(10.0, 50).unwrap();
    assert_eq!(law.smallest_batch_size(5.0, 4.0), Ok(None), "the full batch is beyond the edge");
    assert_eq!(law.smallest_batch_size(4.0, 4.0), Ok(Some(50)));
    assert_eq!(law.smallest_batch_size(1.0, 1e9), Ok(Some(1)));
    assert_eq!(GapLaw::new(0.0, 50).unwrap().smallest_batch_size(1.0, 2.0), Ok(Some(1)));
}

#[test]
fn levels_scale_with_batch_size_over_learning_rate() {
    let before = orthogonal(0.1, 4);
    for (rate, b) in [(0.05, 4), (0.1, 8), (0.2, 2)] {
        let after = orthogonal(rate, b);
        let level = before.full_batch_level_after(3.0, &after).unwrap();
        let expected = 3.0 * (b as f64 / 4.0) * (0.1 / rate);
        assert!((level - expected).abs() < 1e-11 * expected, "{level} {expected}");
    }
    // Never above the threshold: at 0.1 and b = 120, 2/η = 20.
    let capped = before.full_batch_level_after(3.0, &orthogonal(0.1, 120)).unwrap();
    assert!((capped - 20.0).abs() < 1e-12, "{capped}");
}

#[test]
fn predictions_from_nonsense_are_refused() {
    let refused = |result: burn_sharpness::Result<f64>| match result {
        Err(Error::InvalidSetting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    let (edge, plain) = (orthogonal(0.1, 4), SgdStabilityConfig::new(0.1).init().unwrap());
    assert_eq!(plain.orthogonal_full_batch_level(), None);
    assert_eq!(refused(edge.full_batch_level_after(1.0, &plain)), "batching");
    assert_eq!(refused(edge.full_batch_level_after(0.0, &edge)), "measured");
    assert!(edge.full_batch_level_after(f64::NAN, &edge).is_err());
    assert!(GapLaw::new(-1.0, 5).is_err() && GapLaw::new(f64::NAN, 5).is_err());
    assert!(GapLaw::new(1.0, 0).is_err());
    assert!(GapLaw::through(2.0, 1.0, 5, 5).is_err(), "no gap to learn from at b = n");
    assert!(GapLaw::through(1.0, 2.0, 1, 5).is_err());
    let law = GapLaw::new(1.0, 5).unwrap();
    assert!(law.gap(0).is_err() && law.gap(6).is_err() && law.full_batch_level(1.0, 9).is_err());
    assert!(law.full_batch_level(f64::NAN, 1).is_err());
    assert!(law.smallest_batch_size(f64::NAN, 1.0).is_err());
}
