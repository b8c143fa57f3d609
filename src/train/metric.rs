//! Measured quantities as numeric metrics of burn.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn_train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry, format_float,
};

use super::SharpnessInput;
use crate::observe::{Measure, Row};

/// A quantity of a [`Monitored`](super::Monitored) model in burn's dashboard and metric files, and as a
/// criterion for checkpoints and early stopping.
///
/// Register it for the training split: `.metric_train_numeric(SharpnessMetric::ratio())`. A step without a
/// measurement of the quantity has no value and no line in the metric file. The value of an epoch is the
/// mean over its measurements; an epoch without one has none, and burn's criteria look no further than to the
/// first such epoch, so measure at least once in each.
#[derive(Clone, Debug)]
pub struct SharpnessMetric {
    name: MetricName,
    quantity: Quantity,
    /// Sum and number of this epoch's measurements.
    sum: f64,
    count: usize,
    /// The value of this step.
    current: Option<f64>,
    /// The last value of any step.
    last: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Quantity {
    Ratio,
    Overhead,
    Of(Measure),
}

const DIGITS: usize = 3;

impl SharpnessMetric {
    /// The watched quantity over its threshold: 1 is the edge of stability. `Sharpness_Ratio.log`.
    pub fn ratio() -> Self {
        Self::new("Sharpness Ratio".into(), Quantity::Ratio)
    }

    /// Time of all measurements so far over the time of training without them, in percent.
    /// `Sharpness_Cost.log`; the value of an epoch is the last one.
    pub fn overhead() -> Self {
        Self::new("Sharpness Cost".into(), Quantity::Overhead)
    }

    /// A measured quantity: its mean over batches. The file has the name of the metric, for example
    /// `Batch_Sharpness.log`.
    pub fn of(measure: Measure) -> Self {
        Self::new(title(&measure), Quantity::Of(measure))
    }

    fn new(name: String, quantity: Quantity) -> Self {
        let (sum, count, current, last) = (0.0, 0, None, None);
        Self { name: Arc::new(name), quantity, sum, count, current, last }
    }

    fn read(&self, row: &Row) -> Option<f64> {
        match &self.quantity {
            Quantity::Ratio => row.ratio(),
            Quantity::Overhead => row.cost.overhead.map(|overhead| 100.0 * overhead),
            Quantity::Of(measure) => row.mean(measure),
        }
    }

    fn unit(&self) -> Option<&'static str> {
        (self.quantity == Quantity::Overhead).then_some("%")
    }

    /// The value of this epoch so far.
    fn of_epoch(&self) -> Option<f64> {
        match self.quantity {
            _ if self.count == 0 => None,
            Quantity::Overhead => self.last,
            _ => Some(self.sum / self.count as f64),
        }
    }

    /// The text shows the last value, `value` is what files get.
    fn entry(&self, value: Option<NumericEntry>) -> SerializedEntry {
        let number = |value: Option<f64>| match (value, self.unit()) {
            (None, _) => SerializedEntry::NOT_AVAILABLE.to_string(),
            (Some(value), None) => text(value),
            (Some(value), Some(unit)) => text(value) + " " + unit,
        };
        let formatted = format!("epoch {} - last {}", number(self.of_epoch()), number(self.last));
        let absent = || SerializedEntry::NOT_AVAILABLE.to_string();
        SerializedEntry::new(formatted, value.map_or_else(absent, |value| value.serialize()))
    }
}

impl Metric for SharpnessMetric {
    type Input = SharpnessInput;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn description(&self) -> Option<String> {
        Some(match &self.quantity {
            Quantity::Ratio => "watched sharpness over its threshold; 1 is the edge".into(),
            Quantity::Overhead => "time of measurements over time of training".into(),
            Quantity::Of(measure) => measure.label(),
        })
    }

    fn attributes(&self) -> MetricAttributes {
        let unit = self.unit().map(Into::into);
        NumericAttributes { unit, higher_is_better: false }.into()
    }

    fn update(
        &mut self,
        item: &SharpnessInput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.current = item.row.as_ref().and_then(|row| self.read(row));
        if let Some(value) = self.current {
            self.sum += value;
            self.count += 1;
            self.last = Some(value);
        }
        Ok(self.entry(self.value()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(self.of_epoch().map(NumericEntry::Final)))
    }

    fn clear(&mut self) {
        (self.sum, self.count, self.current) = (0.0, 0, None);
    }
}

impl Numeric for SharpnessMetric {
    fn value(&self) -> Option<NumericEntry> {
        self.current.map(NumericEntry::Value)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        let aggregated_value = self.of_epoch()?;
        Some(NumericEntry::Aggregated { aggregated_value, count: self.count })
    }

    fn final_value(&self) -> NumericEntry {
        // burn asks even if there is none, and only shows it.
        NumericEntry::Final(self.of_epoch().or(self.last).unwrap_or(f64::NAN))
    }
}

/// The name among burn's metrics, and of the file.
fn title(measure: &Measure) -> String {
    let title = match measure {
        Measure::MiniBatchSharpness => "Mini-batch Sharpness".into(),
        Measure::FullBatchSharpness => "Full-batch Sharpness".into(),
        Measure::BatchSharpness => "Batch Sharpness".into(),
        Measure::LiveSharpness => "Live Sharpness".into(),
        Measure::StepSharpness => "Step Sharpness".into(),
        Measure::Group(path) => format!("Sharpness of {path}"),
        Measure::Gap(batch_size) => format!("Sharpness Gap at {batch_size}"),
        Measure::Custom(name) => name.clone(),
    };
    title.replace(['/', '\\'], "-")
}

fn text(value: f64) -> String {
    // burn writes every negative number with an exponent.
    if value < 0.0 {
        return format!("-{}", format_float(-value, DIGITS));
    }
    format_float(value, DIGITS)
}
