//! Batched programs against single runs, for any model and loss: for tests.

use std::collections::BTreeSet;
use std::ops::Range;

use burn::module::Module;
use burn::tensor::{DType, Device, DeviceSettings, Tensor};
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::{FloatDType, Shape, TensorMetadata};
use burn_dispatch::{Dispatch, DispatchTensor};
use burn_ir::{TensorId, TensorIr};

use crate::batch::{self, Batch};
use crate::batching::{BatchedGraph, batch as batched};
use crate::capture::{LossGraph, Source};
use crate::compiled::bind;
use crate::error::Result;
use crate::ir::TensorGraph;
use crate::ir::emitter::Emitter;
use crate::linearize::LinearizedGraph;
use crate::model_state::ModelState;
use crate::program::Program;

/// How the batched programs of a loss compare with single runs.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct BatchingCheck {
    /// The largest relative difference, and where.
    pub difference: f64,
    pub at: String,
    /// Names of operations that are looped over the copies.
    pub looped: BTreeSet<String>,
    /// Operations of the batched programs.
    pub n_ops: usize,
}

/// Copies: three, so that a wrong order of two shows.
const K: usize = 3;

/// Runs both parts of a Hessian-vector product for three copies of the parameters, of the batch, of
/// both and of the vectors, and compares with single runs. Copy i of a tensor is the tensor with its
/// first axis rolled by i.
#[doc(hidden)]
pub fn check_batching<M, B, F>(
    model: &M,
    state: &ModelState,
    batch: &B,
    loss: &F,
) -> Result<BatchingCheck>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    let forward = LossGraph::capture(model, state, batch, loss)?;
    let linearized = forward.differentiate()?.push_forward()?.linearize();
    let tensors = batch::tensors(batch.clone());
    let values = bind(&linearized.sources, state, &tensors, &forward.constants)?;
    let device = state.space().device();
    let mut check = Check { device, settings: forward.settings, found: BatchingCheck::default() };
    for (params, data) in [(false, false), (false, true), (true, false), (true, true)] {
        let rolled: Vec<bool> = linearized
            .sources
            .iter()
            .map(|source| match source {
                Source::Param(_) => params,
                Source::Batch(_) => data,
                _ => false,
            })
            .collect();
        let name = format!("parameters {params}, data {data}");
        check.primal_and_tangent(&linearized, &values, &rolled, &name)?;
    }
    Ok(check.found)
}

struct Check<'a> {
    device: &'a Device,
    settings: DeviceSettings,
    found: BatchingCheck,
}

/// The inputs of a program: those of each copy.
type Inputs = Vec<Vec<DispatchTensor>>;

impl Check<'_> {
    fn primal_and_tangent(
        &mut self,
        linearized: &LinearizedGraph,
        values: &[DispatchTensor],
        rolled: &[bool],
        name: &str,
    ) -> Result<()> {
        let LinearizedGraph { primal, tangent, n_residuals, .. } = linearized;
        let inputs = self.rolls(&primal.inputs, values, rolled)?;
        let (outputs, is_batched) = self.compare(primal, &inputs, rolled, name)?;
        let first = primal.outputs.len() - n_residuals;
        let vectors = tangent.inputs[*n_residuals..].to_vec();
        let v: Vec<_> = vectors.iter().map(|t| wave(t, self.device)).collect();
        for several in [false, true] {
            let v = self.rolls(&vectors, &v, &vec![several; v.len()])?;
            let residuals = outputs.iter().map(|outputs| outputs[first..].to_vec());
            let inputs: Inputs = residuals.zip(v).map(|(r, v)| [r, v].concat()).collect();
            let mut rolled = is_batched[first..].to_vec();
            rolled.extend(vec![several; vectors.len()]);
            let name = format!("{name}, vectors {several}");
            self.compare(tangent, &inputs, &rolled, &name)?;
        }
        Ok(())
    }

    /// The tensors of each copy: the marked ones rolled.
    fn rolls(
        &self,
        tensors: &[TensorIr],
        values: &[DispatchTensor],
        rolled: &[bool],
    ) -> Result<Inputs> {
        let one = |copy: usize, (tensor, value): (&TensorIr, &DispatchTensor)| {
            let n = tensor.shape.first().copied().unwrap_or(0);
            let by = if n == 0 { 0 } else { copy % n };
            if by == 0 { Ok(value.clone()) } else { self.roll(tensor, value, by..n) }
        };
        (0..K)
            .map(|copy| {
                let pairs = tensors.iter().zip(values).zip(rolled);
                pairs.map(|(pair, rolled)| one(if *rolled { copy } else { 0 }, pair)).collect()
            })
            .collect()
    }

    fn roll(
        &self,
        tensor: &TensorIr,
        value: &DispatchTensor,
        rest: Range<usize>,
    ) -> Result<DispatchTensor> {
        let inputs = [uninit(0, tensor)];
        self.small_program(&inputs, vec![value.clone()], |emit, x| {
            let head = emit.slice(&x[0], 0, 0..rest.start);
            let tail = emit.slice(&x[0], 0, rest);
            emit.cat(vec![tail, head], 0)
        })
    }

    /// `[k, ..]`.
    fn stack(&self, tensor: &TensorIr, copies: Vec<DispatchTensor>) -> Result<DispatchTensor> {
        let inputs: Vec<_> = (0..copies.len()).map(|i| uninit(i, tensor)).collect();
        let mut shape = tensor.shape.to_vec();
        shape.insert(0, 1);
        self.small_program(&inputs, copies, |emit, x| {
            let parts = x.iter().map(|x| emit.reshape(x, shape.clone().into())).collect();
            emit.cat(parts, 0)
        })
    }

    fn small_program(
        &self,
        inputs: &[TensorIr],
        values: Vec<DispatchTensor>,
        build: impl FnOnce(&mut Emitter, &[TensorIr]) -> TensorIr,
    ) -> Result<DispatchTensor> {
        let mut emit = Emitter::new(inputs.len() as u64, self.settings);
        let outputs = vec![build(&mut emit, inputs)];
        let graph = TensorGraph { inputs: inputs.to_vec(), ops: emit.ops, outputs };
        Ok(Program::compile(graph).run(values, self.device)?.remove(0))
    }

    /// The outputs of single runs, and which of them depend on a batched input, after they have
    /// been compared with those of the batched program.
    fn compare(
        &mut self,
        graph: &TensorGraph,
        inputs: &Inputs,
        marked: &[bool],
        name: &str,
    ) -> Result<(Inputs, Vec<bool>)> {
        let program = Program::compile(graph.clone());
        let single: Result<Inputs> =
            inputs.iter().map(|inputs| program.run(inputs.clone(), self.device)).collect();
        let single = single?;
        let BatchedGraph { graph: several, batched_outputs, looped } =
            batched(graph, marked, K, self.settings);
        self.found.looped.extend(looped);
        self.found.n_ops += several.ops.len();
        let values: Result<Vec<_>> = (0..marked.len())
            .map(|i| {
                let copies: Vec<_> = inputs.iter().map(|inputs| inputs[i].clone()).collect();
                if marked[i] { self.stack(&graph.inputs[i], copies) } else { Ok(copies[0].clone()) }
            })
            .collect();
        let outputs = Program::compile(several).run(values?, self.device)?;
        self.differences(graph, &single, outputs, &batched_outputs, name);
        Ok((single, batched_outputs))
    }

    /// Compares each output, relative to its largest element, or to a thousandth of the largest of
    /// all where it cancels.
    fn differences(
        &mut self,
        graph: &TensorGraph,
        single: &Inputs,
        outputs: Vec<DispatchTensor>,
        is_batched: &[bool],
        name: &str,
    ) {
        let mut pairs = Vec::new();
        for (i, several) in outputs.into_iter().enumerate() {
            let dtype = graph.outputs[i].dtype;
            let copies: Vec<Vec<f64>> =
                single.iter().map(|outputs| read(outputs[i].clone(), dtype)).collect();
            let several = read(several, dtype);
            let several = if is_batched[i] { several } else { several.repeat(K) };
            pairs.push((i, copies.concat(), several));
        }
        let largest = |x: &[f64]| x.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let all = pairs.iter().map(|(_, single, _)| largest(single)).fold(0.0, f64::max);
        for (i, single, several) in pairs {
            let scale = largest(&single).max(1e-3 * all).max(f64::MIN_POSITIVE);
            let difference = if single.len() == several.len() {
                let pairs = single.iter().zip(&several);
                let different = pairs.filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan()));
                let errors = different.map(|(a, b)| (a - b).abs() / scale);
                errors.fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m })
            } else {
                f64::INFINITY
            };
            if difference.is_nan() || difference > self.found.difference {
                self.found.difference =
                    if difference.is_nan() { f64::INFINITY } else { difference };
                self.found.at = format!("{name}: output {i} of {}", graph.outputs.len());
            }
        }
    }
}

fn uninit(id: usize, like: &TensorIr) -> TensorIr {
    TensorIr::uninit(TensorId::new(id as u64), like.shape.clone(), like.dtype)
}

/// Smooth, irregular numbers in the shape of a tensor.
fn wave(tensor: &TensorIr, device: &Device) -> DispatchTensor {
    let n = tensor.shape.num_elements();
    let values: Vec<f64> = (0..n).map(|i| (1.7 * i as f64 + 0.3).sin()).collect();
    let flat = Tensor::<1>::from_data(values.as_slice(), (device, tensor.dtype)).into_dispatch();
    Dispatch::float_reshape(flat, tensor.shape.clone())
}

/// The elements of a tensor of any kind.
fn read(tensor: DispatchTensor, dtype: DType) -> Vec<f64> {
    let shape = Shape::new([tensor.shape().num_elements()]);
    let flat = if dtype.is_float() {
        Dispatch::float_cast(Dispatch::float_reshape(tensor, shape), FloatDType::F64)
    } else if dtype.is_bool() {
        Dispatch::bool_into_float(Dispatch::bool_reshape(tensor, shape), FloatDType::F64)
    } else {
        Dispatch::int_into_float(Dispatch::int_reshape(tensor, shape), FloatDType::F64)
    };
    Tensor::<1>::from_dispatch(flat).into_data().iter::<f64>().collect()
}
