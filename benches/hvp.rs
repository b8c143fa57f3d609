//! The price of a Hessian-vector product, part by part: `cargo bench --bench hvp`.
//!
//! Throughput is in calls per second, so for `tangent` it is Hessian-vector products per second.
//! For ratios to the gradient use `ratios`, which interleaves what it compares.

mod support;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use support::{BATCH_SIZES, Case, Loss};

fn hvp(criterion: &mut Criterion) {
    for loss in Loss::ALL {
        for batch_size in BATCH_SIZES {
            let case = Case::new(loss, batch_size);
            let name = format!("{}/batch {batch_size}", loss.name());
            let mut group = criterion.benchmark_group(name);
            group
                .throughput(Throughput::Elements(1))
                .sampling_mode(SamplingMode::Flat)
                .sample_size(20)
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(3));
            group.bench_function("gradient", |b| b.iter(|| case.gradient()));
            group.bench_function("primal", |b| b.iter(|| case.primal()));
            let operator = case.primal();
            let v = case.direction(&operator);
            group.bench_function("tangent", |b| b.iter(|| case.tangent(&operator, &v)));
            group.bench_function("preparation", |b| b.iter(|| case.prepare()));
            group.finish();
        }
    }
}

criterion_group!(benches, hvp);
criterion_main!(benches);
