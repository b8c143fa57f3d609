//! What was measured: in memory for the table and the picture, and in files as it comes, so that a
//! run that is stopped or fails keeps it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::options::Settings;
use crate::support::error::{ExampleError, Result};

/// One row of measurements.csv: everything at the weights before step `step`.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub step: usize,
    /// Over all samples.
    pub loss: f64,
    pub minibatch_sharpness: f64,
    pub minibatch_standard_error: f64,
    pub minibatch_max: f64,
    pub minibatch_unconverged: usize,
    pub fullbatch_sharpness: f64,
    pub fullbatch_residual_norm: f64,
    pub fullbatch_converged: bool,
    pub batch_sharpness: f64,
    pub batch_sharpness_standard_error: f64,
    /// Of the live batches before this step; none before the first.
    pub live_moving_average: Option<f64>,
    pub hvps: usize,
    pub seconds: f64,
}

/// One row of batches.csv: λ_max of one mini-batch of a measurement.
#[derive(Clone, Debug, Serialize)]
pub struct SingleBatch {
    pub step: usize,
    /// With this number and the seed, `draw_batches` gives the samples of the batch again.
    pub draw: u64,
    pub batch: usize,
    pub lambda_max: f64,
    pub residual_norm: f64,
}

/// One row of live.csv: the batch that training used at `step`, at the weights before it.
#[derive(Clone, Debug, Serialize)]
pub struct LiveRow {
    pub step: usize,
    pub loss: f64,
    pub lambda_max: f64,
    pub residual_norm: f64,
    /// Mean of `lambda_max` over the last steps, as many as the settings' `live_window`.
    pub moving_average: f64,
}

/// Everything measured so far.
pub struct History {
    pub measurements: Vec<Measurement>,
    pub batches: Vec<SingleBatch>,
    pub live: Vec<LiveRow>,
    live_window: usize,
    files: Files,
}

struct Files {
    measurements: CsvFile,
    batches: CsvFile,
    live: CsvFile,
}

impl History {
    /// Makes the output folder, writes settings.json and starts the CSV files.
    pub fn start(settings: &Settings, data: &str, n_params: usize) -> Result<Self> {
        let folder = &settings.out;
        fs::create_dir_all(folder).map_err(|e| ExampleError::write(folder, e))?;
        let live_window = live_window(settings);
        write_settings(&folder.join("settings.json"), settings, data, n_params, live_window)?;
        let files = Files {
            measurements: CsvFile::create(folder.join("measurements.csv"))?,
            batches: CsvFile::create(folder.join("batches.csv"))?,
            live: CsvFile::create(folder.join("live.csv"))?,
        };
        let (measurements, batches, live) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { measurements, batches, live, live_window, files })
    }

    /// Adds a measurement and its batches, to memory and to the files.
    pub fn add(&mut self, measurement: Measurement, batches: Vec<SingleBatch>) -> Result<()> {
        let live_moving_average = self.live.last().map(|l| l.moving_average);
        let measurement = Measurement { live_moving_average, ..measurement };
        self.files.batches.append(&batches)?;
        self.files.measurements.append(std::slice::from_ref(&measurement))?;
        self.batches.extend(batches);
        self.measurements.push(measurement);
        Ok(())
    }

    /// Adds a live batch, with the moving average that it completes.
    pub fn add_live(&mut self, mut row: LiveRow) -> Result<()> {
        let recent = self.live.iter().rev().take_while(|l| l.step + self.live_window > row.step);
        let (sum, count) = recent.fold((row.lambda_max, 1), |(s, n), l| (s + l.lambda_max, n + 1));
        row.moving_average = sum / f64::from(count);
        self.files.live.append(std::slice::from_ref(&row))?;
        self.live.push(row);
        Ok(())
    }
}

/// Steps of the live batches' moving average: √b epochs, as in the code that came with the paper's
/// first versions, but at most a tenth of the run, for the average lags behind by half of it.
fn live_window(settings: &Settings) -> usize {
    let Settings { samples, batch_size, steps, live_every, .. } = *settings;
    let epochs = samples / batch_size * batch_size.isqrt();
    epochs.min(steps / 10).max(live_every)
}

fn write_settings(
    path: &Path,
    settings: &Settings,
    data: &str,
    n_params: usize,
    live_window: usize,
) -> Result<()> {
    #[derive(Serialize)]
    struct Complete<'a> {
        version: &'static str,
        #[serde(flatten)]
        settings: &'a Settings,
        live_window: usize,
        two_over_eta: f64,
        n_params: usize,
        data_description: &'a str,
        loss_description: &'static str,
    }
    let complete = Complete {
        version: env!("CARGO_PKG_VERSION"),
        settings,
        live_window,
        two_over_eta: settings.threshold(),
        n_params,
        data_description: data,
        loss_description: settings.loss.description(),
    };
    let text = serde_json::to_string_pretty(&complete).map_err(|e| ExampleError::write(path, e))?;
    fs::write(path, text + "\n").map_err(|e| ExampleError::write(path, e))
}

/// A CSV file that is complete after each `append`.
struct CsvFile {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl CsvFile {
    fn create(path: PathBuf) -> Result<Self> {
        let writer = csv::Writer::from_path(&path).map_err(|e| ExampleError::write(&path, e))?;
        Ok(Self { path, writer })
    }

    fn append<T: Serialize>(&mut self, rows: &[T]) -> Result<()> {
        let Self { path, writer } = self;
        let written = rows.iter().try_for_each(|row| writer.serialize(row));
        written.map_err(|e| ExampleError::write(path, e))?;
        writer.flush().map_err(|e| ExampleError::write(path, e))
    }
}
