//! [`LossGraph`] -> [`GradientGraph`]: burn's own Autodiff, replayed on the capture backend.
//!
//! The forward operations run once more on `Autodiff<CaptureBackend>` inside a capture scope, then
//! `backward` records the reverse pass behind them. The conventions at kinks are therefore burn's.

use std::collections::HashMap;
use std::fmt;

use burn::tensor::DeviceSettings;
use burn_backend::ops::FloatTensorOps;
use burn_backend::{AutodiffBackend, TensorMetadata};
use burn_capture::{CaptureBackend, CaptureDevice};
use burn_ir::{NumericOperationIr, OperationIr, ScalarIr, ScalarOpIr, TensorId};

use crate::capture::{
    LossGraph, PooledDevice, Recorded, Source, Tracked, graph_of, ir_of, record_gradient,
    source_names,
};
use crate::display::write_graph;
use crate::error::{Error, Result, catch_panic};
use crate::ir::TensorGraph;
use crate::ir::replay::Replay;

/// Forward and backward operations of a loss. Outputs: the loss, then the gradient of each
/// trainable parameter that has one.
#[derive(Clone, Debug)]
pub struct GradientGraph {
    pub(crate) graph: TensorGraph,
    pub(crate) sources: Vec<Source>,
    /// For each trainable parameter, its position among the outputs; `None`: its gradient is zero.
    pub(crate) gradients: Vec<Option<usize>>,
    pub(crate) settings: DeviceSettings,
}

impl fmt::Display for GradientGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = source_names(&self.sources);
        write_graph(f, "GradientGraph", &self.graph, &names, &["loss", "gradient"])
    }
}

impl LossGraph {
    /// Records the gradient of the loss with respect to the trainable parameters; what no rule
    /// serves in one step is written out first ([`expand`](Self::expand)).
    ///
    /// # Errors
    /// [`Error::UnsupportedOps`] with every operation that has no rule, [`Error::NotDifferentiable`]
    /// when burn's Autodiff fails, [`Error::LossIndependentOfParameters`],
    /// [`Error::ParametersThroughIntegers`].
    pub fn differentiate(&self) -> Result<GradientGraph> {
        self.expand()?.differentiate_expanded(Seed::One)
    }

    /// Records Jᵀu of the first output f, of any shape, with u an input of its shape
    /// ([`Source::Cotangent`]): f takes the place of the loss.
    pub(crate) fn pull_back(&self) -> Result<GradientGraph> {
        self.expand()?.differentiate_expanded(Seed::Cotangent)
    }

    fn differentiate_expanded(&self, seed: Seed) -> Result<GradientGraph> {
        let device = PooledDevice::take(self.settings);
        let mut placeholders: HashMap<TensorId, Source> = HashMap::new();
        let mut divisors = HashMap::new();
        let (mut outputs, mut gradients) = (Vec::new(), Vec::new());
        let mut captured = catch_panic(
            || {
                let capture = device.capture_device();
                let scope = |scope: burn_capture::CaptureScope| {
                    let (value, leaves) =
                        replay_with_leaves(self, &capture, &mut placeholders, &mut divisors);
                    (outputs, gradients) = match seed {
                        Seed::One => record_gradient(value, &leaves),
                        Seed::Cotangent => {
                            let (u, scalar) = weighted(&value, &capture);
                            placeholders.insert(u, Source::Cotangent);
                            let (mut outputs, gradients) = record_gradient(scalar, &leaves);
                            outputs[0] = ir_of(&Recorded::inner(value));
                            (outputs, gradients)
                        }
                    };
                    scope.complete([], [])
                };
                let captured = capture.capture_scope(scope);
                captured.map_err(|e| Error::Capture { message: e.to_string() })
            },
            |message| Error::NotDifferentiable { message },
        )?;
        self.check_gradients(&gradients)?;
        captured.graph.operations.iter_mut().for_each(|op| restore_division(op, &divisors));
        let (graph, sources) = graph_of(captured, &placeholders, outputs, Source::Fixed);
        Ok(GradientGraph { graph, sources, gradients, settings: self.settings })
    }

    /// Fails when no parameter has a gradient.
    fn check_gradients(&self, gradients: &[Option<usize>]) -> Result<()> {
        if gradients.iter().any(Option::is_some) {
            Ok(())
        } else if self.param_inputs().iter().any(Option::is_some) {
            Err(Error::ParametersThroughIntegers)
        } else {
            Err(Error::LossIndependentOfParameters)
        }
    }
}

/// What the reverse pass starts with.
#[derive(Clone, Copy)]
enum Seed {
    /// The loss, whose own derivative is one.
    One,
    /// An input u.
    Cotangent,
}

/// ⟨f, u⟩, whose gradient is Jᵀu, and the id of the placeholder u.
fn weighted(f: &Tracked, device: &CaptureDevice) -> (TensorId, Tracked) {
    let u = CaptureBackend::float_empty(f.shape(), device, f.dtype().into());
    let id = u.id();
    let product = Recorded::float_mul(f.clone(), Recorded::from_inner(u));
    (id, Recorded::float_sum(product))
}

/// Runs the forward operations with tracked parameters; returns the loss and each parameter's leaf.
/// Divisions by a scalar run as products ([`as_product`]); `divisors` has the scalar of each.
fn replay_with_leaves(
    forward: &LossGraph,
    device: &CaptureDevice,
    placeholders: &mut HashMap<TensorId, Source>,
    divisors: &mut HashMap<TensorId, ScalarIr>,
) -> (Tracked, Vec<Option<Tracked>>) {
    let mut replay = Replay::of(forward, device, placeholders);
    let mut track = |position: usize| {
        let input = &forward.graph.inputs[position];
        let leaf = Recorded::float_set_require_grad(replay.float(input), true);
        replay.set_float(input, leaf.clone());
        leaf
    };
    let leaves = forward.param_inputs().into_iter().map(|p| p.map(&mut track)).collect();
    for op in &forward.graph.ops {
        let OperationIr::NumericFloat(dtype, NumericOperationIr::DivScalar(d)) = op else {
            replay.run(op);
            continue;
        };
        replay.run(&OperationIr::NumericFloat(*dtype, as_product(d)));
        let quotient = Recorded::inner(replay.float(&d.out));
        divisors.insert(quotient.id(), d.rhs);
    }
    (replay.loss(&forward.graph), leaves)
}

/// x / c as x · (1/c), whose gradient burn computes in full precision: that of a division by a scalar
/// is g · (1/c) with 1/c rounded to f32, which would leave f64 products with seven digits.
fn as_product(d: &ScalarOpIr) -> NumericOperationIr {
    let reciprocal = ScalarIr::Float(1.0 / d.rhs.elem::<f64>());
    NumericOperationIr::MulScalar(ScalarOpIr { rhs: reciprocal, ..d.clone() })
}

/// Makes a product that stands for a division a division again. The loss is to be the one that was
/// recorded, to the bit: c · (1/c) is not 1 for every c, and `floor`, casts and comparisons show that.
fn restore_division(op: &mut OperationIr, divisors: &HashMap<TensorId, ScalarIr>) {
    if let OperationIr::NumericFloat(_, numeric) = op
        && let NumericOperationIr::MulScalar(d) = numeric
        && let Some(&divisor) = divisors.get(&d.out.id)
    {
        let division = ScalarOpIr { rhs: divisor, ..d.clone() };
        *numeric = NumericOperationIr::DivScalar(division);
    }
}
