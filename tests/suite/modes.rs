//! Modes: which network is differentiated.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::nn::{GaussianNoise, GaussianNoiseConfig};
use burn::tensor::{Bool, DType, Device, Distribution, Int, Tensor};
use burn_sharpness::estimator::CriticalSharpnessConfig;
use burn_sharpness::operator::{ChunkMemory, FullBatchHessian};
use burn_sharpness::prelude::*;
use burn_sharpness::{Error, Mode};

use crate::common::{assert_close, float, max_abs, wave};

#[derive(Module, Debug)]
struct Net {
    inputs: Linear,
    norms: Vec<BatchNorm>,
    dropout: Dropout,
    outputs: Linear,
}

type Pair = (Tensor<2>, Tensor<2>);

/// In f64, with running statistics that are not those of the data.
fn net(device: &Device) -> Net {
    struct Fill(usize);
    impl ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            self.0 += 1;
            let n = tensor.shape().num_elements();
            let values = wave(n, self.0 as f64).iter().map(|w| 0.9 + 0.5 * w).collect();
            let device = tensor.device();
            let tensor = float(values, tensor.dims(), DType::F64, &device)
                .set_require_grad(tensor.is_require_grad());
            Param::from_mapped_value(id, tensor, mapper)
        }
    }
    let net = Net {
        inputs: LinearConfig::new(5, 6).init(device),
        norms: (0..2).map(|_| BatchNormConfig::new(6).init(device)).collect(),
        dropout: DropoutConfig::new(0.5).init(),
        outputs: LinearConfig::new(6, 2).init(device),
    };
    net.map(&mut Fill(0))
}

fn loss(model: &Net, (x, y): Pair) -> Tensor<1> {
    let hidden = model.norms[0].forward(model.inputs.forward(x)).tanh();
    let hidden = model.dropout.forward(model.norms[1].forward(hidden));
    (model.outputs.forward(hidden) - y).powi_scalar(2).mean()
}

fn batch(n: usize, device: &Device) -> Pair {
    let tensor = |k, phase| float(wave(k * n, phase), [n, k], DType::F64, device);
    (tensor(5, 0.3), tensor(2, 1.3))
}

/// Loss and gradient by burn's own autodiff, with dropout off and all else as the model says.
fn burn(model: &Net) -> (f64, Vec<f64>) {
    let device = Device::flex().autodiff();
    let mut model = model.clone();
    model.dropout = model.dropout.freeze();
    // Training moves the running statistics: on a copy.
    let model = model.valid().train();
    let value = loss(&model, batch(8, &device));
    let loss: f64 = value.clone().into_scalar();
    let mut grads = value.backward();
    let mut all = Vec::new();
    let mut push = |gradient: Option<Tensor<1>>| {
        all.extend(gradient.unwrap().into_data().iter::<f64>());
    };
    let linear = |linear: &Linear, grads: &mut burn::tensor::Gradients| {
        let weight = linear.weight.val().grad_remove(grads).map(|g| {
            let n = g.shape().num_elements();
            g.reshape([n])
        });
        [weight, linear.bias.as_ref().unwrap().val().grad_remove(grads)]
    };
    linear(&model.inputs, &mut grads).into_iter().for_each(&mut push);
    for norm in &model.norms {
        let of = [&norm.gamma, &norm.beta].map(|p| p.val().grad_remove(&mut grads));
        of.into_iter().filter(Option::is_some).for_each(&mut push);
    }
    linear(&model.outputs, &mut grads).into_iter().for_each(&mut push);
    (loss, all)
}

/// Loss, gradient and one product.
fn measured(model: &Net, mode: Mode) -> (f64, Vec<f64>, Vec<f64>) {
    let device = model.inputs.weight.val().device();
    let hessian = model.hessian_in(mode, batch(8, &device), loss).unwrap();
    let v = hessian.space().from_values(&wave(hessian.dim(), 0.7)).unwrap();
    let product = hessian.apply(&v).unwrap().to_values().unwrap();
    (hessian.loss(), hessian.gradient().to_values().unwrap(), product)
}

/// Rounding of f64 through some fifty operations, with cancellation in the normalization.
const ROUNDING: f64 = 1e-11;

#[test]
fn train_is_what_a_training_step_differentiates() {
    let model = net(&Device::flex().autodiff());
    let (value, gradient) = burn(&model);
    let ours = measured(&model, Mode::Train);
    assert_close(&[ours.0], &[value], ROUNDING, "loss");
    assert_close(&ours.1, &gradient, ROUNDING, "gradient");
}

#[test]
fn layers_that_are_frozen_act_as_in_evaluation() {
    let model = net(&Device::flex().autodiff());
    let all = measured(&model, Mode::Train);
    for frozen in 0..2 {
        let mut model = model.clone();
        model.norms[frozen] = model.norms[frozen].clone().freeze();
        let (value, gradient) = burn(&model);
        let ours = measured(&model, Mode::Train);
        assert_close(&[ours.0], &[value], ROUNDING, "loss");
        assert_close(&ours.1, &gradient, ROUNDING, "gradient");
        assert!((ours.0 - all.0).abs() > 1e-3 * all.0, "freezing norm {frozen} makes a difference");
    }
}

#[test]
fn eval_is_the_network_as_it_is_evaluated() {
    let model = net(&Device::flex().autodiff());
    let expected: f64 = loss(&model.valid(), batch(8, &Device::flex())).into_scalar();
    let (eval, train) = (measured(&model, Mode::Eval), measured(&model, Mode::Train));
    assert_close(&[eval.0], &[expected], ROUNDING, "loss");
    assert!((eval.0 - train.0).abs() > 1e-3 * train.0, "the modes differ on this network");
    let mut frozen = model.clone();
    frozen.norms = frozen.norms.into_iter().map(only_flags_off).collect();
    assert_eq!(measured(&frozen, Mode::Train), eval, "evaluation is training with every flag off");
}

fn only_flags_off(norm: BatchNorm) -> BatchNorm {
    BatchNorm { training: norm.training.clone().with_value(false), ..norm }
}

#[test]
fn the_device_and_the_copy_make_no_difference() {
    let model = net(&Device::flex().autodiff());
    for mode in [Mode::Train, Mode::Eval, Mode::TrainWithNoise { seed: 3 }] {
        let here = measured(&model, mode);
        for copy in [model.clone(), model.valid(), model.valid().train()] {
            assert_eq!(measured(&copy, mode), here, "{mode:?}");
        }
    }
}

#[test]
fn batch_statistics_give_the_product_that_differences_give() {
    let device = Device::flex();
    let model = net(&device);
    for mode in [Mode::Train, Mode::Eval, Mode::TrainWithNoise { seed: 3 }] {
        let (_, gradient, product) = measured(&model, mode);
        let v = wave(product.len(), 0.7);
        // h = 1e-5 in f64: h² = 1e-10 of truncation, ε/h = 2e-11 of rounding, times higher
        // derivatives of order ten.
        let h = 1e-5;
        let at = |h: f64| measured(&moved(&model, &v, h), mode).1;
        let differences =
            at(h).iter().zip(at(-h)).map(|(a, b)| (a - b) / (2.0 * h)).collect::<Vec<_>>();
        let scale = max_abs(&product) + max_abs(&gradient);
        for (ours, difference) in product.iter().zip(&differences) {
            assert!((ours - difference).abs() <= 1e-7 * scale, "{mode:?}: {ours} {difference}");
        }
    }
}

/// The model at θ + h·v.
fn moved(model: &Net, v: &[f64], h: f64) -> Net {
    struct Move<'a>(&'a [f64], f64);
    impl ModuleMapper for Move<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            // Running statistics are no parameters.
            if !param.clone().train().is_require_grad() {
                return param;
            }
            let (id, tensor, mapper) = param.consume();
            let (here, rest) = self.0.split_at(tensor.shape().num_elements());
            self.0 = rest;
            let step = here.iter().map(|v| self.1 * v).collect();
            let step = float(step, tensor.dims(), DType::F64, &tensor.device());
            Param::from_mapped_value(id, tensor + step, mapper)
        }
    }
    model.clone().map(&mut Move(v, h))
}

#[test]
fn noise_has_a_seed() {
    let model = net(&Device::flex());
    let at = |seed| measured(&model, Mode::TrainWithNoise { seed });
    assert_eq!(at(1), at(1));
    assert_ne!(at(1).0, at(2).0);
    let mut quiet = model.clone();
    quiet.dropout = quiet.dropout.freeze();
    let noise = measured(&quiet, Mode::TrainWithNoise { seed: 1 });
    let train = measured(&model, Mode::Train);
    assert_close(&[noise.0], &[train.0], ROUNDING, "loss without dropout");
    assert_close(&noise.1, &train.1, ROUNDING, "gradient without dropout");
    assert_close(&noise.2, &train.2, 1e3 * ROUNDING, "product without dropout");
}

#[derive(Module, Debug)]
struct Masked {
    weight: Param<Tensor<1>>,
    dropout: Dropout,
    noise: GaussianNoise,
}

#[test]
fn masks_are_those_of_dropout() {
    let n = 4000;
    let device = Device::flex();
    let model = Masked {
        weight: Param::from_tensor(Tensor::ones([n], &device)),
        dropout: DropoutConfig::new(0.25).init(),
        noise: GaussianNoiseConfig::new(2.0).init(),
    };
    let dropped = |m: &Masked, x: Tensor<1>| m.dropout.forward(m.weight.val() * x).sum();
    let mode = Mode::TrainWithNoise { seed: 5 };
    let x = Tensor::<1>::ones([n], &device);
    let hessian = model.hessian_in(mode, x.clone(), dropped).unwrap();
    let gradient = hessian.gradient().to_values().unwrap();
    let kept = gradient.iter().filter(|g| **g != 0.0).count();
    assert!(gradient.iter().all(|g| *g == 0.0 || (*g as f32 - 4.0 / 3.0).abs() < 1e-6));
    // A binomial of 4000 draws: five standard deviations are 137.
    assert!((kept as f64 - 3000.0).abs() < 137.0, "{kept} kept");

    // Gaussian noise on w·x: L = Σ (w + 2z)², gradient 2(w + 2z), of mean 2 and deviation 4.
    let noisy = |m: &Masked, x: Tensor<1>| m.noise.forward(m.weight.val() * x).powi_scalar(2).sum();
    let gradient = model.hessian_in(mode, x.clone(), noisy).unwrap();
    let gradient = gradient.gradient().to_values().unwrap();
    let mean = gradient.iter().sum::<f64>() / n as f64;
    let variance = gradient.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n as f64;
    // Five standard errors: 4/√n, and √(2/n)·16 for the variance.
    assert!((mean - 2.0).abs() < 5.0 * 4.0 / (n as f64).sqrt(), "mean {mean}");
    assert!((variance - 16.0).abs() < 5.0 * (2.0 / n as f64).sqrt() * 16.0, "variance {variance}");
    // Off in training without noise.
    let quiet = model.hessian(x, noisy).unwrap().gradient().to_values().unwrap();
    assert!(quiet.iter().all(|g| *g == 2.0));
}

#[test]
fn what_the_loss_draws_itself_is_fixed_too() {
    let model = net(&Device::flex());
    let jittered = |m: &Net, (x, y): Pair| {
        let noise = x.random_like(Distribution::Normal(0.0, 0.1));
        loss(m, (x + noise, y))
    };
    let batch = batch(8, &Device::flex());
    let error = model.hessian(batch.clone(), jittered).unwrap_err();
    assert!(matches!(&error, Error::UnsupportedOps(ops) if ops[0].name == "float.Random"));
    let mode = Mode::TrainWithNoise { seed: 1 };
    let hessian = model.hessian_in(mode, batch, jittered).unwrap();
    let v = hessian.gradient().clone();
    let products = [hessian.apply(&v).unwrap(), hessian.apply(&v).unwrap()];
    assert_eq!(products[0].to_values().unwrap(), products[1].to_values().unwrap());
}

#[test]
fn detach_is_an_error_in_every_mode() {
    let model = net(&Device::flex());
    // L = ⟨w, detach w⟩: burn's gradient is w, that of what is recorded 2w.
    let detached = |m: &Net, (x, _): Pair| {
        let w = m.outputs.weight.val();
        (w.clone() * w.detach()).sum() + x.sum() * 0.0
    };
    for mode in [Mode::Train, Mode::Eval, Mode::TrainWithNoise { seed: 1 }] {
        let error = model.hessian_in(mode, batch(8, &Device::flex()), detached).unwrap_err();
        assert!(matches!(error, Error::GradientMismatch { .. }), "{mode:?}: {error:?}");
    }
}

/// A layer of a user's own, in burn's manner: other in training than in evaluation.
#[derive(Module, Debug)]
struct Doubling {
    weight: Param<Tensor<1>>,
    training: Param<Flag>,
}

#[test]
fn a_layer_of_ones_own_that_trains_differently_is_no_silent_evaluation() {
    let device = Device::flex();
    let weight = Param::from_tensor(Tensor::ones([3], &device));
    let model = Doubling { weight, training: Param::from_bool(true) };
    let loss = |m: &Doubling, x: Tensor<1>| {
        let x = m.weight.val() * x;
        let trains = m.training.is_enabled() && x.device().is_autodiff();
        (if trains { x * 2.0 } else { x }).powi_scalar(2).sum()
    };
    let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device);
    let sharpness = |mode| model.sharpness_in(mode, x.clone(), loss);
    // Twice, and evaluation first: what one mode has verified says nothing of another.
    for _ in 0..2 {
        assert!((sharpness(Mode::Eval).unwrap().value - 18.0).abs() < 1e-4);
        let error = sharpness(Mode::Train).unwrap_err();
        assert!(matches!(error, Error::GradientMismatch { .. }), "{error:?}");
        let trained = sharpness(Mode::TrainWithNoise { seed: 0 }).unwrap().value;
        assert!((trained - 72.0).abs() < 1e-3, "{trained}");
    }
}

#[test]
fn integers_that_become_floats_are_in_training_too() {
    let device = Device::flex();
    let model = Masked {
        weight: Param::from_tensor(Tensor::ones([64], &device)),
        dropout: DropoutConfig::new(0.5).init(),
        noise: GaussianNoiseConfig::new(1.0).init(),
    };
    let loss =
        |m: &Masked, x: Tensor<1, Int>| (m.dropout.forward(x.float()) * m.weight.val()).sum();
    let x = Tensor::<1, Int>::ones([64], &device);
    let hessian = model.hessian_in(Mode::TrainWithNoise { seed: 4 }, x, loss).unwrap();
    let gradient = hessian.gradient().to_values().unwrap();
    let dropped = gradient.iter().filter(|g| **g == 0.0).count();
    // A binomial of 64 draws: five standard deviations are 20.
    assert!((12..=52).contains(&dropped), "{dropped} of 64 dropped");
}

#[derive(Module, Debug)]
struct Attention {
    attention: MultiHeadAttention,
}

#[test]
fn attention_with_dropout_and_a_padding_mask() {
    let device = Device::flex();
    let model = Attention {
        attention: MultiHeadAttentionConfig::new(4, 2).with_dropout(0.3).init(&device),
    };
    let x = float(wave(24, 0.4), [2, 3, 4], DType::F32, &device);
    let padding =
        Tensor::<2, Bool>::from_bool([[false, false, false], [false, false, true]], &device);
    let loss = |m: &Attention, (x, padding): (Tensor<3>, Tensor<2, Bool>)| {
        let input = MhaInput::self_attn(x).mask_pad(padding);
        m.attention.forward(input).context.powi_scalar(2).mean()
    };
    let batch = (x, padding);
    let mode = Mode::TrainWithNoise { seed: 2 };
    let with = model.hessian_in(mode, batch.clone(), loss).unwrap();
    let without = model.hessian(batch, loss).unwrap();
    assert_ne!(with.loss(), without.loss());
    let v = with.gradient().clone();
    assert!(v.dot(&with.apply(&v).unwrap()).unwrap().is_finite());
}

#[test]
fn estimators_measure_in_their_mode() {
    let model = net(&Device::flex());
    let data = batch(24, &Device::flex());
    let mean = |mode| {
        let config = MiniBatchSharpnessConfig::new(8).with_num_batches(2).with_mode(mode);
        config.init(loss).measure(&model, &data).unwrap().estimate.mean
    };
    let [train, eval, noise] =
        [Mode::Train, Mode::Eval, Mode::TrainWithNoise { seed: 1 }].map(mean);
    assert!(train != eval && train != noise && eval != noise);
    let along = |mode| {
        let config = BatchSharpnessConfig::new(8).with_num_batches(2).with_mode(mode);
        config.init(loss).measure(&model, &data).unwrap().estimate.mean
    };
    assert_ne!(along(Mode::Train), along(Mode::Eval));
    // Batches have noise of their own: one sample, drawn again and again.
    let one = (data.0.clone().narrow(0, 0, 1), data.1.clone().narrow(0, 0, 1));
    let mut model = model.clone();
    model.norms = model.norms.into_iter().map(Module::freeze).collect();
    let config = MiniBatchSharpnessConfig::new(1).with_num_batches(6).with_min_batches(6);
    let noisy = config.with_sampling(Sampling::WithReplacement);
    let noisy = noisy.with_mode(Mode::TrainWithNoise { seed: 1 });
    let values = noisy.init(loss).measure(&model, &one).unwrap().values;
    assert!(values.iter().any(|v| *v != values[0]), "{values:?}");
}

#[test]
fn measurements_have_noise_of_their_own() {
    let model = net(&Device::flex());
    let (data, mode) = (batch(8, &Device::flex()), Mode::TrainWithNoise { seed: 1 });
    let mut live = MiniBatchSharpnessConfig::new(8).with_mode(mode).init(loss);
    let mut value = || live.measure_live(&model, data.clone()).unwrap().value;
    assert_ne!(value(), value());
    let mut full = FullBatchSharpnessConfig::new().with_mode(mode).init(loss);
    let mut value = || full.measure(&model, &data).unwrap().value;
    assert_ne!(value(), value());
}

#[test]
fn steps_and_searches_have_noise_of_their_own() {
    let model = net(&Device::flex());
    let (data, mode) = (batch(8, &Device::flex()), Mode::TrainWithNoise { seed: 1 });
    let step = model.hessian(data.clone(), loss).unwrap().gradient().scale(-0.1);
    let live = |draws| {
        let config = BatchSharpnessConfig::new(8).with_mode(mode).with_draws(draws);
        let mut along = config.init(loss);
        [0, 1].map(|_| along.measure_step_live(&model, data.clone(), &step).unwrap())
    };
    let (fresh, fixed) = (live(Draws::Fresh), live(Draws::Fixed));
    assert_ne!(fresh[0], fresh[1]);
    assert_eq!(fixed, [fresh[0]; 2]);
    assert_eq!(live(Draws::Fresh), fresh, "the same seed, the same noise");
    let search = || {
        let mut critical = CriticalSharpnessConfig::new().with_mode(mode).init(loss);
        [0, 1].map(|_| critical.measure(&model, &data).unwrap().loss)
    };
    let found = search();
    assert_ne!(found[0], found[1]);
    assert_eq!(search(), found);
}

#[test]
fn batch_statistics_are_no_mean_over_samples() {
    let model = net(&Device::flex());
    let data = batch(24, &Device::flex());
    let full = |mode, chunk| {
        FullBatchHessian::in_mode(&model, &data, loss, chunk, ChunkMemory::Keep, mode)
    };
    for mode in [Mode::Train, Mode::TrainWithNoise { seed: 1 }] {
        assert_eq!(full(mode, 8).unwrap_err(), Error::BatchStatisticsInChunks, "{mode:?}");
        // Found by its structure: here the loss of a few samples would not show it.
        let constant = |m: &Net, x: Pair| loss(m, x) * 0.0 + 1.0;
        let memory = ChunkMemory::Keep;
        let error = FullBatchHessian::in_mode(&model, &data, constant, 8, memory, mode);
        assert_eq!(error.unwrap_err(), Error::BatchStatisticsInChunks, "{mode:?}");
    }
    full(Mode::Train, 24).unwrap();
    let (chunks, whole) = (full(Mode::Eval, 7).unwrap(), full(Mode::Eval, 24).unwrap());
    assert_close(&[chunks.loss()], &[whole.loss()], ROUNDING, "loss");
    let sharpness = FullBatchSharpnessConfig::new().with_chunk_size(7).with_mode(Mode::Eval);
    assert!(sharpness.init(loss).measure(&model, &data).unwrap().converged);
}
