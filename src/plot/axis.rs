//! Axes: from values to shares of a length, and where their numbers stand.

use super::number::{plain, rounded, scientific};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
    /// Linear in whole numbers.
    Steps,
}

/// A range of values on a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub scale: Scale,
    pub low: f64,
    pub high: f64,
}

/// Values beyond are drawn as if they were this: differences and ratios stay numbers.
const LARGEST: f64 = 1e150;

/// Multiples of powers of ten that are easy to read.
const NICE: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

impl Axis {
    /// From the smaller to the larger value; a range around them where they are equal.
    pub fn linear(low: f64, high: f64) -> Self {
        let [low, high] = [low.min(high), low.max(high)].map(|end| end.clamp(-LARGEST, LARGEST));
        // What is less than a rounding of its ends has no inside.
        let least = 1e-9 * low.abs().max(high.abs()).max(1e-300);
        if high - low > least {
            return Self { scale: Scale::Linear, low, high };
        }
        let half = if low == 0.0 && high == 0.0 { 1.0 } else { 0.1 * low.abs().max(high.abs()) };
        Self { scale: Scale::Linear, low: low - half, high: high + half }
    }

    /// Between positive values, with some room.
    pub fn log(low: f64, high: f64) -> Self {
        let [low, high] = [low, high].map(|end| end.clamp(1.0 / LARGEST, LARGEST));
        let margin = (high / low).powf(0.06).clamp(1.15, 10.0);
        Self { scale: Scale::Log, low: low / margin, high: high * margin }
    }

    /// From the first to the last training step; from zero where that is near.
    pub fn steps(first: usize, last: usize) -> Self {
        let (first, last) = (first as f64, last as f64);
        let (low, high) = match last - first {
            0.0 => ((first - 1.0).max(0.0), last + 1.0),
            span if first < 0.15 * span => (0.0, last),
            _ => (first, last),
        };
        Self { scale: Scale::Steps, low, high }
    }

    /// Where a value is, 0 at `low` and 1 at `high`.
    pub fn share(&self, value: f64) -> f64 {
        let value = value.clamp(-LARGEST, LARGEST);
        match self.scale {
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
            _ => (value - self.low) / (self.high - self.low),
        }
    }

    /// The value of a share.
    pub fn value(&self, share: f64) -> f64 {
        match self.scale {
            Scale::Log => self.low * (self.high / self.low).powf(share),
            _ => self.low + share * (self.high - self.low),
        }
    }

    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Values with their numbers on a vertical axis of this height.
    pub fn ticks_up(&self, height: f64) -> Vec<(f64, String)> {
        let room = if self.scale == Scale::Log { 30.0 } else { 42.0 };
        self.ticks((height / room).max(4.0) as usize)
    }

    /// Values with their numbers, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Log => self.log_ticks(count),
            _ => self.linear_ticks(count),
        }
    }

    fn linear_ticks(&self, count: usize) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let mut step = NICE.map(|n| n * power).into_iter().find(|s| *s >= 0.999 * rough);
        if self.scale == Scale::Steps {
            step = step.map(|step| step.max(1.0).round());
        }
        let Some(step) = step.filter(|step| step.is_finite()) else { return Vec::new() };
        let first = (self.low / step - 1e-6).ceil();
        let values = (0..=count + 1).map(|i| (first + i as f64) * step);
        let end = self.high + 1e-6 * step;
        values.take_while(|v| *v <= end).map(|v| (v, self.linear_label(v, step))).collect()
    }

    fn linear_label(&self, value: f64, step: f64) -> String {
        let largest = self.low.abs().max(self.high.abs());
        let power = |v: f64| v.log10().floor() as i32;
        if self.scale == Scale::Steps && largest < 1e9 {
            return plain(value);
        }
        if value.abs() < 1e-6 * step {
            return "0".into();
        }
        if largest >= 1e6 || largest < 1e-3 {
            let digits = (power(value.abs()) - power(step)).clamp(0, 15);
            return scientific(value, digits as usize);
        }
        format!("{value:.*}", (-power(step * 1.000_001)).clamp(0, 15) as usize)
    }

    /// Powers of ten, every other where there are many, 2 and 5 between where there are few.
    fn log_ticks(&self, count: usize) -> Vec<(f64, String)> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let decades = (self.high / self.low).log10();
        let stride = (decades / count.max(1) as f64).ceil().max(1.0) as usize;
        let between: &[f64] = if decades < 0.35 * count as f64 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (first..=last).filter(|power| power.rem_euclid(stride as i32) == 0);
        // Of decimal text: powers of ten that are exact to the last digit.
        let value = |power: i32, n: f64| format!("{n}e{power}").parse().unwrap_or(f64::NAN);
        let values: Vec<f64> =
            powers.flat_map(|power| between.iter().map(move |n| value(power, *n))).collect();
        let inside: Vec<f64> = values.into_iter().filter(|v| self.contains(*v)).collect();
        if inside.len() < 2 {
            return Self { scale: Scale::Linear, ..*self }.linear_ticks(count.min(5));
        }
        let label = |v: f64| if (1e-3..1e5).contains(&v) { rounded(v) } else { scientific(v, 1) };
        inside.into_iter().map(|v| (v, label(v))).collect()
    }

    /// Values between those with numbers, for finer marks: of a logarithmic axis over few decades.
    pub fn fine_ticks(&self) -> Vec<f64> {
        if self.scale != Scale::Log || self.high / self.low > 1e5 {
            return Vec::new();
        }
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let values =
            (first..=last).flat_map(|p| (1..10).map(move |n| f64::from(n) * 10f64.powi(p)));
        values.filter(|v| self.contains(*v)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, count: usize) -> Vec<String> {
        axis.ticks(count).into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers_inside() {
        assert_eq!(labels(Axis::linear(0.0, 30.0), 7), ["0", "5", "10", "15", "20", "25", "30"]);
        assert_eq!(labels(Axis::linear(-0.35, 0.3), 6), ["-0.2", "0", "0.2"]);
        assert_eq!(labels(Axis::linear(0.0, 2e-5), 4), ["0", "5e-6", "1e-5", "1.5e-5", "2e-5"]);
        assert_eq!(labels(Axis::linear(1e7, 3e7), 2), ["1e7", "2e7", "3e7"]);
        assert_eq!(labels(Axis::linear(0.0, 0.1), 4), ["0", "0.05", "0.10"]);
    }

    #[test]
    fn steps_are_whole() {
        assert_eq!(labels(Axis::steps(0, 2), 9), ["0", "1", "2"]);
        assert_eq!(labels(Axis::steps(7, 7), 9), ["6", "7", "8"]);
        assert_eq!(labels(Axis::steps(0, 0), 9), ["0", "1"]);
        assert_eq!(labels(Axis::steps(100, 30_000), 3), ["0", "10000", "20000", "30000"]);
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten_or_what_lies_between() {
        let axis = |low, high| Axis { scale: Scale::Log, low, high };
        assert_eq!(labels(axis(1e-3, 1.0), 4), ["0.001", "0.01", "0.1", "1"]);
        assert_eq!(labels(axis(0.9, 30.0), 8), ["1", "2", "5", "10", "20"]);
        assert_eq!(labels(axis(1e-12, 1e3), 4), ["1e-12", "1e-8", "1e-4", "1"]);
        assert_eq!(labels(axis(6.1, 7.9), 4), ["6.5", "7.0", "7.5"]);
        assert_eq!(axis(1.0, 10.0).fine_ticks().len(), 10);
    }

    #[test]
    fn shares_and_values_are_inverse() {
        for axis in [Axis::linear(-3.0, 5.0), Axis::log(1e-4, 20.0), Axis::steps(3, 90)] {
            for share in [0.0, 0.3, 1.0] {
                assert!((axis.share(axis.value(share)) - share).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn ranges_without_width_get_one() {
        for value in [0.0, 3.0, -2.0, 1e-250, 1e140] {
            let axis = Axis::linear(value, value);
            assert!(axis.low < value && value < axis.high, "{axis:?}");
            assert!(axis.ticks(5).len() >= 2, "{axis:?}");
        }
        assert!(Axis::linear(0.0, f64::MAX).ticks(5).len() > 1);
        assert!(Axis::linear(-f64::MAX, f64::MAX).ticks(5).len() > 1);
        assert_eq!(Axis::linear(0.0, f64::MAX).share(f64::MAX), 1.0);
    }
}
