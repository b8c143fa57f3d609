//! Rows as events of `tracing`, measurements as spans.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use burn_sharpness::observe::{Measure, TracingEvents, TrainingStep};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::monitor::config;
use crate::training::{ETA, Training, data, loss};

/// What happened, one line each: the name of a span or the level of an event, and its fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("burn_sharpness")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().into());
        span.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_measurement_is_a_span_and_its_row_events() {
    let (log, training) = (Log::default(), Training::new());
    let measures = vec![Measure::BatchSharpness];
    let monitor = config().with_measures(measures).init(loss).unwrap();
    let mut monitor = monitor.with_sink(TracingEvents);
    tracing::subscriber::with_default(log.clone(), || {
        for step in 0..11 {
            let at = TrainingStep::new(step).with_learning_rate(ETA);
            monitor.observe(at, &training.net, &data()).unwrap();
        }
    });
    let log = log.0.lock().unwrap();
    let of = |start: &str| log.iter().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    assert_eq!(of("measure_sharpness"), ["measure_sharpness step=0", "measure_sharpness step=10"]);
    let events = of("INFO");
    assert_eq!(events.len(), 4, "{events:?}"); // a quantity and a row, twice
    assert!(events[0].contains("measure=batch_sharpness"), "{}", events[0]);
    let mean = monitor.history().rows()[0].mean(&Measure::BatchSharpness).unwrap();
    assert!(events[0].contains(&format!("mean={mean:?}")), "{}", events[0]);
    assert!(events[1].contains("threshold=40.0"), "{}", events[1]);
}
