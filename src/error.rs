//! The one error type that users meet. Every message ends in what to do.

use std::fmt;

/// Result of everything that can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Not converging is a result, not an error (see
/// [`StopReason`](crate::solver::StopReason)).
///
/// `Debug` prints the message too: it is what a `main` that returns an error shows.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loss uses operations that cannot be differentiated twice.
    #[error(
        "no derivative rule for {}; `burn_sharpness::op_support()` lists what works in this version",
        list(.0)
    )]
    UnsupportedOps(Vec<UnsupportedOp>),

    /// The loss closure returned more or less than one number.
    #[error(
        "the loss has shape {shape:?}, expected one number; reduce it, for example with `.mean()`"
    )]
    NonScalarLoss {
        /// Shape of what the closure returned.
        shape: Vec<usize>,
    },

    /// The loss closure asked for a tensor's value.
    #[error(
        "the loss reads tensor values on the host (`into_scalar`, `into_data`, `one_hot`, ...), but it \
         is recorded before it has values: prepare such tensors in the batch, and decide with \
         operations such as `mask_where`; where that cannot be, `operator::FiniteDifferenceHessian` takes any \
         loss ({message})"
    )]
    LossReadsData {
        /// The message of the failed read.
        message: String,
    },

    /// The loss closure combined tensors of different devices.
    #[error(
        "the loss mixes devices: pass every tensor in the batch or the model, and create others on \
         the device of an argument, for example with `&x.device()` ({message})"
    )]
    LossMixesDevices {
        /// The message of the failed operation.
        message: String,
    },

    /// The loss closure panicked for another reason.
    #[error("the loss panicked: {message}; check that it runs on this model and batch by itself")]
    LossPanicked {
        /// The panic message.
        message: String,
    },

    /// burn could not differentiate the loss.
    #[error("burn could not differentiate the loss: {message}; check that `loss.backward()` works")]
    NotDifferentiable {
        /// burn's message.
        message: String,
    },

    /// The recorded loss has another gradient than the one that burn computes.
    #[error(
        "the recorded loss has another gradient than burn computes (relative difference \
         {relative_difference:.1e}). Not seen by a recording are `detach` inside the loss (compute such \
         tensors outside and pass them in the batch), noise layers made inside the loss (make them \
         fields of the model), and in `Mode::Train` layers of your own that act differently in \
         training (measure with `Mode::TrainWithNoise` or `Mode::Eval`)"
    )]
    GradientMismatch {
        /// ‖recorded − burn's‖ / max of both norms: of the whole gradient, or of the parameter in
        /// which it is largest.
        relative_difference: f64,
    },

    /// The model has no parameter that requires a gradient.
    #[error("the model has no trainable parameter; unfreeze some, or check `is_require_grad`")]
    NoParameters,

    /// No trainable parameter influences the loss.
    #[error(
        "the loss depends on no trainable parameter; check that the closure uses the model it is given"
    )]
    LossIndependentOfParameters,

    /// Trainable parameters influence the loss, but no gradient reaches them.
    #[error(
        "the loss depends on the trainable parameters only through integers or masks (`argmax`, \
         `int`, comparisons, ...), which have no gradient; use a smooth quantity, for example a \
         cross entropy where an accuracy stands"
    )]
    ParametersThroughIntegers,

    /// Trainable parameters have different dtypes or one that is not supported.
    #[error(
        "parameter `{name}` has dtype {dtype}, expected {expected}; cast the model to one of f32, f64"
    )]
    ParameterDType {
        /// Path of the parameter in the model.
        name: String,
        /// Its dtype.
        dtype: String,
        /// What the other parameters have, or the dtypes that are supported.
        expected: String,
    },

    /// Model and batch are not on one device.
    #[error("`{name}` is on {found}, the model on {expected}; move it with `to_device`")]
    DeviceMismatch {
        /// The parameter or batch tensor.
        name: String,
        /// Its device.
        found: String,
        /// The device of the first parameter.
        expected: String,
    },

    /// Two parameters share an id (tied weights) but no longer the same value.
    #[error(
        "parameters `{first}` and `{second}` share an id but not their value; tie weights by using \
         one parameter twice"
    )]
    TiedParametersDiffer {
        /// Path of the first one.
        first: String,
        /// Path of the other.
        second: String,
    },

    /// A batch without elements.
    #[error("the batch is empty (tensor {tensor} has shape {shape:?}); pass at least one sample")]
    EmptyBatch {
        /// Position of the tensor in the batch.
        tensor: usize,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// The tensors of a data set have different first dimensions.
    #[error(
        "the data set's tensors have {found} and {expected} samples along their first dimension; \
         they must agree"
    )]
    SampleCountMismatch {
        /// Samples of the first tensor.
        expected: usize,
        /// Samples of another.
        found: usize,
    },

    /// A data source failed to give samples, or panicked.
    #[error("loading {} failed: {message}; check that the data source gives them by itself", numbers(.samples))]
    Load {
        /// The numbers that were asked for; none when it was asked for their count.
        samples: Vec<usize>,
        /// What the source says.
        message: String,
    },

    /// A data source gave another number of samples than it was asked for.
    #[error(
        "asked for {asked} samples, the data source gave {found}; return those at the given numbers, \
         in their order, no more and no fewer"
    )]
    LoadedSampleCount {
        /// How many numbers it was given.
        asked: usize,
        /// First dimension of the tensors that it returned.
        found: usize,
    },

    /// A data source gave another batch for the same samples than before, or one of several batches that is
    /// not their rows though the source says that it [is row-wise](crate::Samples::is_row_wise).
    #[error(
        "the data source gave another batch for {} than before; make it a function of the numbers: no \
         shuffling, no augmentation, and where it pads, no `is_row_wise`", numbers(.samples)
    )]
    SamplesChanged {
        /// The numbers that were asked for again.
        samples: Vec<usize>,
    },

    /// A sample that the data set does not have.
    #[error("sample {index} of {n_samples}; number them from 0 to below the number of samples")]
    SampleIndex {
        /// The number that was asked for.
        index: usize,
        /// Samples in the data set.
        n_samples: usize,
    },

    /// A data loader failed, or ended before its last item.
    #[error(
        "reading the data loader failed after {n_batches} batches: {message}; check that one pass over \
         it succeeds by itself"
    )]
    Loader {
        /// Batches that were read.
        n_batches: usize,
        /// What the loader says.
        message: String,
    },

    /// Batches that are no parts of one larger batch.
    #[error(
        "the batches cannot be joined: {reason}; measure on `DatasetSamples`, which makes each batch as \
         training does"
    )]
    BatchesDoNotJoin {
        /// What differs.
        reason: String,
    },

    /// A batch size of zero, or one that exceeds the data.
    #[error(
        "batch size {batch_size} with {n_samples} samples; choose one from 1 to the number of samples"
    )]
    BatchSize {
        /// The requested batch size.
        batch_size: usize,
        /// Samples in the data set.
        n_samples: usize,
    },

    /// Batch normalization in training, on a data set in chunks.
    #[error(
        "batch normalization in training couples the samples of a batch, so that chunks would change \
         the loss; use one chunk (a chunk size of at least the number of samples) or `Mode::Eval`"
    )]
    BatchStatisticsInChunks,

    /// A loss that is not a mean over samples, on a data set in chunks.
    #[error(
        "the loss of a few samples together is {together}, the mean of their single losses {mean}: \
         a data set in chunks, and batches that are parts of it, need a loss that is a mean over \
         samples; use a plain mean, or for full-batch sharpness alone one chunk (a chunk size of at \
         least the number of samples)"
    )]
    NotAMeanOverSamples {
        /// The loss of the samples as one batch.
        together: f64,
        /// The mean of the losses of one sample each.
        mean: f64,
    },

    /// A comparison of mini-batches with the whole data set, where these are no parts of one mean.
    #[error(
        "{quantity} needs the loss of the whole data set to be the mean of those of its samples, but \
         batch normalization in training, or noise, makes it another for other samples; measure in \
         `Mode::Eval`, or in `Mode::Train` a model without batch normalization"
    )]
    BatchesAreNoParts {
        /// What was to be measured.
        quantity: &'static str,
    },

    /// A setting outside its range.
    #[error("`{setting}` is {value}; it must be {expected}")]
    InvalidSetting {
        /// Name of the setting.
        setting: &'static str,
        /// The given value.
        value: String,
        /// The accepted range.
        expected: &'static str,
    },

    /// A vector or block does not fit the operator.
    #[error("got {found} entries, expected {expected}; vectors of one operator fit no other")]
    LengthMismatch {
        /// Entries that the operator's space has.
        expected: usize,
        /// Entries that were given.
        found: usize,
    },

    /// A vector or block of another space: other parameters, dtype or device.
    #[error(
        "the vector belongs to another space: found {found}, expected {expected}; make vectors from \
         the operator's own `space()` or `gradient()`"
    )]
    SpaceMismatch {
        /// The operator's space.
        expected: String,
        /// The vector's space.
        found: String,
    },

    /// NaN or infinity where a number was expected.
    #[error(
        "{quantity} is {value}: check the batch and the parameters for NaN, and the loss at this \
         point; if the training has diverged, lower the learning rate"
    )]
    NonFinite {
        /// What was not finite.
        quantity: &'static str,
        /// NaN, inf or -inf.
        value: f64,
    },

    /// The direction of a gradient, where every gradient is zero.
    #[error(
        "every gradient is zero, so that {quantity} has no direction: the model fits these batches exactly (or \
         the loss is flat); quantities that need no gradient, such as mini-batch sharpness, are still measured"
    )]
    ZeroGradients {
        /// What was to be measured.
        quantity: &'static str,
    },

    /// A file could not be read or written.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What failed, and what to do.
        message: String,
    },

    /// A line of a history is none.
    #[error(
        "line {line} of {} is no row of a history: {message}; restore the file, or delete the line",
        path.display()
    )]
    MalformedHistory {
        /// The file.
        path: std::path::PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },

    /// A picture of data that is not there.
    #[error("no {picture} without {missing}")]
    NothingToDraw {
        /// The picture.
        picture: &'static str,
        /// What it shows, and what to do.
        missing: &'static str,
    },

    /// burn failed while a program ran.
    #[error(
        "burn failed while computing: {message}; check that the loss runs on this model, batch (indices \
         within range?) and device"
    )]
    Execution {
        /// burn's message.
        message: String,
    },

    /// burn's capture failed.
    #[error("recording the loss failed: {message}; please report this with the loss")]
    Capture {
        /// burn's message.
        message: String,
    },
}

impl Error {
    /// Whether it comes of the program, so that trying again later cannot help: another batch or other parameters
    /// give the same. (A loss that is no mean over samples once is none, even where it looks like one later.)
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::UnsupportedOps(_)
                | Self::NonScalarLoss { .. }
                | Self::LossReadsData { .. }
                | Self::LossMixesDevices { .. }
                | Self::LossPanicked { .. }
                | Self::NotDifferentiable { .. }
                | Self::ParametersThroughIntegers
                | Self::BatchStatisticsInChunks
                | Self::BatchesAreNoParts { .. }
                | Self::NotAMeanOverSamples { .. }
                | Self::Capture { .. }
        )
    }

    /// [`Error::Load`] for the samples at `indices`, from the error of a file, a decoder or a data base.
    ///
    /// ```
    /// use burn_sharpness::Error;
    ///
    /// let error = std::fs::read("no such file").map_err(|e| Error::load(&[7], e)).unwrap_err();
    /// assert!(error.to_string().starts_with("loading sample 7 failed"));
    /// ```
    pub fn load(indices: &[usize], error: impl fmt::Display) -> Self {
        Self::Load { samples: indices.to_vec(), message: error.to_string() }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An operation without a derivative rule, where it is, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedOp {
    /// Family and name, for example `module.Conv2d`.
    pub name: String,
    /// Position in the recorded graph.
    pub index: usize,
    /// Shapes of its inputs.
    pub shapes: Vec<Vec<usize>>,
    /// Why there is no rule, and what to do.
    pub reason: &'static str,
}

impl fmt::Display for UnsupportedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, index, shapes, reason } = self;
        write!(f, "{name} (operation {index}, inputs {shapes:?}: {reason})")
    }
}

fn list(ops: &[UnsupportedOp]) -> String {
    let ops: Vec<_> = ops.iter().map(ToString::to_string).collect();
    format!("{} operation(s): {}", ops.len(), ops.join("; "))
}

/// Samples by their numbers, in a message: not thousands of them.
fn numbers(samples: &[usize]) -> String {
    let (first, last) = match samples {
        [] => return "the number of samples".into(),
        [only] => return format!("sample {only}"),
        [first, .., last] => (*first, *last),
    };
    let consecutive = samples.windows(2).all(|pair| pair[1] == pair[0] + 1);
    match samples.len() {
        _ if consecutive => format!("samples {first} to {last}"),
        n if n > 8 => format!("{n} samples ({:?} to {last})", &samples[..7]),
        _ => format!("samples {samples:?}"),
    }
}

/// Runs `f`; a panic becomes the error that `describe` makes of its message.
pub(crate) fn catch_panic<T>(
    f: impl FnOnce() -> Result<T>,
    describe: impl FnOnce(String) -> Error,
) -> Result<T> {
    // The closures see no state of the caller that outlives a failure half-changed.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(payload) => {
            let message = payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            Err(describe(message.unwrap_or_else(|| "panic without message".into())))
        }
    }
}
