//! What can go wrong in an example. Every message ends in what to do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Result of everything that can fail in an example.
pub type Result<T, E = ExampleError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum ExampleError {
    #[error(
        "--data cifar10 needs --path: give the folder that holds data_batch_1.bin ... of the \
         CIFAR-10 binary version, or one such file"
    )]
    NoPath,

    #[error(
        "`{}` does not exist; give --path the folder that holds data_batch_1.bin ... of the \
         CIFAR-10 binary version, or one such file",
        .path.display()
    )]
    PathNotFound { path: PathBuf },

    #[error(
        "the folder `{}` holds no training file: expected names that end in .bin and do not \
         contain `test`; check --path",
        .path.display()
    )]
    NoTrainingFile { path: PathBuf },

    #[error(
        "`{}` has {bytes} bytes, not a positive multiple of 3073 (one label and 3072 pixels per \
         image): it is cut off or not of the CIFAR-10 binary version; fetch the file again",
        .path.display()
    )]
    TruncatedFile { path: PathBuf, bytes: usize },

    #[error(
        "record {record} of `{}` has the label {label}, expected 0 to 9; check that the file is of \
         the CIFAR-10 (not CIFAR-100) binary version",
        .path.display()
    )]
    BadLabel { path: PathBuf, record: usize, label: u8 },

    #[error(
        "line {line} of the digits is malformed: {problem}; expected 64 pixels from 0 to 16 and a \
         class from 0 to 9, separated by commas: restore examples/support/digits.csv"
    )]
    BadDigit { line: usize, problem: String },

    #[error("{asked} samples were asked for, the data holds {found}; run with `--samples {found}`")]
    TooFewSamples { asked: usize, found: usize },

    #[error(
        "--{option} asks for batches of {batch_size} with {samples} samples; choose from 1 to {samples}"
    )]
    BatchSize { option: &'static str, batch_size: usize, samples: usize },

    #[error("--{option} is {value}; it must be {expected}")]
    Option { option: &'static str, value: String, expected: &'static str },

    #[error(
        "`{part}` is no layer width; write whole numbers above 0, for example `--hidden 512,512`"
    )]
    HiddenWidths { part: String },

    #[error("this build has no {name}: run again with `--features {name}`")]
    DeviceNotCompiled { name: &'static str },

    #[error(
        "the device {name} does not start: {message}; check its driver, or run with `--device flex`"
    )]
    DeviceFailed { name: &'static str, message: String },

    #[error(
        "the training diverged: the loss, or its curvature, is {loss} at step {step}; run with an --lr below \
         {lr}, or with a smaller --init-scale"
    )]
    Diverged { step: usize, loss: f64, lr: f64 },

    #[error(
        "`{}` holds another run (its setting.json differs); choose another folder with --out, or delete \
         this one",
        .path.display()
    )]
    OtherRun { path: PathBuf },

    #[error(
        "the checkpoint `{}` cannot be read: {message}; delete its folder to begin again",
        .path.display()
    )]
    Checkpoint { path: PathBuf, message: String },

    #[error("measuring at step {step} failed: {source}")]
    Measurement { step: usize, source: burn_sharpness::Error },

    #[error(transparent)]
    Sharpness(#[from] burn_sharpness::Error),

    #[error("cannot read `{}`: {source}; check the path and its permissions", .path.display())]
    Read { path: PathBuf, source: std::io::Error },

    #[error("cannot write `{}`: {message}; choose another folder with --out", .path.display())]
    Write { path: PathBuf, message: String },
}

/// The end of a program: success, or the error as a line.
pub fn report(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl ExampleError {
    /// The error of reading a checkpoint, whatever library reports it.
    pub fn checkpoint(path: &Path, source: impl std::fmt::Display) -> Self {
        Self::Checkpoint { path: path.to_path_buf(), message: source.to_string() }
    }

    /// The error of writing to `path`, whatever library reports it.
    pub fn write(path: &Path, source: impl std::fmt::Display) -> Self {
        Self::Write { path: path.to_path_buf(), message: source.to_string() }
    }
}
