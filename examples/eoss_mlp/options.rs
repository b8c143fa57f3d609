//! The command line, and the settings that follow from it.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::support::device::DeviceName;
use crate::support::error::{ExampleError, Result};

/// Train an MLP by plain SGD and watch its sharpness settle at the edge of stochastic stability.
///
/// While a network is trained with step size η, the curvature of its loss rises ("progressive
/// sharpening") until mini-batch sharpness, the mean over mini-batches of the largest eigenvalue of
/// the mini-batch Hessian, is at or just above 2/η, and stays there; full-batch sharpness stays
/// below (arXiv 2412.20553). Without options this takes about a minute on the built-in digits.
///
/// Everything random follows from --seed. Measuring does not change the training.
#[derive(Parser, Debug)]
#[command(name = "eoss_mlp")]
pub struct Options {
    /// Data set: `digits` is built in; `cifar10` needs --path and changes the defaults below to
    /// the setting of the paper
    #[arg(long, value_enum, default_value = "digits")]
    data: DataName,

    /// For cifar10: a folder with files of the CIFAR-10 binary version, or one such file. Of a
    /// folder, the files whose names end in .bin and do not contain `test` are read in the order of
    /// their names
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,

    /// Number of training samples, the first of the data set [default: 1797; cifar10: 8192]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,

    /// Samples per mini-batch, in training and in the measurements [default: 8; cifar10: 16]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Step size η, constant [default: 0.125; cifar10: 0.01]
    #[arg(long, value_name = "ETA", allow_negative_numbers = true)]
    lr: Option<f64>,

    /// Number of SGD steps
    #[arg(long, value_name = "N", default_value_t = 30_000)]
    steps: usize,

    /// `mse`: mean over samples of the sum over classes of squared differences to the one-hot label
    /// (no factor 1/2); `ce`: mean over samples of the cross-entropy
    #[arg(long, value_enum, default_value = "mse")]
    loss: LossName,

    /// Widths of the hidden layers, separated by commas [default: 128,128; cifar10: 512,512]
    #[arg(long, value_name = "WIDTHS", value_parser = parse_widths)]
    hidden: Option<Widths>,

    /// Initial weights are normal with standard deviation SCALE·√(2/inputs), biases zero. The paper
    /// starts its MLP at 0.2, where curvature is low [default: 0.2]
    #[arg(
        long,
        value_name = "SCALE",
        default_value_t = 0.2,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    init_scale: f64,

    /// Seed of the initial weights, of the order of the samples, and of the batches that are measured
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Steps between measurements [default: 200; cifar10: 1000]
    #[arg(long, value_name = "STEPS")]
    measure_every: Option<usize>,

    /// Mini-batches per measurement of mini-batch sharpness; batch sharpness, which is cheaper, uses
    /// twice as many [default: 32; cifar10: 8]
    #[arg(long, value_name = "N")]
    num_batches: Option<usize>,

    /// Steps between measurements of the batch that training is about to use ("live batch")
    /// [default: 25; cifar10: 100]
    #[arg(long, value_name = "STEPS")]
    live_every: Option<usize>,

    /// Where to compute. All but flex need the feature of the same name:
    /// `cargo run --release --features wgpu --example eoss_mlp -- --device wgpu`
    #[arg(long, value_enum, default_value = "flex")]
    device: DeviceName,

    /// Folder for settings.json, measurements.csv, batches.csv, live.csv, sharpness.svg and
    /// sharpness.png; those of an earlier run are replaced [default: out/eoss_mlp]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DataName {
    Digits,
    Cifar10,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LossName {
    Mse,
    Ce,
}

/// A list of layer widths; a type of its own, because clap takes a `Vec` for a repeated option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Widths(pub Vec<usize>);

/// What a run does, complete: with it, seed included, the run can be repeated.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub data: DataName,
    pub path: Option<PathBuf>,
    pub samples: usize,
    pub batch_size: usize,
    pub lr: f64,
    pub steps: usize,
    pub loss: LossName,
    pub hidden: Widths,
    pub init_scale: f64,
    pub seed: u64,
    pub measure_every: usize,
    pub num_batches: usize,
    pub live_every: usize,
    #[serde(serialize_with = "device_name")]
    pub device: DeviceName,
    #[serde(skip)]
    pub out: PathBuf,
}

impl Options {
    /// Fills in what was not given, and checks everything that can be checked without the data.
    pub fn settings(self) -> Result<Settings> {
        let paper = self.data == DataName::Cifar10;
        // Each default: for the digits, for CIFAR-10.
        let count = |given: Option<usize>, digits, cifar10| {
            given.unwrap_or(if paper { cifar10 } else { digits })
        };
        let width = if paper { 512 } else { 128 };
        let settings = Settings {
            data: self.data,
            path: self.path,
            samples: count(self.samples, 1797, 8192),
            batch_size: count(self.batch_size, 8, 16),
            lr: self.lr.unwrap_or(if paper { 0.01 } else { 0.125 }),
            steps: self.steps,
            loss: self.loss,
            hidden: self.hidden.unwrap_or(Widths(vec![width, width])),
            init_scale: self.init_scale,
            seed: self.seed,
            measure_every: count(self.measure_every, 200, 1000),
            num_batches: count(self.num_batches, 32, 8),
            live_every: count(self.live_every, 25, 100),
            device: self.device,
            out: self.out.unwrap_or_else(|| PathBuf::from("out/eoss_mlp")),
        };
        settings.check()?;
        Ok(settings)
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        let counts = [
            ("samples", self.samples),
            ("steps", self.steps),
            ("measure-every", self.measure_every),
            ("num-batches", self.num_batches),
            ("live-every", self.live_every),
        ];
        for (option, value) in counts {
            if value == 0 {
                let (value, expected) = ("0".to_string(), "at least 1");
                return Err(ExampleError::Option { option, value, expected });
            }
        }
        for (option, value) in [("lr", self.lr), ("init-scale", self.init_scale)] {
            if !(value.is_finite() && value > 0.0) {
                let (value, expected) = (value.to_string(), "a number above 0");
                return Err(ExampleError::Option { option, value, expected });
            }
        }
        let (batch_size, samples) = (self.batch_size, self.samples);
        if batch_size == 0 || batch_size > samples {
            return Err(ExampleError::BatchSize { batch_size, samples });
        }
        if self.data == DataName::Cifar10 && self.path.is_none() {
            return Err(ExampleError::NoPath);
        }
        Ok(())
    }

    /// 2/η, where full-batch gradient descent on a quadratic becomes unstable.
    pub fn threshold(&self) -> f64 {
        2.0 / self.lr
    }
}

fn parse_widths(text: &str) -> Result<Widths> {
    let width = |part: &str| match part.trim().parse() {
        Ok(width) if width > 0 => Ok(width),
        _ => Err(ExampleError::HiddenWidths { part: part.to_string() }),
    };
    Ok(Widths(text.split(',').map(width).collect::<Result<_>>()?))
}

fn device_name<S: serde::Serializer>(device: &DeviceName, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(device.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings> {
        Options::try_parse_from([&["eoss_mlp"], arguments].concat()).unwrap().settings()
    }

    #[test]
    fn help_and_options_are_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn cifar10_means_the_setting_of_the_paper() {
        let settings = settings(&["--data", "cifar10", "--path", "somewhere"]).unwrap();
        assert_eq!(settings.hidden.0, [512, 512]);
        assert_eq!((settings.samples, settings.batch_size, settings.lr), (8192, 16, 0.01));
    }

    #[test]
    fn impossible_settings_are_refused() {
        let refused = |arguments: &[&str]| settings(arguments).unwrap_err().to_string();
        assert!(refused(&["--batch-size", "0"]).contains("from 1 to 1797"));
        assert!(refused(&["--batch-size", "33", "--samples", "32"]).contains("from 1 to 32"));
        assert!(refused(&["--lr", "0"]).contains("above 0"));
        assert!(refused(&["--lr", "NaN"]).contains("above 0"));
        assert!(refused(&["--measure-every", "0"]).contains("at least 1"));
        assert!(refused(&["--data", "cifar10"]).contains("--path"));
    }

    #[test]
    fn widths_are_whole_numbers_above_zero() {
        assert_eq!(parse_widths("512, 256").unwrap().0, [512, 256]);
        for bad in ["", "512,", "512,0", "a", "-1", "1.5"] {
            assert!(parse_widths(bad).is_err(), "{bad}");
        }
    }
}
