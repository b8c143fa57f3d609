//! The training loop: plain SGD, with measurements in between.

use std::time::{Duration, Instant};

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;

use crate::history::History;
use crate::model::{Batch, Mlp};
use crate::monitors::Monitors;
use crate::options::Settings;
use crate::picture;
use crate::progress::Progress;
use crate::support::error::{ExampleError, Result};
use crate::support::mlp::{Order, select};

/// Long runs renew their picture now and then: to look at, and to keep when the run is stopped.
const BETWEEN_PICTURES: Duration = Duration::from_secs(120);

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub n_hvps: usize,
    pub measuring: Duration,
    pub total: Duration,
}

/// Independent seeds for what is random, all from the one that the user gives.
#[derive(Clone, Copy)]
enum Stream {
    Weights,
    Order,
    Measurements,
}

impl Stream {
    fn seed(self, seed: u64) -> u64 {
        seed.wrapping_mul(1000).wrapping_add(self as u64 * 10)
    }
}

/// A network with its initial weights.
pub fn initial_model(settings: &Settings, ends: [usize; 2], device: &Device) -> Mlp {
    let widths = [&ends[..1], &settings.hidden.0, &ends[1..]].concat();
    Mlp::new(&widths, settings.init_scale, Stream::Weights.seed(settings.seed), device)
}

/// Trains `model` on `data`; all measurements go to `history`, also those before an error.
pub fn train(
    settings: &Settings,
    mut model: Mlp,
    data: &Batch,
    history: &mut History,
    cost: &mut Cost,
) -> Result<()> {
    let began = Instant::now();
    let loss = |model: &Mlp, batch: Batch| settings.loss.of(model, batch);
    let mut monitors = Monitors::new(settings, Stream::Measurements.seed(settings.seed), loss);
    let mut order =
        Order::new(settings.samples, settings.batch_size, Stream::Order.seed(settings.seed));
    let mut optimizer = SgdConfig::new().init();
    let mut progress = Progress::new(settings);
    let mut drawn = began;
    for step in 0..=settings.steps {
        let failed = |source| ExampleError::Measurement { step, source };
        if monitors.is_due(step) || step == settings.steps {
            let (measurement, batches) = monitors.measure(step, &model, data).map_err(failed)?;
            history.add(measurement, batches)?;
            progress.measured(history);
            if drawn.elapsed() > BETWEEN_PICTURES {
                picture::save(settings, history)?;
                drawn = Instant::now();
            }
        }
        if step < settings.steps {
            let batch = select(data, order.next_batch());
            if step.is_multiple_of(settings.live_every) {
                let live = monitors.measure_live(step, &model, batch.clone()).map_err(failed)?;
                history.add_live(live)?;
            }
            let loss = loss(&model, batch);
            let value = loss.clone().into_scalar::<f64>();
            if !value.is_finite() {
                return Err(ExampleError::Diverged { step, loss: value, lr: settings.lr });
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(settings.lr, model, gradients);
            progress.stepped(step + 1, value);
        }
        *cost =
            Cost { n_hvps: monitors.n_hvps, measuring: monitors.elapsed, total: began.elapsed() };
    }
    progress.finish();
    Ok(())
}
