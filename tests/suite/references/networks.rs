//! The models of the reference values, in burn's modules. burn's layouts are those of the
//! conventions (linear weights `[in, out]`, kernels OIHW), and burn visits parameters in the order
//! in which the file lists them.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::norm::Normalization;
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNormConfig, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::{gelu, relu, sigmoid, silu};
use burn::tensor::{DType, Device, Tensor};

use super::ParamSpec;
use crate::common::float;

/// m1, m2, m3: linear layers with an activation between them.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    pub fn new(widths: &[usize], device: &Device) -> Self {
        let layer = |pair: &[usize]| LinearConfig::new(pair[0], pair[1]).init(device);
        Self { layers: widths.windows(2).map(layer).collect() }
    }

    fn forward(&self, x: Tensor<2>, activation: fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().unwrap();
        last.forward(hidden.iter().fold(x, |x, layer| activation(layer.forward(x))))
    }

    pub fn tanh(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward(x, Tensor::tanh)
    }

    pub fn relu(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward(x, relu)
    }

    pub fn gelu(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward(x, gelu)
    }
}

/// m5, m7: a normalization between two linear layers.
#[derive(Module, Debug)]
pub struct Normalized {
    hidden: Linear,
    norm: Normalization,
    head: Linear,
}

impl Normalized {
    pub fn layer(device: &Device) -> Self {
        Self::new(LayerNormConfig::new(5).init(device).into(), device)
    }

    pub fn batch(device: &Device) -> Self {
        Self::new(BatchNormConfig::new(5).init(device).into(), device)
    }

    fn new(norm: Normalization, device: &Device) -> Self {
        let (hidden, head) = (LinearConfig::new(6, 5), LinearConfig::new(5, 3));
        Self { hidden: hidden.init(device), norm, head: head.init(device) }
    }

    pub fn silu(&self, x: Tensor<2>) -> Tensor<2> {
        self.head.forward(silu(self.norm.forward(self.hidden.forward(x))))
    }

    pub fn sigmoid(&self, x: Tensor<2>) -> Tensor<2> {
        self.head.forward(sigmoid(self.norm.forward(self.hidden.forward(x))))
    }
}

/// m4: two convolutions of padding 1, an average and a maximum pool.
#[derive(Module, Debug)]
pub struct TwoConvolutions {
    first: Conv2d,
    second: Conv2d,
    head: Linear,
    average: AvgPool2d,
    maximum: MaxPool2d,
}

impl TwoConvolutions {
    pub fn new(device: &Device) -> Self {
        let convolution = |channels| {
            let config = Conv2dConfig::new(channels, [3, 3]);
            config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        Self {
            first: convolution([2, 3]),
            second: convolution([3, 4]),
            head: LinearConfig::new(16, 3).init(device),
            average: AvgPool2dConfig::new([2, 2]).init(),
            maximum: MaxPool2dConfig::new([2, 2]).init(),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.average.forward(self.first.forward(x).tanh());
        let x = self.maximum.forward(relu(self.second.forward(x)));
        self.head.forward(x.flatten(1, 3))
    }
}

/// m6, m6r: self-attention with one head, the mean over the sequence, a linear layer.
#[derive(Module, Debug)]
pub struct SelfAttention {
    attention: MultiHeadAttention,
    head: Linear,
}

impl SelfAttention {
    pub fn new(device: &Device) -> Self {
        let attention = MultiHeadAttentionConfig::new(4, 1).init(device);
        Self { attention, head: LinearConfig::new(4, 3).init(device) }
    }

    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let attended = self.attention.forward(MhaInput::self_attn(x)).context;
        self.head.forward(attended.mean_dim(1).squeeze_dim(1))
    }

    pub fn residual(&self, x: Tensor<3>) -> Tensor<2> {
        let attended = self.attention.forward(MhaInput::self_attn(x.clone())).context;
        self.head.forward((x + attended).mean_dim(1).squeeze_dim(1))
    }
}

/// `model` with parameter number p set to the formula of `specs[p]`.
pub fn with_parameters<M: Module>(
    model: M,
    specs: &[ParamSpec],
    dtype: DType,
    device: &Device,
) -> M {
    let mut setter = Setter { specs, dtype, device, n_set: 0, buffer: false };
    let model = model.map(&mut setter);
    assert_eq!(setter.n_set, specs.len());
    model
}

struct Setter<'a> {
    specs: &'a [ParamSpec],
    dtype: DType,
    device: &'a Device,
    n_set: usize,
    /// Inside running statistics, which are no parameters.
    buffer: bool,
}

impl ParamSpec {
    /// Values of parameter tensor number `p`, by the formula of the conventions.
    fn values(&self, p: usize) -> Vec<f64> {
        let fan_in = match self.shape.as_slice() {
            [inputs, _] => *inputs,
            [_, rest @ ..] => rest.iter().product(),
            [] => unreachable!("no parameter is a scalar"),
        };
        let (center, width) = match self.kind.as_str() {
            "weight" => (0.0, 1.0 / (fan_in as f64).sqrt()),
            "bias" | "beta" => (0.0, 0.1),
            "gamma" => (1.0, 0.1),
            kind => panic!("unknown kind {kind}"),
        };
        let pattern = |i: usize| (0.7 * i as f64 + 1.3 * p as f64 + 0.11).sin();
        (0..self.shape.iter().product()).map(|i| center + width * pattern(i)).collect()
    }
}

impl ModuleMapper for Setter<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.buffer = name.starts_with("running_");
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.buffer {
            return param.map(|tensor| tensor.cast(self.dtype));
        }
        let spec = &self.specs[self.n_set];
        let shape = param.shape().dims::<D>();
        assert_eq!(shape.as_slice(), spec.shape, "parameter {}", self.n_set);
        let values = spec.values(self.n_set);
        self.n_set += 1;
        // On an autodiff device a parameter that is replaced must be tracked again.
        let tensor = float(values, shape, self.dtype, self.device);
        param.map(|old| tensor.set_require_grad(old.is_require_grad()))
    }
}
