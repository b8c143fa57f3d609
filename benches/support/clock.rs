//! Times that can be compared: what is compared runs in turn within one round.

use std::hint::black_box;
use std::time::Instant;

/// Milliseconds; dropping the result is not counted.
pub fn time<T>(f: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let result = black_box(f());
    let elapsed = start.elapsed();
    drop(result);
    elapsed.as_secs_f64() * 1e3
}

/// Runs each part once per round; one list of milliseconds per part. The first rounds, which fill
/// caches and the allocator's pools, are not counted.
pub fn interleaved<const N: usize>(
    rounds: usize,
    mut parts: [&mut dyn FnMut(); N],
) -> [Vec<f64>; N] {
    let mut times = [const { Vec::new() }; N];
    let warm_up = rounds.div_ceil(10);
    for round in 0..warm_up + rounds {
        for (part, times) in parts.iter_mut().zip(&mut times) {
            let elapsed = time(&mut *part);
            if round >= warm_up {
                times.push(elapsed);
            }
        }
    }
    times
}

pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2])
}

pub fn minimum(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Median over rounds of the ratio inside a round: load that comes and goes cancels.
pub fn median_ratio(times: &[f64], to: &[f64]) -> f64 {
    let ratios: Vec<f64> = times.iter().zip(to).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// The number of threads that burn's matrix products use.
pub fn threads() -> usize {
    let set = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let available = || std::thread::available_parallelism().map_or(1, Into::into);
    set.filter(|n| *n > 0).unwrap_or_else(available)
}
