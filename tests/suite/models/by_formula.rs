//! Parameters by a formula of their place in the model, so that the same network exists on every
//! device and in every dtype; and gradients by burn's own autodiff.

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor};
use burn_sharpness::Mode;

use crate::common::float;

/// Numbers in [−1, 1] without visible order: sin of a quadratic progression. That of an arithmetic
/// one would give matrices of rank two.
pub fn chirp(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| (1.7 * i as f64 + 0.37 * (i * i) as f64 + phase).sin()).collect()
}

/// A step h·v from the formula's parameters, in the space of the trainable ones.
#[derive(Clone, Copy)]
pub struct Shift<'a> {
    pub v: &'a [f64],
    pub h: f64,
}

/// `model` with all float tensors replaced by formula.
pub fn by_formula<M: Module>(
    model: M,
    phase: f64,
    dtype: DType,
    device: &Device,
    shift: Option<Shift<'_>>,
) -> M {
    let (path, n_tensors, n_shifted) = (Vec::new(), 0, 0);
    model.map(&mut ByFormula { phase, dtype, device, shift, path, n_tensors, n_shifted })
}

struct ByFormula<'a> {
    phase: f64,
    dtype: DType,
    device: &'a Device,
    shift: Option<Shift<'a>>,
    path: Vec<String>,
    n_tensors: usize,
    /// Trainable numbers so far: the place in the vector of the next.
    n_shifted: usize,
}

impl ByFormula<'_> {
    fn values(&self, shape: &[usize]) -> Vec<f64> {
        let n = shape.iter().product();
        let pattern = chirp(n, 1.3 * self.n_tensors as f64 + self.phase);
        let (center, width) = match self.path.last().map(String::as_str) {
            Some("gamma") => (1.0, 0.1),
            Some("running_var") => (1.0, 0.3),
            Some("bias" | "beta" | "running_mean") => (0.0, 0.1),
            // The pattern has a mean square of 1/2, the weights one of 1/fan_in.
            _ => (0.0, (2.0 / fan_in(shape) as f64).sqrt()),
        };
        pattern.iter().map(|p| center + width * p).collect()
    }
}

/// Of a matrix `[in, out]`, or a kernel `[out, in, height, width]`.
fn fan_in(shape: &[usize]) -> usize {
    match shape {
        [inputs, _] => *inputs,
        _ => shape[1..].iter().product(),
    }
}

impl ModuleMapper for ByFormula<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.shape().dims::<D>();
        let mut values = self.values(&shape);
        self.n_tensors += 1;
        // A plain device does not say what is trainable; `train` does.
        if let Some(Shift { v, h }) = self.shift
            && param.clone().train().is_require_grad()
        {
            let part = &v[self.n_shifted..][..values.len()];
            values.iter_mut().zip(part).for_each(|(value, v)| *value += h * v);
            self.n_shifted += values.len();
        }
        param.map(|_| float(values, shape, self.dtype, self.device))
    }
}

/// `model` on an autodiff device as the deterministic network of `mode`: without dropout, and in
/// evaluation with all its `training` flags off.
pub fn in_mode<M: Module>(model: M, mode: Mode) -> M {
    struct SwitchOff(Vec<String>, Mode);
    impl ModuleMapper for SwitchOff {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.push(name.into());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.pop();
        }

        fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
            let off = self.1 == Mode::Eval || self.0.iter().any(|name| name == "dropout");
            if off { flag.with_value(false) } else { flag }
        }
    }
    model.map(&mut SwitchOff(Vec::new(), mode))
}

/// The gradients of `model`'s trainable parameters in visit order, as one vector.
pub fn gradients_of<M: Module>(model: &M, gradients: &Gradients) -> Vec<f64> {
    struct Collect<'a>(&'a Gradients, Vec<f64>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.base();
            if tensor.is_require_grad() {
                match tensor.grad(self.0) {
                    Some(gradient) => self.1.extend(gradient.into_data().iter::<f64>()),
                    None => self.1.extend(vec![0.0; tensor.shape().num_elements()]),
                }
            }
        }
    }
    let mut collect = Collect(gradients, Vec::new());
    model.visit(&mut collect);
    collect.1
}
