//! Phases of series whose phases are known.

use burn_sharpness::Error;
use burn_sharpness::stability::*;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};

type Row = (usize, f64, f64);

fn normals(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..n).map(|_| StandardNormal.sample(&mut rng)).collect()
}

/// A stationary series xₜ = φxₜ₋₁ + e of variance 1.
fn autoregressive(n: usize, phi: f64, seed: u64) -> Vec<f64> {
    let mut noise = normals(n, seed).into_iter();
    let mut x = noise.next().unwrap_or(0.0);
    let fresh = (1.0 - phi * phi).sqrt();
    let rest = noise.map(move |e| {
        x = phi * x + fresh * e;
        x
    });
    rest.collect()
}

/// Rows every ten steps at the threshold 40.
fn rows(ratios: impl IntoIterator<Item = f64>) -> Vec<Row> {
    ratios.into_iter().enumerate().map(|(i, r)| (10 * i, 40.0 * r, 40.0)).collect()
}

fn phase_of(rows: &[Row]) -> Phase {
    let mut detector = PhaseDetectorConfig::new().init().unwrap();
    detector.extend(rows.iter().copied()).unwrap()
}

fn plateau(rows: &[Row]) -> (usize, Level, Level) {
    match phase_of(rows) {
        Phase::Plateau { since, ratio, value } => (since, ratio, value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ramps_are_sharpening_or_flattening_with_their_slope() {
    let rising = rows((0..50).map(|i| 0.1 + 0.02 * f64::from(i)));
    let Phase::Sharpening { since, drift } = phase_of(&rising) else { panic!() };
    // The whole ramp, up to less than a block; a line is fitted without error.
    assert!(since < 80, "{since}");
    assert!((drift.per_step - 0.002).abs() < 1e-14, "{drift:?}");
    assert!(drift.standard_error < 1e-14, "{drift:?}");

    let falling: Vec<f64> = rising.iter().rev().map(|(_, value, _)| value / 40.0).collect();
    let Phase::Flattening { since, drift } = phase_of(&rows(falling)) else { panic!() };
    assert!(since < 80 && (drift.per_step + 0.002).abs() < 1e-14, "{since} {drift:?}");

    // Uneven steps: the slope is one per step, not per row.
    let uneven = (0..40).map(|i| (i * i + i, (i * i + i) as f64 * 0.04, 40.0));
    let Phase::Sharpening { drift, .. } = phase_of(&uneven.collect::<Vec<_>>()) else { panic!() };
    assert!((drift.per_step - 0.001).abs() < 1e-14, "{drift:?}");
}

#[test]
fn ramps_are_seen_through_noise() {
    // Noise of a third of the rise of a window: the stretch alone sees 80 of 100 such ramps.
    let (mut seen, mut near) = (0, 0);
    for seed in 0..200 {
        let noisy = normals(80, seed).into_iter().enumerate();
        let noisy = rows(noisy.map(|(i, e)| 0.2 + 0.01 * i as f64 + 0.05 * e));
        if let Phase::Sharpening { drift, .. } = phase_of(&noisy) {
            seen += 1;
            near += usize::from((drift.per_step - 0.001).abs() < 3.0 * drift.standard_error);
        }
    }
    assert!(seen >= 195 && near >= 190, "{seen} seen, {near} with the slope");
}

#[test]
fn ramps_that_are_too_slow_for_a_window_are_seen_with_more_rows() {
    // 0.02% of the level per row: 0.3% in a window. Half the tolerance, 2.5%, takes 125 rows.
    let slow = |n: i32| rows((0..n).map(|i| 0.5 + 0.0001 * f64::from(i)));
    assert!(matches!(phase_of(&slow(100)), Phase::Plateau { .. }));
    for n in [150, 300, 600, 1200] {
        assert!(matches!(phase_of(&slow(n)), Phase::Sharpening { .. }), "{n}");
    }
}

#[test]
fn a_level_is_covered_by_its_interval() {
    // 95% intervals of 2000 series: a coverage of 0.95 has a standard deviation of 0.5% here. Counted as
    // misses are series that were taken for a trend.
    for (n, phi) in [(100, 0.0), (300, 0.5), (300, 0.8), (600, 0.9)] {
        let n_seeds = 2000;
        let (mut covered, mut error, mut lengths) = (0, 0.0, 0);
        for seed in 0..n_seeds {
            let ratios = autoregressive(n + 1, phi, 1000 + seed).into_iter();
            let ratios = rows(ratios.map(|e| 1.0 + 0.05 * e));
            let Phase::Plateau { ratio, value, .. } = phase_of(&ratios) else { continue };
            covered += usize::from(ratio.interval.0 <= 1.0 && 1.0 <= ratio.interval.1);
            error += ratio.standard_error.powi(2) * ratio.n_rows as f64;
            lengths += ratio.n_rows;
            // One threshold: the value is the ratio in other units.
            assert!((value.mean - 40.0 * ratio.mean).abs() < 1e-12 * value.mean);
            assert!((value.standard_error / ratio.standard_error - 40.0).abs() < 1e-9);
        }
        assert!(covered * 100 >= 93 * n_seeds as usize, "φ = {phi}: {covered} of {n_seeds}");
        // The error itself: variance of the mean ≈ 0.05²(1+φ)/(1−φ)/m; it may be careful, not careless.
        let expected = 0.05 * ((1.0 + phi) / (1.0 - phi)).sqrt();
        let found = (error / n_seeds as f64).sqrt();
        assert!(found > 0.9 * expected && found < 1.4 * expected, "φ = {phi}: {found} {expected}");
        assert!(lengths > 3 * n_seeds as usize * n / 4, "most rows are used: {lengths}");
    }
}

#[test]
fn plateaus_are_rarely_taken_for_trends() {
    // The worst case: every row of 100 histories of 200 rows. A drift must exceed three standard errors.
    let (mut trends, mut early, mut total) = (0, 0, 0);
    for seed in 0..100 {
        let mut detector = PhaseDetectorConfig::new().init().unwrap();
        let series = autoregressive(201, 0.3, seed).into_iter();
        for (step, value, threshold) in rows(series.map(|e| 1.0 + 0.1 * e)) {
            match detector.push(step, value, threshold).unwrap() {
                Phase::Sharpening { .. } | Phase::Flattening { .. } => trends += 1,
                Phase::Plateau { .. } => {}
                Phase::Undetermined { n_rows } => early += usize::from(n_rows >= 16),
                other => panic!("{other:?}"),
            }
            total += 1;
        }
    }
    assert!(trends * 50 < total, "{trends} of {total}: more than 2%");
    assert!(early * 50 < total, "{early} of {total} taken for the end of a change: more than 2%");
}

#[test]
fn a_plateau_after_a_ramp_begins_at_its_end() {
    for seed in 0..20 {
        let series = normals(300, seed).into_iter().enumerate();
        let ratios = series.map(|(i, e)| (i as f64 / 100.0).min(1.0) + 0.02 * e);
        let (since, ratio, _) = plateau(&rows(ratios));
        // Within a few rows, where the ramp is still inside the noise.
        assert!((940..=1100).contains(&since), "seed {seed}: {since}");
        assert!((ratio.mean - 1.0).abs() < 4.0 * ratio.standard_error, "{ratio:?}");
    }
    let exact = rows((0..200).map(|i| (f64::from(i) / 100.0).min(1.0)));
    let (since, ratio, value) = plateau(&exact);
    assert!((970..=1000).contains(&since), "{since}");
    assert!((ratio.mean - 1.0).abs() < 1e-3 && (value.mean - 40.0).abs() < 0.04);
    // While the ramp lasts, and until a window is flat, it is sharpening.
    assert!(matches!(phase_of(&exact[..100]), Phase::Sharpening { .. }));
    assert!(matches!(phase_of(&exact[..105]), Phase::Sharpening { .. }));
    assert!(matches!(phase_of(&exact[..120]), Phase::Plateau { .. }));
}

#[test]
fn a_plateau_is_not_seen_before_a_window_of_it() {
    // A short rise is a part of every window until 16 rows have come after it. What the level is said to be
    // then must not have the rise in it: the rows after it are better known by far, unless chance makes their
    // variance ten times what it is (less than 1 in 100). Later it may be missed by a row or, within four
    // standard errors of some ten rows, by chance (1 in 100).
    let rise = [0.05, 0.2, 0.35, 0.3, 0.5, 0.8];
    let (mut early, mut late) = (0, 0);
    for seed in 0..100 {
        let noise = normals(60, seed).into_iter().map(|e| 1.1 + 0.1 * e);
        let ratios: Vec<f64> = rise.into_iter().chain(noise).collect();
        for n in 16..rise.len() + 16 {
            let phase = phase_of(&rows(ratios[..n].iter().copied()));
            early += usize::from(matches!(phase, Phase::Plateau { since: ..50, .. }));
        }
        let (since, ratio, _) = plateau(&rows(ratios));
        late += usize::from(since >= 50 && (ratio.mean - 1.1).abs() < 4.0 * ratio.standard_error);
    }
    assert!(early <= 6 && late >= 95, "{early} of 600 with the rise, {late} of 100 without");
}

#[test]
fn a_constant_series_is_a_plateau_without_error() {
    for level in [0.1, 0.7, 1.0 / 3.0, 0.0, -0.4] {
        let (since, ratio, value) = plateau(&rows(std::iter::repeat_n(level, 70)));
        assert_eq!(since, 0);
        // Rounding of a mean of 70 numbers.
        assert!((ratio.mean - level).abs() < 1e-15 && ratio.standard_error < 1e-15, "{ratio:?}");
        assert!((value.mean - 40.0 * level).abs() < 1e-13);
    }
}

#[test]
fn divergence_is_unstable_from_its_first_row_on() {
    let calm = std::iter::repeat_n(1.0, 30);
    let growing: Vec<f64> = calm.clone().chain((1..20).map(|i| 1.3f64.powi(i))).collect();
    // 1.3⁵ = 3.7 is the first beyond 3.
    assert_eq!(phase_of(&rows(growing.clone())), Phase::Unstable { since: 340 });
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -50.0, 1e308] {
        let ended: Vec<f64> = growing[..32].iter().copied().chain([bad, bad]).collect();
        assert_eq!(phase_of(&rows(ended)), Phase::Unstable { since: 320 }, "{bad}");
    }
    // What comes after is a new history.
    let after = |n| rows(growing.iter().copied().chain(std::iter::repeat_n(0.5, n)));
    assert_eq!(phase_of(&after(15)), Phase::Undetermined { n_rows: 15 });
    let (since, ratio, _) = plateau(&after(16));
    assert_eq!((since, ratio.mean), (490, 0.5));
    // Unstable rows with a stable one between are two runs.
    let two: Vec<f64> = calm.chain([9.0, 1.0, 9.0, 9.0]).collect();
    assert_eq!(phase_of(&rows(two)), Phase::Unstable { since: 320 });
}

#[test]
fn a_dip_does_not_end_a_plateau_but_a_fall_does() {
    let noise = normals(400, 5);
    let dip = |from: usize, to: usize, depth: f64| {
        let ratio = move |(i, e): (usize, &f64)| {
            1.0 + 0.03 * e - if (from..to).contains(&i) { depth } else { 0.0 }
        };
        rows(noise.iter().enumerate().map(ratio).collect::<Vec<_>>())
    };
    // Three rows at 0.8, long ago: inside the plateau.
    let (since, ratio, _) = plateau(&dip(300, 303, 0.2));
    assert!(since < 1000, "{since}");
    assert!((ratio.mean - (1.0 - 0.6 / 400.0)).abs() < 4.0 * ratio.standard_error);
    // A catapult and a long way back: the plateau begins behind it.
    let (since, ratio, _) = plateau(&dip(200, 260, 0.6));
    assert!((2590..=2650).contains(&since), "{since}");
    assert!((ratio.mean - 1.0).abs() < 4.0 * ratio.standard_error, "{ratio:?}");
    // A fall for good: a plateau at the new level once there is a window of it.
    let (since, ratio, _) = plateau(&dip(350, 400, 0.5));
    assert!((3490..=3510).contains(&since) && (ratio.mean - 0.5).abs() < 0.03, "{since} {ratio:?}");
}

#[test]
fn a_new_threshold_is_a_new_level_of_the_ratio() {
    // The learning rate is halved at row 50: the same sharpness is at half its edge, then rises.
    let before = (0..50usize).map(|i| (i, 20.0, 20.0));
    let still = (50..70usize).map(|i| (i, 20.0, 40.0));
    let rising = (70..100usize).map(|i| (i, 20.0 + 0.5 * (i - 69) as f64, 40.0));
    let all: Vec<Row> = before.chain(still).chain(rising).collect();
    assert_eq!(plateau(&all[..50]).0, 0);
    let (since, ratio, value) = plateau(&all[..70]);
    assert_eq!((since, ratio.mean, value.mean), (50, 0.5, 20.0));
    assert!(matches!(phase_of(&all), Phase::Sharpening { .. }));
    // With a threshold that falls all the time and a value at the edge, the ratio is flat.
    let schedule = (0..60usize).map(|i| (i, 40.0 - 0.5 * i as f64, 40.0 - 0.5 * i as f64));
    let (since, ratio, value) = plateau(&schedule.collect::<Vec<_>>());
    assert_eq!((since, ratio.mean), (0, 1.0));
    assert!(value.standard_error > 1.0, "the value is not flat: {value:?}");
}

#[test]
fn short_histories_have_no_phase() {
    let mut detector = PhaseDetectorConfig::new().init().unwrap();
    assert_eq!(detector.phase(), Phase::Undetermined { n_rows: 0 });
    for i in 0..15 {
        assert_eq!(detector.push(i, 1.0, 2.0), Ok(Phase::Undetermined { n_rows: i + 1 }));
    }
    assert!(matches!(detector.push(15, 1.0, 2.0), Ok(Phase::Plateau { .. })));
    assert_eq!(phase_of(&[(7, f64::NAN, 1.0)]), Phase::Unstable { since: 7 });
    assert_eq!(phase_of(&[(7, 1.0, 1.0)]), Phase::Undetermined { n_rows: 1 });
    // The smallest window, with values that allow no correlation to be estimated.
    let mut small = PhaseDetectorConfig::new().with_window(4).init().unwrap();
    let phase = small.extend((0..4).map(|i| (i, 1.0, 1.0))).unwrap();
    assert!(matches!(phase, Phase::Plateau { .. }), "{phase:?}");
}

#[test]
fn rows_one_by_one_and_at_once_give_the_same_phases() {
    let noise = autoregressive(161, 0.7, 3);
    let mut series = rows(noise.iter().enumerate().map(|(i, e)| {
        let trend = (i as f64 / 60.0).min(1.0);
        if i == 130 { 8.0 } else { trend + 0.05 * e }
    }));
    series[133].1 = f64::NAN;
    let mut online = PhaseDetectorConfig::new().init().unwrap();
    let mut names = std::collections::BTreeSet::new();
    for (i, &(step, value, threshold)) in series.iter().enumerate() {
        let phase = online.push(step, value, threshold).unwrap();
        assert_eq!(phase, phase_of(&series[..=i]), "row {i}");
        names.insert(format!("{phase:?}").split(' ').next().unwrap_or_default().to_owned());
    }
    assert_eq!(online.n_rows(), 160);
    assert!(names.len() >= 4, "the series has most phases: {names:?}");
    // In other units of curvature, exactly the same ratios.
    let scaled: Vec<Row> = series.iter().map(|&(s, v, t)| (s, v * 1024.0, t * 1024.0)).collect();
    for i in 1..=series.len() {
        match (phase_of(&series[..i]), phase_of(&scaled[..i])) {
            (
                Phase::Plateau { since: a, ratio: r, value: v },
                Phase::Plateau { since: b, ratio: s, value: w },
            ) => {
                assert_eq!((a, r), (b, s));
                assert_eq!(v.mean * 1024.0, w.mean);
            }
            (a, b) => assert_eq!(a, b),
        }
    }
}

#[test]
fn rows_and_settings_that_make_no_sense_are_refused() {
    let mut detector = PhaseDetectorConfig::new().init().unwrap();
    detector.push(5, 1.0, 1.0).unwrap();
    for step in [5, 4, 0] {
        let refused = detector.push(step, 1.0, 1.0);
        assert!(matches!(refused, Err(Error::InvalidSetting { setting: "step", .. })));
    }
    for threshold in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = detector.push(6, 1.0, threshold);
        assert!(matches!(refused, Err(Error::InvalidSetting { setting: "threshold", .. })));
    }
    assert_eq!(detector.n_rows(), 1, "refused rows are not added");
    let config = PhaseDetectorConfig::new;
    let refused = |config: PhaseDetectorConfig| match config.init() {
        Err(Error::InvalidSetting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(config().with_window(3)), "window");
    assert_eq!(refused(config().with_tolerance(0.0)), "tolerance");
    assert_eq!(refused(config().with_significance(f64::NAN)), "significance");
    assert_eq!(refused(config().with_unstable_ratio(-1.0)), "unstable_ratio");
}

#[test]
fn numbers_at_the_ends_of_their_range_do_no_harm() {
    for (value, threshold) in [(1e308, 1e308), (1e-300, 1e-300), (5e-324, 1e300)] {
        let series: Vec<Row> = (0..40).map(|i| (i, value, threshold)).collect();
        let (since, ratio, level) = plateau(&series);
        assert_eq!((since, ratio.mean), (0, value / threshold));
        assert!((level.mean / value - 1.0).abs() < 1e-14, "{level:?}");
    }
    let far = [(0, 1.0, 1.0), (usize::MAX, 1.0, 1.0)];
    assert_eq!(phase_of(&far), Phase::Undetermined { n_rows: 2 });
}
