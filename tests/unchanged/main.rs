//! Measuring changes nothing: not the model, not its running statistics, not the random stream
//! that dropout draws from.
//!
//! A test binary of its own with one test at a time: the device's random stream is global.

use std::sync::Mutex;

use burn::module::{Flag, Lora, Module, ModuleVisitor, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig, momentum::MomentumConfig};
use burn::tensor::{Bool, Device, Int, Tensor, activation};
use burn_sharpness::Error;
use burn_sharpness::estimator::{
    Contraction, ContractionConfig, CriticalSharpness, CriticalSharpnessConfig, GradientNoise,
    GradientNoiseConfig, MiniBatchExtremes, MiniBatchExtremesConfig, NoiseKernel,
    NoiseKernelConfig, SharpnessGap, SharpnessGapConfig,
};
use burn_sharpness::prelude::*;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const MODES: [Mode; 3] = [Mode::Train, Mode::Eval, Mode::TrainWithNoise { seed: 7 }];

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    norm: BatchNorm,
    dropout: Dropout,
    head: Linear,
    frozen: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(6, 16).init(device),
            norm: BatchNormConfig::new(16).init(device),
            dropout: DropoutConfig::new(0.3).init(),
            head: LinearConfig::new(16, 3).init(device),
            frozen: LinearConfig::new(3, 3).init(device).no_grad(),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.norm.forward::<2>(self.hidden.forward(x));
        let hidden = self.dropout.forward(activation::relu(hidden));
        self.frozen.forward(self.head.forward(hidden))
    }
}

type Pair = (Tensor<2>, Tensor<2>);

fn loss(model: &Net, (x, y): Pair) -> Tensor<1> {
    (model.forward(x) - y).powi_scalar(2).sum_dim(1).mean()
}

fn data(n: usize, device: &Device) -> Pair {
    let values = |k: usize| -> Vec<f32> { (0..n * k).map(|i| (1.7 * i as f32).sin()).collect() };
    let tensor = |k: usize| Tensor::<1>::from_floats(values(k).as_slice(), device).reshape([n, k]);
    (tensor(6), tensor(3))
}

/// Every tensor of the model as bytes, with the flags that training looks at.
fn snapshot<M: Module>(model: &M) -> Vec<(String, bool, Vec<u8>)> {
    #[derive(Default)]
    struct Read(Vec<(String, bool, Vec<u8>)>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.base();
            let place = format!("{:?} {:?} {:?}", param.id, tensor.dims(), tensor.device());
            self.0.push((place, param.is_require_grad(), tensor.into_data().bytes().to_vec()));
        }
        fn visit_flag(&mut self, flag: &Param<Flag>) {
            self.0.push((format!("{:?}", flag.id), flag.is_enabled(), Vec::new()));
        }
        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            self.0.push((
                format!("{:?}", param.id),
                false,
                param.base().into_data().bytes().to_vec(),
            ));
        }
        fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
            self.0.push((
                format!("{:?}", param.id),
                false,
                param.base().into_data().bytes().to_vec(),
            ));
        }
    }
    let mut read = Read::default();
    model.visit(&mut read);
    read.0
}

#[test]
fn a_measured_model_is_bit_identical() {
    let _alone = ONE_AT_A_TIME.lock();
    for device in [Device::flex(), Device::flex().autodiff()] {
        let model = Net::new(&device);
        let data = data(20, &device);
        // Running statistics away from their initial values. burn applies such updates when they
        // are next asked for, which `valid` does.
        model.norm.forward::<2>(model.hidden.forward(data.0.clone()));
        let _ = model.valid();
        let before = snapshot(&model);
        let display = format!("{model}");

        for mode in MODES {
            let top = model.sharpness_in(mode, data.clone(), loss).unwrap();
            model.hessian_in(mode, data.clone(), loss).unwrap().apply(&top.vector).unwrap();
            let mut mini = MiniBatchSharpnessConfig::new(4).with_mode(mode).init(loss);
            mini.measure(&model, &data).unwrap();
            mini.measure_live(&model, data.clone()).unwrap();
            let along = BatchSharpnessConfig::new(4).with_mode(mode);
            along.init(loss).measure(&model, &data).unwrap();
            let full = FullBatchSharpnessConfig::new().with_mode(mode);
            full.init(loss).measure(&model, &data).unwrap();
            // A failure leaves it alone too: this one runs the normalization, then is refused.
            let sorts = |m: &Net, (x, _): Pair| m.forward(x).argmax(1).float().mean();
            let error = model.hessian_in(mode, data.clone(), sorts).unwrap_err();
            assert_eq!(error, Error::ParametersThroughIntegers);
        }
        model.directional_sharpness(data.clone(), loss).unwrap();
        let panics = |m: &Net, (x, _): Pair| {
            m.norm.forward::<2>(m.hidden.forward(x));
            panic!("after a forward pass")
        };
        model.hessian(data.clone(), panics).unwrap_err();

        assert!(snapshot(&model) == before, "a tensor of the model has changed");
        assert_eq!(format!("{model}"), display);
        assert_eq!(model.hidden.weight.val().device().is_autodiff(), device.is_autodiff());
    }
}

#[test]
fn reparameterized_and_frozen_parameters_stay_what_they_are() {
    let _alone = ONE_AT_A_TIME.lock();
    let device = Device::flex().autodiff();
    let plain = Net::new(&device);
    let mut frozen = plain.clone();
    frozen.norm = frozen.norm.freeze();
    frozen.hidden = frozen.hidden.freeze();
    let adapted = plain.clone().apply_lora(Lora::new(1, 1.0));
    // Rows of a low-rank factor are parameters, the frozen base is not.
    let n_adapted = adapted.hessian(data(5, &device), loss).unwrap().dim();
    assert!(n_adapted < plain.hessian(data(5, &device), loss).unwrap().dim());
    for model in [frozen, adapted, plain.clone().train()] {
        let (before, display) = (snapshot(&model), format!("{model}"));
        for mode in MODES {
            model.sharpness_in(mode, data(20, &device), loss).unwrap();
        }
        assert!(snapshot(&model) == before, "a tensor or flag of the model has changed");
        assert_eq!(format!("{model}"), display);
    }
}

type Loss = fn(&Net, Pair) -> Tensor<1>;

/// Estimators that compare batches with the whole data set, or evaluate the loss at other parameters.
struct Others {
    gap: SharpnessGap<Loss>,
    noise: GradientNoise<Loss>,
    critical: CriticalSharpness<Loss>,
    contraction: Contraction<Loss>,
    kernel: NoiseKernel<Loss>,
    extremes: MiniBatchExtremes<Loss>,
    along: BatchSharpness<Loss>,
}

impl Others {
    fn new() -> Self {
        let (loss, eval) = (loss as Loss, Mode::Eval);
        let gap = SharpnessGapConfig::new(vec![2, 4]).with_num_batches(2).with_mode(eval);
        let noise = GradientNoiseConfig::new(4).with_num_batches(2).with_mode(eval);
        let extremes = MiniBatchExtremesConfig::new(4).with_num_batches(2).with_max_applies(10);
        Self {
            gap: gap.with_max_applies(10).init(loss),
            noise: noise.with_learning_rate(Some(0.05)).init(loss),
            critical: CriticalSharpnessConfig::new().init(loss),
            contraction: ContractionConfig::new(4, 0.05)
                .with_max_applies(3)
                .with_mode(eval)
                .init(loss),
            kernel: NoiseKernelConfig::new(4, 0.05).with_max_applies(6).with_mode(eval).init(loss),
            extremes: extremes.init(loss),
            along: BatchSharpnessConfig::new(4).with_num_batches(2).init(loss),
        }
    }

    fn measure(&mut self, model: &Net, set: &Pair) {
        let gradient = model.hessian(set.clone(), loss).unwrap().gradient().clone();
        self.gap.measure(model, set).unwrap();
        self.noise.measure(model, set).unwrap();
        self.critical.measure(model, set).unwrap();
        self.contraction.measure(model, set).unwrap();
        self.kernel.measure(model, set).unwrap();
        self.extremes.measure(model, set).unwrap();
        self.along.measure_momentum(model, set, 0.9, &gradient).unwrap();
        self.along.measure_step(model, set, &gradient).unwrap();
        self.along.measure_steps(model, set, |g| Ok(g.scale(-0.05))).unwrap();
        self.along.measure_step_live(model, set.clone(), &gradient).unwrap();
    }
}

/// Ten epochs of SGD with momentum and dropout; the losses and the final model.
fn train(measure: bool) -> (Vec<u32>, Vec<Vec<u8>>) {
    let device = Device::flex().autodiff();
    device.seed(11);
    // burn draws a parameter's initial value at its first use, which a measurement could be: read
    // them here, so that both runs draw them before the first dropout mask.
    let mut model = Net::new(&device);
    snapshot(&model);
    let momentum = MomentumConfig::new().with_momentum(0.9);
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let set = data(20, &device);
    let mut mini = MiniBatchSharpnessConfig::new(4).with_num_batches(3).init(loss);
    let mut along = BatchSharpnessConfig::new(4).with_num_batches(3).init(loss);
    let mut full = FullBatchSharpnessConfig::new().init(loss);
    let eval = FullBatchSharpnessConfig::new().with_mode(Mode::Eval).with_chunk_size(7);
    let mut eval = eval.init(loss);
    let noisy = MiniBatchSharpnessConfig::new(4).with_num_batches(3).with_mode(MODES[2]);
    let mut noisy = noisy.init(loss);
    let mut others = Others::new();
    let mut losses = Vec::new();
    for step in 0..50 {
        let range = step % 5 * 4..step % 5 * 4 + 4;
        let batch = (set.0.clone().slice([range.clone()]), set.1.clone().slice([range]));
        if measure {
            mini.measure(&model, &set).unwrap();
            mini.measure_live(&model, batch.clone()).unwrap();
            along.measure(&model, &set).unwrap();
            full.measure(&model, &set).unwrap();
            eval.measure(&model, &set).unwrap();
            noisy.measure(&model, &set).unwrap();
            others.measure(&model, &set);
        }
        let value = loss(&model, batch);
        losses.push(value.clone().into_scalar::<f32>().to_bits());
        let gradients = GradientsParams::from_grads(value.backward(), &model);
        model = optimizer.step(0.05, model, gradients);
    }
    // Ids differ between runs, values must not.
    (losses, snapshot(&model).into_iter().map(|(_, _, bytes)| bytes).collect())
}

#[test]
fn training_with_measurements_is_training_without() {
    let _alone = ONE_AT_A_TIME.lock();
    let (losses, weights) = train(false);
    let (measured_losses, measured_weights) = train(true);
    assert_eq!(losses, measured_losses);
    assert!(weights == measured_weights, "the final weights differ");
    assert_ne!(losses[0], losses[45], "the run must move");
}
