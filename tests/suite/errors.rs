//! Every kind of bad input, by its exact error variant. Over 500 lines: a list, a few lines for each.

use burn::module::{Module, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::ops::InterpolateMode;
use burn::tensor::{DType, Device, Distribution, Int, Tensor};
use burn_sharpness::operator::{ChunkMemory, FullBatchHessian};
use burn_sharpness::prelude::*;
use burn_sharpness::solver::PowerIterationConfig;
use burn_sharpness::{Error, ParamBlock, jvp};

use crate::common::{Dense, float, wave};

type Pair = (Tensor<2>, Tensor<2>);

fn cpu() -> Device {
    Device::flex()
}

fn model() -> Dense {
    Dense {
        weight: Param::from_tensor(float(wave(12, 0.1), [4, 3], DType::F32, &cpu())),
        bias: Param::from_tensor(float(wave(3, 0.2), [3], DType::F32, &cpu())),
    }
}

fn data(n: usize) -> Pair {
    let x = float(wave(4 * n, 0.3), [n, 4], DType::F32, &cpu());
    (x, float(wave(3 * n, 0.4), [n, 3], DType::F32, &cpu()))
}

fn squared_error(model: &Dense, (x, y): Pair) -> Tensor<1> {
    (model.forward(x) - y).powi_scalar(2).mean()
}

/// The error of a loss, and that the model works as before after it.
fn error_of(loss: impl Fn(&Dense, Pair) -> Tensor<1>) -> Error {
    let model = model();
    let before = model.sharpness(data(5), squared_error).unwrap().value;
    let error = model.hessian(data(5), loss).unwrap_err();
    assert_eq!(model.sharpness(data(5), squared_error).unwrap().value, before);
    assert!(error.to_string().len() > 40, "says too little: {error}");
    error
}

#[test]
fn all_unsupported_operations_are_named_at_once() {
    let model = Conv2dConfig::new([1, 1], [3, 3]).init(&cpu());
    let x = Tensor::<4>::random([2, 1, 8, 8], Distribution::Default, &cpu());
    let loss = |m: &Conv2d, x: Tensor<4>| {
        let y = m.forward(x);
        let grid = Tensor::<4>::zeros([2, 5, 5, 2], &y.device());
        let noise = y.random_like(Distribution::Default);
        (y + noise).grid_sample_2d(grid, InterpolateMode::Nearest).mean()
    };
    match model.hessian(x, loss).unwrap_err() {
        Error::UnsupportedOps(ops) => {
            let names: Vec<_> = ops.iter().map(|op| op.name.as_str()).collect();
            assert_eq!(names, ["float.Random", "float.GridSample2d"]);
            assert!(ops[0].index < ops[1].index);
            assert_eq!(ops[1].shapes, [vec![2, 1, 6, 6], vec![2, 5, 5, 2]]);
            assert!(ops[0].reason.contains("TrainWithNoise"));
            assert!(ops[1].reason.contains("bilinear"));
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn a_random_operation_in_the_loss_is_unsupported() {
    let error = error_of(|m, (x, y)| {
        let noise = Tensor::<2>::random(x.dims(), Distribution::Default, &x.device());
        squared_error(m, (x + noise, y))
    });
    assert!(
        matches!(&error, Error::UnsupportedOps(ops) if ops[0].name == "float.Random"),
        "{error:?}"
    );
}

#[test]
fn loss_that_is_not_a_scalar() {
    let error = error_of(|m, (x, _)| m.forward(x).sum_dim(1).squeeze_dim(1));
    assert_eq!(error, Error::NonScalarLoss { shape: vec![5] });
}

#[test]
fn loss_that_reads_values() {
    let error = error_of(|m, (x, y)| {
        let scale: f32 = x.clone().mean().into_scalar();
        squared_error(m, (x, y)) * scale
    });
    assert!(matches!(error, Error::LossReadsData { .. }), "{error:?}");
    let error = error_of(|m, (x, y)| {
        let labels = y.argmax(1).squeeze_dim::<1>(1);
        squared_error(m, (x, labels.one_hot::<2>(3).float()))
    });
    assert!(matches!(error, Error::LossReadsData { .. }), "{error:?}");
}

#[test]
fn loss_that_mixes_devices() {
    let target = data(5).1;
    let error = error_of(|m, (x, _)| squared_error(m, (x, target.clone())));
    assert!(matches!(error, Error::LossMixesDevices { .. }), "{error:?}");
    let other = model();
    let error = error_of(|_, batch| squared_error(&other, batch));
    assert!(matches!(error, Error::LossMixesDevices { .. }), "{error:?}");
    // Ignores its arguments altogether: the loss itself is on another device.
    let outside = data(5).0.mean();
    let error = error_of(|_, _| outside.clone());
    assert!(matches!(error, Error::LossMixesDevices { .. }), "{error:?}");
    // A loss with class weights that was made outside, on the model's device.
    let weighted =
        CrossEntropyLossConfig::new().with_weights(Some(vec![1.0, 2.0, 3.0])).init(&cpu());
    let error = error_of(|m, (x, _)| {
        let labels = Tensor::<1, Int>::zeros([5], &x.device());
        weighted.forward(m.forward(x), labels)
    });
    assert!(matches!(error, Error::LossMixesDevices { .. }), "{error:?}");
    let tracked = data(5).1.autodiff();
    let error = error_of(|m, (x, _)| squared_error(m, (x, tracked.clone())));
    assert!(matches!(error, Error::LossMixesDevices { .. }), "{error:?}");
}

#[test]
fn loss_that_panics() {
    let error = error_of(|_, _| panic!("the closure gives up"));
    assert_eq!(error, Error::LossPanicked { message: "the closure gives up".into() });
    let error = error_of(|m, (x, _)| m.forward(x.transpose()).mean());
    assert!(matches!(error, Error::LossPanicked { .. }), "{error:?}");
    let error = error_of(|m, (x, y)| squared_error(m, (x, y)).backward_is_called());
    assert!(matches!(error, Error::LossPanicked { .. }), "{error:?}");
}

trait Backward {
    fn backward_is_called(self) -> Self;
}

impl Backward for Tensor<1> {
    fn backward_is_called(self) -> Self {
        self.backward();
        self
    }
}

#[test]
fn loss_whose_gradient_is_not_the_recorded_one() {
    // burn's capture device does not record `detach`: ignoring it would give a wrong Hessian.
    for _ in 0..2 {
        let error = error_of(|m, (x, y)| {
            let f = m.forward(x);
            (f.clone().detach() * f - y).powi_scalar(2).mean()
        });
        assert!(
            matches!(error, Error::GradientMismatch { relative_difference: d } if d > 0.1),
            "{error:?}"
        );
    }
    // Recorded like the loss before, which is right: each closure is checked for itself.
    let product = |m: &Dense, (x, y): Pair| {
        let f = m.forward(x);
        (f.clone() * f - y).powi_scalar(2).mean()
    };
    assert!(model().hessian(data(5), product).is_ok());
    let error = error_of(|m, (x, y)| {
        let f = m.forward(x);
        (f.clone().detach() * f - y).powi_scalar(2).mean()
    });
    assert!(matches!(error, Error::GradientMismatch { .. }), "{error:?}");
    let error = error_of(|m, (x, y)| {
        let scale = if x.device().is_autodiff() { 2.0 } else { 1.0 };
        squared_error(m, (x, y)) * scale
    });
    assert_eq!(error, Error::GradientMismatch { relative_difference: 0.5 });
}

#[test]
fn a_small_part_of_the_gradient_is_checked_too() {
    // burn's ∂L/∂b is b, the recorded one 2b: both a few thousandths of the whole gradient.
    let error = error_of(|m, _| {
        let b = m.bias.val();
        m.weight.val().sum() * 1000.0 + (b.clone() * b.detach()).sum()
    });
    assert!(
        matches!(error, Error::GradientMismatch { relative_difference: d } if (d - 0.5).abs() < 1e-6),
        "{error:?}"
    );
}

#[test]
fn a_gradient_that_is_zero_on_paper_is_no_mismatch() {
    // f − f̄ does not depend on the bias, whose gradient is what rounding leaves; by burn's autodiff
    // that of 1/3 to f32.
    let loss = |m: &Dense, (x, _): Pair| {
        let f = m.forward(x);
        (f.clone().div_scalar(3.0) - f.mean_dim(0).mul_scalar(1.0 / 3.0)).exp().mean()
    };
    assert!(model().hessian(data(64), loss).is_ok());
    let (x, y) = data(64);
    let batch = (x.cast(DType::F64), y.cast(DType::F64));
    let hessian = Dense::wavy(4, 3, 0.1).hessian(batch, loss).unwrap();
    let bias = hessian.gradient().param::<1>("bias").unwrap().into_data();
    assert!(bias.iter::<f64>().all(|g| g.abs() < 1e-15), "{bias}");
}

#[test]
fn directional_derivatives_are_checked_too() {
    let gradient = model().hessian(data(5), squared_error).unwrap().gradient().clone();
    let (_, slope) = jvp(&model(), data(5), squared_error, &gradient).unwrap();
    let square = gradient.dot(&gradient).unwrap();
    assert!((slope / square - 1.0).abs() < 1e-5, "{slope} is not {square}");
    let detached = |m: &Dense, (x, y): Pair| {
        let f = m.forward(x);
        (f.clone().detach() * f - y).powi_scalar(2).mean()
    };
    for _ in 0..2 {
        let error = jvp(&model(), data(5), detached, &gradient).unwrap_err();
        assert!(matches!(error, Error::GradientMismatch { .. }), "{error:?}");
    }
}

#[test]
fn a_check_without_anything_to_compare_is_made_again() {
    let loss = |m: &Dense, (x, y): Pair| {
        let f = m.forward(x);
        (f.clone().detach() * f - y).powi_scalar(2).mean()
    };
    let (x, y) = data(5);
    let error = model().hessian((x / 0.0, y), loss).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error:?}");
    let error = model().hessian(data(5), loss).unwrap_err();
    assert!(matches!(error, Error::GradientMismatch { .. }), "{error:?}");
}

#[test]
fn chunks_of_a_loss_that_is_no_mean() {
    let sum = |m: &Dense, (x, y): Pair| (m.forward(x) - y).powi_scalar(2).sum();
    let measure = |chunk: usize| {
        FullBatchSharpnessConfig::new().with_chunk_size(chunk).init(sum).measure(&model(), &data(8))
    };
    let error = measure(3).unwrap_err();
    assert!(
        matches!(error, Error::NotAMeanOverSamples { together, mean } if together > 2.0 * mean),
        "{error:?}"
    );
    // In one chunk any loss is itself.
    let whole = model().sharpness(data(8), sum).unwrap().value;
    assert!((measure(8).unwrap().value / whole - 1.0).abs() < 1e-3);
}

#[test]
fn detach_of_what_needs_no_gradient_is_fine() {
    let loss = |m: &Dense, (x, y): Pair| squared_error(m, (x.detach(), y.detach()));
    let expected = model().sharpness(data(5), squared_error).unwrap().value;
    assert_eq!(model().sharpness(data(5), loss).unwrap().value, expected);
}

#[test]
fn the_check_of_the_gradient_accepts_an_exact_minimum() {
    // Both gradients are rounding errors of one another here.
    let x = data(5).0;
    let y = model().forward(x.clone()) * (1.0 + f64::from(f32::EPSILON));
    let loss = |m: &Dense, (x, y): Pair| ((m.forward(x) - y) / 3.0).powi_scalar(2).mean();
    assert!(model().sharpness((x, y), loss).unwrap().converged);
}

#[test]
fn model_without_trainable_parameters() {
    let error = model().no_grad().hessian(data(5), squared_error).unwrap_err();
    assert_eq!(error, Error::NoParameters);
    let error = model().no_grad().sharpness(data(5), squared_error).unwrap_err();
    assert_eq!(error, Error::NoParameters);
}

#[test]
fn loss_without_the_model() {
    assert_eq!(
        error_of(|_, (x, y)| (x.sum_dim(1) - y.sum_dim(1)).mean()),
        Error::LossIndependentOfParameters
    );
}

#[test]
fn messages_of_burn_come_with_what_to_do() {
    let inner = error_of(|m, (x, y)| squared_error(m, (Tensor::from_inner(x), y)));
    assert!(inner.to_string().contains("pass such tensors in the batch"), "{inner}");
    let (x, y) = data(5);
    let model = model();
    let error = model.hessian((x.cast(DType::F64), y), squared_error).unwrap_err();
    assert!(error.to_string().contains("cast the batch"), "{error}");
    // What a `main` that returns an error prints.
    assert_eq!(format!("{error:?}"), error.to_string());
}

#[test]
fn loss_that_depends_on_the_parameters_through_integers() {
    let accuracy = |m: &Dense, (x, _): Pair| m.forward(x).argmax(1).float().mean();
    assert_eq!(error_of(accuracy), Error::ParametersThroughIntegers);
    let count = |m: &Dense, (x, _): Pair| m.forward(x).greater_scalar(0.0).float().mean();
    assert_eq!(error_of(count), Error::ParametersThroughIntegers);
}

#[test]
fn parameters_of_other_dtypes() {
    let mut mixed = model();
    mixed.bias = Param::from_tensor(float(wave(3, 0.2), [3], DType::F64, &cpu()));
    let error = mixed.hessian(data(5), squared_error).unwrap_err();
    let (name, dtype, expected) = ("bias".into(), "F64".into(), "F32".into());
    assert_eq!(error, Error::ParameterDType { name, dtype, expected });

    let mut half = model();
    half.weight = half.weight.map(|w| w.cast(DType::F16));
    let error = half.hessian(data(5), squared_error).unwrap_err();
    let (name, dtype, expected) = ("weight".into(), "F16".into(), "F32 or F64".into());
    assert_eq!(error, Error::ParameterDType { name, dtype, expected });
}

/// Needs a second backend: `cargo test --features ndarray`.
#[cfg(feature = "ndarray")]
#[allow(deprecated)] // by burn, which still ships it
#[test]
fn tensors_on_two_devices() {
    let there = Device::ndarray();
    let error =
        model().hessian((data(5).0, data(5).1.to_device(&there)), squared_error).unwrap_err();
    assert!(
        matches!(&error, Error::DeviceMismatch { name, .. } if name == "batch tensor 1"),
        "{error:?}"
    );
    let mut split = model();
    split.bias = split.bias.to_device(&there);
    let error = split.hessian(data(5), squared_error).unwrap_err();
    assert!(matches!(&error, Error::DeviceMismatch { name, .. } if name == "bias"), "{error:?}");
}

#[test]
fn tied_parameters_with_different_values() {
    #[derive(Module, Debug)]
    struct Tied {
        encoder: Param<Tensor<2>>,
        decoder: Param<Tensor<2>>,
    }
    let id = ParamId::new();
    let tensor = |phase| float(wave(12, phase), [4, 3], DType::F32, &cpu());
    let loss = |m: &Tied, (x, _): Pair| {
        let hidden = x.clone().matmul(m.encoder.val());
        (hidden.matmul(m.decoder.val().transpose()) - x).powi_scalar(2).mean()
    };
    let tied = |a, b| Tied {
        encoder: Param::initialized(id, tensor(a).autodiff().require_grad()),
        decoder: Param::initialized(id, tensor(b).autodiff().require_grad()),
    };
    assert_eq!(tied(0.1, 0.1).hessian(data(5), loss).unwrap().dim(), 12);
    let error = tied(0.1, 0.2).hessian(data(5), loss).unwrap_err();
    let (first, second) = ("encoder".into(), "decoder".into());
    assert_eq!(error, Error::TiedParametersDiffer { first, second });
}

#[test]
fn empty_batches_and_data_sets() {
    let empty = Error::EmptyBatch { tensor: 0, shape: vec![0, 4] };
    assert_eq!(model().hessian(data(0), squared_error).unwrap_err(), empty);
    let mut monitor = MiniBatchSharpnessConfig::new(1).init(squared_error);
    assert!(matches!(monitor.measure(&model(), &data(0)).unwrap_err(), Error::EmptyBatch { .. }));
    let mut full = FullBatchSharpnessConfig::new().init(squared_error);
    assert!(matches!(full.measure(&model(), &data(0)).unwrap_err(), Error::EmptyBatch { .. }));
    let none: Vec<Tensor<2>> = Vec::new();
    let mut over_nothing =
        FullBatchSharpnessConfig::new().init(|m: &Dense, _: Vec<Tensor<2>>| m.bias.val().sum());
    assert!(matches!(over_nothing.measure(&model(), &none).unwrap_err(), Error::EmptyBatch { .. }));
}

#[test]
fn data_sets_that_do_not_fit() {
    let unequal = (data(8).0, data(7).1);
    let expected = Error::SampleCountMismatch { expected: 8, found: 7 };
    let mut monitor = MiniBatchSharpnessConfig::new(2).init(squared_error);
    assert_eq!(monitor.measure(&model(), &unequal).unwrap_err(), expected);
    let mut full = FullBatchSharpnessConfig::new().init(squared_error);
    assert_eq!(full.measure(&model(), &unequal).unwrap_err(), expected);

    for batch_size in [0, 9] {
        let expected = Error::BatchSize { batch_size, n_samples: 8 };
        let mut monitor = MiniBatchSharpnessConfig::new(batch_size).init(squared_error);
        assert_eq!(monitor.measure(&model(), &data(8)).unwrap_err(), expected);
        let mut along = BatchSharpnessConfig::new(batch_size).init(squared_error);
        assert_eq!(along.measure(&model(), &data(8)).unwrap_err(), expected);
    }
    let error = FullBatchHessian::new(&model(), &data(8), squared_error, 0, ChunkMemory::Keep);
    assert!(
        matches!(error.unwrap_err(), Error::InvalidSetting { setting: "chunk_size", .. }),
        "a chunk size of zero"
    );
}

#[test]
fn settings_out_of_range() {
    let setting = |error: Error| match error {
        Error::InvalidSetting { setting, .. } => setting,
        error => panic!("{error:?}"),
    };
    let base = MiniBatchSharpnessConfig::new(2);
    let monitors = [
        (base.clone().with_num_batches(0), "num_batches"),
        (base.clone().with_target_relative_error(Some(0.0)), "target_relative_error"),
        (base.clone().with_target_relative_error(Some(f64::NAN)), "target_relative_error"),
        (base.clone().with_rel_tol(0.0), "rel_tol"),
        (base.clone().with_max_applies(1), "max_applies"),
    ];
    for (config, name) in monitors {
        let error = config.init(squared_error).measure(&model(), &data(8)).unwrap_err();
        assert_eq!(setting(error), name);
    }
    let hessian = model().hessian(data(5), squared_error).unwrap();
    for k in [0, 16] {
        let solver = LanczosConfig::new().with_num_eigenvalues(k).init();
        assert_eq!(setting(solver.solve(&hessian, None).unwrap_err()), "num_eigenvalues");
        let solver = PowerIterationConfig::new().with_num_eigenvalues(k).init();
        assert_eq!(setting(solver.solve(&hessian, None).unwrap_err()), "num_eigenvalues");
    }
    assert_eq!(setting(ParamBlock::from_vectors(&[]).unwrap_err()), "vectors");
}

#[test]
fn vectors_of_another_space() {
    let hessian = model().hessian(data(5), squared_error).unwrap();
    let other = burn_sharpness::ParamSpace::flat(14, DType::F32, &cpu()).zeros();
    let expected = Error::LengthMismatch { expected: 15, found: 14 };
    assert_eq!(hessian.apply(&other).unwrap_err(), expected);
    assert_eq!(model().hvp(data(5), squared_error, &other).unwrap_err(), expected);
    assert_eq!(hessian.space().from_values(&[0.0; 14]).unwrap_err(), expected);
    assert_eq!(hessian.gradient().dot(&other).unwrap_err(), expected);
    let block = ParamBlock::from_vectors(&[other]).unwrap();
    assert_eq!(hessian.apply_block(&block).unwrap_err(), expected);
    assert_eq!(LanczosConfig::new().init().solve(&hessian, Some(&block)).unwrap_err(), expected);
    let power = PowerIterationConfig::new().init();
    assert_eq!(power.solve(&hessian, Some(&block)).unwrap_err(), expected);
}

#[test]
fn vectors_of_another_dtype_or_other_parameters() {
    let hessian = model().hessian(data(5), squared_error).unwrap();
    let mismatch = |result: Result<burn_sharpness::ParamVector, Error>| {
        matches!(result.unwrap_err(), Error::SpaceMismatch { .. })
    };
    let double = burn_sharpness::ParamSpace::flat(15, DType::F64, &cpu()).zeros();
    assert!(mismatch(hessian.apply(&double)));
    assert!(mismatch(hessian.gradient().axpy(1.0, &double)));
    assert!(hessian.gradient().dot(&double).is_err());
    // As many parameters, in other shapes.
    let other = LinearConfig::new(14, 1).init(&cpu());
    let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
    let x = float(wave(28, 0.3), [2, 14], DType::F32, &cpu());
    let foreign = other.hessian(x, loss).unwrap().gradient().clone();
    assert_eq!(foreign.len(), hessian.dim());
    assert!(mismatch(hessian.apply(&foreign)));
    assert!(mismatch(model().hvp(data(5), squared_error, &foreign)));
    // A flat vector has no shapes of its own; one of an equal model fits.
    let flat = burn_sharpness::ParamSpace::flat(15, DType::F32, &cpu()).zeros();
    assert!(hessian.apply(&flat).is_ok());
    let twin = model().hessian(data(3), squared_error).unwrap();
    assert!(hessian.apply(twin.gradient()).is_ok());
}

#[test]
fn numbers_that_are_not_finite() {
    let quantity = |error: Error| match error {
        Error::NonFinite { quantity, value } => {
            assert!(!value.is_finite());
            quantity
        }
        error => panic!("{error:?}"),
    };
    let (x, y) = data(5);
    let broken = (x.clone() / 0.0, y.clone());
    assert_eq!(quantity(model().hessian(broken, squared_error).unwrap_err()), "the loss");
    let mut diverged = model();
    diverged.weight = diverged.weight.map(|w| w * 1e30);
    assert_eq!(quantity(diverged.sharpness(data(5), squared_error).unwrap_err()), "the loss");
    // A finite loss with an infinite second derivative: Σ |w|^1.5 at w = 0.
    let loss = |m: &Dense, _: Pair| m.weight.val().powf_scalar(1.5).sum();
    let mut flat = model();
    flat.weight = flat.weight.map(|w| w * 0.0);
    let error = flat.sharpness(data(5), loss).unwrap_err();
    assert_eq!(quantity(error), "a product of the operator");
    // Every batch at a minimum.
    let mut along = BatchSharpnessConfig::new(2)
        .with_num_batches(3)
        .init(|m: &Dense, (x, _): Pair| (m.forward(x) * 0.0).powi_scalar(2).mean());
    let error = along.measure(&model(), &data(5)).unwrap_err();
    assert!(matches!(error, Error::ZeroGradients { .. }), "{error}");
}

#[test]
fn error_is_a_standard_error_that_crosses_threads() {
    fn check<E: std::error::Error + Send + Sync + 'static>() {}
    check::<Error>();
}

#[test]
fn frozen_layer_of_burn_nn_is_not_a_parameter() {
    #[derive(Module, Debug)]
    struct Two {
        frozen: Linear,
        head: Linear,
    }
    let linear = || LinearConfig::new(4, 4).init(&cpu());
    let model = Two { frozen: linear().no_grad(), head: linear() };
    let loss = |m: &Two, (x, _): Pair| m.head.forward(m.frozen.forward(x)).powi_scalar(2).mean();
    let hessian = model.hessian(data(5), loss).unwrap();
    let names: Vec<_> = hessian.space().entries().iter().map(|e| e.name.clone()).collect();
    assert_eq!(names, ["head.weight", "head.bias"]);
    assert_eq!(hessian.dim(), 20);
}
