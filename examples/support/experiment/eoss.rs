//! The edge of stochastic stability: trainings over step sizes and batch sizes, each measured as it goes.
//!
//! Figures 1, 2 and 18 to 24 of the paper: mini-batch sharpness rises to 2/η and stays between that and twice that, at
//! every batch size, while full-batch sharpness stays below, the lower the smaller the batches.

mod verdicts;

use std::path::Path;

use burn_sharpness::estimator::Estimate;
use burn_sharpness::observe::{History, Measure};
use burn_sharpness::plot::{Chart, Look, Point, Series, rounded};
use burn_sharpness::stability::SgdStabilityConfig;

use super::images::{Architecture, ImageOptions, Images, LossName, check_batch_size};
use super::plateau::{LAST, OF_BLOCKS, level, plateau};
use super::schedule::{Schedule, Stage};
use super::training::Training;
use super::update::Optimizer;
use crate::support::error::{ExampleError, Result};

/// What can be changed.
#[derive(Clone, Debug, clap::Args)]
pub struct EossOptions {
    #[command(flatten)]
    pub images: ImageOptions,

    /// Step sizes η, separated by commas: a run for each of them and each batch size
    #[arg(long, value_name = "ETAS", value_delimiter = ',', allow_negative_numbers = true)]
    pub lr: Option<Vec<f64>>,

    /// Samples per mini-batch, in training and in the measurements, separated by commas
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    pub batch_size: Option<Vec<usize>>,

    /// SGD steps of each run; a run can be given more steps later
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,

    /// What is trained
    #[arg(long, value_enum, default_value = "mse")]
    pub loss: LossName,

    /// Initial weights are normal with standard deviation SCALE·√(2/fan), biases zero. The paper starts where
    /// curvature is low
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub init_scale: Option<f64>,

    /// Steps between measurements
    #[arg(long, value_name = "STEPS")]
    pub measure_every: Option<usize>,

    /// Full-batch sharpness, which costs the most, is measured once in so many measurements
    #[arg(long, value_name = "N")]
    pub full_once_in: Option<usize>,

    /// Steps between measurements of the batch that training is about to use
    #[arg(long, value_name = "STEPS")]
    pub live_every: Option<usize>,

    /// Mini-batches per measurement of mini-batch sharpness; batch sharpness, which is cheaper, takes four
    /// times as many
    #[arg(long, value_name = "N")]
    pub num_batches: Option<usize>,
}

/// Three sizes above zero, separated by commas.
pub fn three_sizes(text: &str) -> Result<[usize; 3], String> {
    let sizes: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let sizes = sizes.ok().and_then(|sizes| <[usize; 3]>::try_from(sizes).ok());
    let sizes = sizes.filter(|sizes| !sizes.contains(&0));
    sizes.ok_or_else(|| "write three whole numbers above 0, for example 8,16,64".into())
}

/// The setting that options change.
#[derive(Clone, Debug)]
pub struct Preset {
    pub architecture: Architecture,
    pub lrs: Vec<f64>,
    pub batch_sizes: Vec<usize>,
    pub steps: usize,
    pub init_scale: f64,
    pub every: usize,
    /// Full-batch sharpness is measured once in so many measurements.
    pub full_once_in: usize,
    /// Steps between measurements of λ_max of the training batch.
    pub live_every: usize,
    pub num_batches: usize,
}

/// A run that came to its end.
struct Panel {
    stage: Stage,
    history: History,
    seconds: f64,
}

impl EossOptions {
    fn applied_to(&self, preset: Preset) -> Result<Preset> {
        let preset = Preset {
            lrs: self.lr.clone().unwrap_or(preset.lrs),
            batch_sizes: self.batch_size.clone().unwrap_or(preset.batch_sizes),
            steps: self.steps.unwrap_or(preset.steps),
            init_scale: self.init_scale.unwrap_or(preset.init_scale),
            every: self.measure_every.unwrap_or(preset.every),
            full_once_in: self.full_once_in.unwrap_or(preset.full_once_in),
            live_every: self.live_every.unwrap_or(preset.live_every),
            num_batches: self.num_batches.unwrap_or(preset.num_batches),
            architecture: preset.architecture,
        };
        let counts = [
            ("steps", preset.steps),
            ("measure-every", preset.every),
            ("full-once-in", preset.full_once_in),
            ("num-batches", preset.num_batches),
        ];
        for (option, value) in counts {
            if value == 0 {
                let (value, expected) = ("0".to_string(), "at least 1");
                return Err(ExampleError::Option { option, value, expected });
            }
        }
        let rates = preset.lrs.iter().map(|lr| ("lr", *lr));
        for (option, value) in rates.chain([("init-scale", preset.init_scale)]) {
            if !(value.is_finite() && value > 0.0) {
                let (value, expected) = (value.to_string(), "a number above 0");
                return Err(ExampleError::Option { option, value, expected });
            }
        }
        Ok(preset)
    }
}

/// Trains every panel, and says what was seen.
pub fn run(name: &str, options: &EossOptions, preset: Preset) -> Result<()> {
    let preset = options.applied_to(preset)?;
    let device = options.images.device.open()?.autodiff();
    let data = options.images.data(&preset.architecture, &device)?;
    preset.batch_sizes.iter().try_for_each(|b| check_batch_size("batch-size", *b, data.n))?;
    let folder = options.images.folder(name);
    println!("data:    {}", data.description);
    println!("network: {}", preset.architecture.describe());
    let (mut panels, mut diverged) = (Vec::new(), Vec::new());
    for &lr in &preset.lrs {
        for &batch_size in &preset.batch_sizes {
            let stage = Stage { steps: preset.steps, lr, batch_size };
            let path = folder.join(format!("lr{lr}_b{batch_size}"));
            match train(options, &preset, &data, stage, &path) {
                Ok(panel) => panels.push(panel),
                // A result too, and the others are worth having.
                Err(error @ ExampleError::Diverged { .. }) => {
                    println!("{error}");
                    diverged.push(stage);
                }
                Err(error) => return Err(error),
            }
        }
    }
    if !panels.is_empty() {
        print_table(&panels);
        draw(&panels, &preset.architecture, &data, &folder)?;
        println!("A picture of each run: {}/*/training.svg", folder.display());
    }
    verdicts::of(&panels, &diverged, data.n).finish(&folder)
}

fn train(
    options: &EossOptions,
    preset: &Preset,
    data: &Images,
    stage: Stage,
    path: &Path,
) -> Result<Panel> {
    let every = preset.every;
    let schedule = Schedule {
        stages: vec![stage],
        every,
        full_every: every * preset.full_once_in,
        live_every: preset.live_every,
        num_batches: preset.num_batches,
        memory_mib: 64,
    };
    let training = Training {
        architecture: preset.architecture.clone(),
        loss: options.loss,
        init_scale: preset.init_scale,
        optimizer: Optimizer::Sgd,
        schedule,
    };
    let done = training.run(&options.images, data, path)?;
    Ok(Panel { stage, history: done.history, seconds: done.seconds })
}

impl Panel {
    /// The plateau of a quantity in units of 2/η.
    fn ratio(&self, measure: Measure) -> Option<Estimate> {
        let level = plateau(&self.history, &measure)?;
        SgdStabilityConfig::new(self.stage.lr).init().ok()?.ratio_of(&level).ok()
    }

    /// The level over the last fifth of the steps over that of the fifth before.
    fn drift(&self, measure: Measure) -> Option<f64> {
        let steps = self.stage.steps as f64;
        let part = |from: f64| {
            let [from, to] = [from, from + LAST].map(|part| (part * steps) as usize);
            level(&self.history, &measure, from, to).map(|level| level.mean)
        };
        Some(part(1.0 - LAST)? / part(1.0 - 2.0 * LAST)?)
    }
}

fn words(ratio: &Estimate) -> String {
    match ratio.standard_error {
        error if error.is_finite() => format!("{:.3} ± {error:.3}", ratio.mean),
        _ => format!("{:.3}", ratio.mean), // a single row
    }
}

const ALL: [(Measure, &str); 4] = [
    (Measure::MiniBatchSharpness, "mini-batch λmax"),
    (Measure::LiveSharpness, "live batch λmax"),
    (Measure::BatchSharpness, "batch sharpness"),
    (Measure::FullBatchSharpness, "full-batch λmax"),
];

fn print_table(panels: &[Panel]) {
    println!("\nMeans over the last fifth of the steps, in units of 2/η:");
    print!("{:>8}{:>7}{:>8}", "η", "b", "2/η");
    ALL.iter().for_each(|(_, name)| print!("{name:>18}"));
    println!("{:>10}{:>8}", "loss", "time");
    for panel in panels {
        let Stage { lr, batch_size, .. } = panel.stage;
        print!("{lr:>8}{batch_size:>7}{:>8}", rounded(2.0 / lr));
        for (measure, _) in ALL {
            let text = panel
                .ratio(measure)
                .map_or("-".to_string(), |r| format!("{:.3} ± {:.3}", r.mean, r.standard_error));
            print!("{text:>18}");
        }
        let loss = panel.history.rows().iter().rev().find_map(|row| row.loss);
        println!("{:>10}{:>7.0}s", loss.map_or("-".into(), |l| format!("{l:.1e}")), panel.seconds);
    }
    println!("±: standard error {OF_BLOCKS}.");
    println!("Inside a range, below, is inside to two standard errors, 0.1 at most.");
}

/// Where everything settled, over batch sizes.
fn draw(panels: &[Panel], architecture: &Architecture, data: &Images, folder: &Path) -> Result<()> {
    let mut series = Vec::new();
    for (style, (measure, name)) in ALL.into_iter().enumerate() {
        let points: Vec<Point> = panels
            .iter()
            .filter_map(|panel| {
                let ratio = panel.ratio(measure.clone())?;
                let half = if ratio.standard_error.is_finite() {
                    1.96 * ratio.standard_error
                } else {
                    0.0
                };
                let interval = Some((ratio.mean - half, ratio.mean + half));
                let x = panel.stage.batch_size as f64;
                Some(Point { x, y: ratio.mean, interval, name: String::new() })
            })
            .collect();
        if !points.is_empty() {
            series.push(Series { label: name.into(), style, look: Look::Points, points });
        }
    }
    let sizes = panels.iter().map(|panel| panel.stage.batch_size as f64);
    let (low, high) = (sizes.clone().fold(f64::MAX, f64::min), sizes.fold(0.0, f64::max));
    for (level, name) in [(1.0, "2/η"), (2.0, "2·2/η")] {
        series.push(Series::curve(name, 0, Look::Reference, &[(low, level), (high, level)]));
    }
    let chart = Chart {
        title: format!("{}, {}: where training settles", data.name(), architecture.describe()),
        x_name: "batch size b".into(),
        y_name: "sharpness / (2/η)".into(),
        is_logarithmic: true,
        series,
    };
    chart.picture()?.save(folder, "levels")?;
    Ok(())
}
