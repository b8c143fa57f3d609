//! Laws that hold for every loss: checked on networks with every loss of burn-nn that a dense
//! network takes, in f64.
//!
//! A test binary of its own: losses create tensors of the device's default dtype, which is set to
//! f64 here for the whole process.

#[path = "../suite/common.rs"]
mod common;

use burn::module::{Module, Param};
use burn::nn::loss::*;
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, activation};
use burn_sharpness::operator::{ChunkMemory, FullBatchHessian};
use burn_sharpness::prelude::*;
use burn_sharpness::{hvp_not_linearized, jvp};

use common::{Dense, apply, assert_close, float, relative_error, wave};

const F64: DType = DType::F64;
const CLASSES: usize = 3;

/// The CPU with f64 as default dtype.
fn cpu() -> Device {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| Device::flex().configure(FloatDType::F64).unwrap());
    Device::flex()
}

#[derive(Module, Debug)]
pub struct Mlp {
    first: Dense,
    second: Dense,
    last: Dense,
}

impl Mlp {
    pub fn new(shift: &[f64], h: f64, device: &Device) -> Self {
        let sizes = [5 * 6, 6, 6 * 4, 4, 4 * CLASSES, CLASSES];
        let mut offset = 0;
        let mut next = |i: usize| {
            let n = sizes[i];
            let at = |k: usize| shift.get(offset + k).copied().unwrap_or(0.0);
            let values =
                wave(n, i as f64).iter().enumerate().map(|(k, w)| 0.6 * w + h * at(k)).collect();
            offset += n;
            values
        };
        let mut dense = |i: usize, shape: [usize; 2]| Dense {
            weight: Param::from_tensor(float(next(i), shape, F64, device)),
            bias: Param::from_tensor(float(next(i + 1), [shape[1]], F64, device)),
        };
        Self { first: dense(0, [5, 6]), second: dense(2, [6, 4]), last: dense(4, [4, CLASSES]) }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = activation::gelu(self.first.forward(x));
        self.last.forward(activation::silu(self.second.forward(x)))
    }
}

/// Inputs, targets between 0 and 1 of the outputs' shape, labels.
type Batch = (Tensor<2>, Tensor<2>, Tensor<1, Int>);

pub fn batch(n: usize, device: &Device) -> Batch {
    let targets = wave(n * CLASSES, 0.3).iter().map(|w| 0.5 + 0.4 * w).collect();
    let labels: Vec<i64> = (0..n as i64).map(|i| (3 * i + 1) % CLASSES as i64).collect();
    (
        float(wave(n * 5, 0.8), [n, 5], F64, device),
        float(targets, [n, CLASSES], F64, device),
        Tensor::from_ints(labels.as_slice(), device),
    )
}

pub type Loss = fn(&Mlp, Batch) -> Tensor<1>;

pub fn losses() -> Vec<(&'static str, Loss)> {
    vec![
        ("mse", |m, (x, t, _)| MseLoss::new().forward(m.forward(x), t, Reduction::Mean)),
        ("sum of squares per sample", |m, (x, t, _)| {
            (m.forward(x) - t).powi_scalar(2).sum_dim(1).mean()
        }),
        ("cross-entropy", |m, (x, _, y)| {
            CrossEntropyLossConfig::new().init(&x.device()).forward(m.forward(x), y)
        }),
        ("cross-entropy, label smoothing", |m, (x, _, y)| {
            let config = CrossEntropyLossConfig::new().with_smoothing(Some(0.1));
            config.init(&x.device()).forward(m.forward(x), y)
        }),
        ("cross-entropy, class weights", |m, (x, _, y)| {
            let config = CrossEntropyLossConfig::new().with_weights(Some(vec![0.5, 1.0, 2.0]));
            config.init(&x.device()).forward(m.forward(x), y)
        }),
        ("cross-entropy, padding", |m, (x, _, y)| {
            let config = CrossEntropyLossConfig::new().with_pad_tokens(Some(vec![2]));
            config.init(&x.device()).forward(m.forward(x), y)
        }),
        ("binary cross-entropy with logits", |m, (x, t, _)| {
            let hits = t.greater_scalar(0.5).int();
            let config = BinaryCrossEntropyLossConfig::new().with_logits(true);
            config.init(&x.device()).forward(m.forward(x), hits)
        }),
        ("binary cross-entropy", |m, (x, t, _)| {
            let hits = t.greater_scalar(0.5).int();
            let p = activation::sigmoid(m.forward(x.clone()));
            BinaryCrossEntropyLossConfig::new().init(&x.device()).forward(p, hits)
        }),
        ("huber", |m, (x, t, _)| {
            HuberLossConfig::new(0.4).init().forward(m.forward(x), t, Reduction::Mean)
        }),
        ("smooth L1", |m, (x, t, _)| {
            SmoothL1LossConfig::new().with_beta(0.4).init().forward(m.forward(x), t).mean()
        }),
        ("KL", |m, (x, t, _)| {
            let log_p = activation::log_softmax(m.forward(x), 1);
            KLDivLossConfig::new().init().forward(log_p, t, Reduction::Mean)
        }),
        // burn-nn's PoissonNllLoss checks its targets on the host: see the test of its error.
        ("Poisson", |m, (x, t, _)| {
            let log_rate = m.forward(x);
            (log_rate.clone().exp() - t * log_rate).mean()
        }),
        ("weight decay", |m, (x, t, _)| {
            let decay = m.first.weight.val().powi_scalar(2).sum() * 0.01;
            (m.forward(x) - t).powi_scalar(2).mean() + decay
        }),
    ]
}

/// burn's own gradient at θ + h·v, in parameter order.
fn burn_gradient(loss: Loss, v: &[f64], h: f64) -> (f64, Vec<f64>) {
    let device = cpu().autodiff();
    let model = Mlp::new(v, h, &device);
    let value = loss(&model, batch(7, &device));
    let mut grads = value.clone().backward();
    let mut all = Vec::new();
    let mut flat = |data: burn::tensor::TensorData| all.extend(data.iter::<f64>());
    for layer in [&model.first, &model.second, &model.last] {
        flat(layer.weight.val().grad_remove(&mut grads).unwrap().into_data());
        flat(layer.bias.val().grad_remove(&mut grads).unwrap().into_data());
    }
    (value.into_scalar(), all)
}

#[test]
fn loss_and_gradient_are_burns() {
    for (name, loss) in losses() {
        let device = cpu();
        let hessian = Mlp::new(&[], 0.0, &device).hessian(batch(7, &device), loss).unwrap();
        let (value, gradient) = burn_gradient(loss, &[], 0.0);
        assert_close(&[hessian.loss()], &[value], 1e-13, name);
        // burn rounds 1/c of divisions by scalars to f32 in its gradient; we do not.
        assert_close(&hessian.gradient().to_values().unwrap(), &gradient, 1e-7, name);
    }
}

#[test]
fn products_are_differences_of_burns_gradient() {
    for (name, loss) in losses() {
        let device = cpu();
        let hessian = Mlp::new(&[], 0.0, &device).hessian(batch(7, &device), loss).unwrap();
        let v = wave(hessian.dim(), 0.5);
        let h = 1e-5;
        let (above, below) = (burn_gradient(loss, &v, h).1, burn_gradient(loss, &v, -h).1);
        let difference: Vec<f64> =
            above.iter().zip(&below).map(|(a, b)| (a - b) / (2.0 * h)).collect();
        // h² times third derivatives of order ten, burn's f32 scalars, and ε/h.
        assert_close(&apply(&hessian, &v), &difference, 1e-6, name);
    }
}

#[test]
fn products_are_symmetric_and_linear() {
    for (name, loss) in losses() {
        let device = cpu();
        let hessian = Mlp::new(&[], 0.0, &device).hessian(batch(7, &device), loss).unwrap();
        let n = hessian.dim();
        let (u, v) = (wave(n, 0.5), wave(n, 1.9));
        let (hu, hv) = (apply(&hessian, &u), apply(&hessian, &v));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scale = dot(&hu, &hu).sqrt() * dot(&v, &v).sqrt();
        assert!((dot(&u, &hv) - dot(&v, &hu)).abs() < 1e-13 * scale, "{name}: symmetry");
        let mixed: Vec<f64> = u.iter().zip(&v).map(|(u, v)| 2.0 * u - 3.0 * v).collect();
        let expected: Vec<f64> = hu.iter().zip(&hv).map(|(u, v)| 2.0 * u - 3.0 * v).collect();
        assert_close(&apply(&hessian, &mixed), &expected, 1e-12, name);
    }
}

#[test]
fn linearized_products_equal_the_unsplit_program_and_blocks_equal_single_vectors() {
    for (name, loss) in losses() {
        let device = cpu();
        let model = Mlp::new(&[], 0.0, &device);
        let hessian = model.hessian(batch(7, &device), loss).unwrap();
        let v = hessian.space().from_values(&wave(hessian.dim(), 0.5)).unwrap();
        let direct = hvp_not_linearized(&model, batch(7, &device), loss, &v).unwrap();
        let product = hessian.apply(&v).unwrap().to_values().unwrap();
        assert_eq!(product, direct.to_values().unwrap(), "{name}");
        let w = hessian.gradient().clone();
        let block = burn_sharpness::ParamBlock::from_vectors(&[v, w.clone()]).unwrap();
        let products = hessian.apply_block(&block).unwrap();
        assert_eq!(products.vector(0).to_values().unwrap(), product);
        let second = hessian.apply(&w).unwrap().to_values().unwrap();
        assert_eq!(products.vector(1).to_values().unwrap(), second);
    }
}

#[test]
fn forward_mode_agrees_with_the_gradient() {
    for (name, loss) in losses() {
        let device = cpu();
        let model = Mlp::new(&[], 0.0, &device);
        let hessian = model.hessian(batch(7, &device), loss).unwrap();
        let v = hessian.space().from_values(&wave(hessian.dim(), 0.5)).unwrap();
        let (value, slope) = jvp(&model, batch(7, &device), loss, &v).unwrap();
        assert_close(&[value], &[hessian.loss()], 1e-13, name);
        let expected = hessian.gradient().dot(&v).unwrap();
        let scale = hessian.gradient().norm().unwrap() * v.norm().unwrap();
        assert!((slope - expected).abs() < 1e-13 * scale, "{name}");
    }
}

/// tr H by basis vectors is the sum of Rayleigh quotients over any orthonormal basis.
#[test]
fn trace_is_invariant_under_rotation() {
    let device = cpu();
    let (_, loss) = losses()[2];
    let hessian = Mlp::new(&[], 0.0, &device).hessian(batch(7, &device), loss).unwrap();
    let n = hessian.dim();
    let dense = hessian.to_dense().unwrap();
    let trace: f64 = (0..n).map(|i| dense[i][i]).sum();
    // Householder reflections of the basis vectors: eᵢ − 2 wᵢ w.
    let w = wave(n, 0.4);
    let norm: f64 = w.iter().map(|w| w * w).sum();
    let rotated: f64 = (0..n)
        .map(|i| {
            let unit = |j: usize| if i == j { 1.0 } else { 0.0 };
            let q: Vec<f64> = (0..n).map(|j| unit(j) - 2.0 * w[i] * w[j] / norm).collect();
            apply(&hessian, &q).iter().zip(&q).map(|(a, b)| a * b).sum::<f64>()
        })
        .sum();
    assert!((trace - rotated).abs() < 1e-12 * dense.concat().iter().map(|h| h.abs()).sum::<f64>());
}

#[test]
fn chunks_of_any_size_give_the_full_batch() {
    let device = cpu();
    let (model, data, (_, loss)) = (Mlp::new(&[], 0.0, &device), batch(23, &device), losses()[2]);
    let whole = model.hessian(data.clone(), loss).unwrap();
    let v = wave(whole.dim(), 0.5);
    for chunk in [1, 4, 22, 23, 100] {
        for memory in [ChunkMemory::Keep, ChunkMemory::Recompute] {
            let chunked = FullBatchHessian::new(&model, &data, loss, chunk, memory).unwrap();
            assert_close(&[chunked.loss()], &[whole.loss()], 1e-13, "loss");
            assert_close(&apply(&chunked, &v), &apply(&whole, &v), 1e-12, "product");
            let gradient = chunked.gradient().to_values().unwrap();
            assert_close(&gradient, &whole.gradient().to_values().unwrap(), 1e-12, "gradient");
        }
    }
}

#[test]
fn one_batch_of_everything_is_the_full_batch() {
    let device = cpu();
    let (model, data, (_, loss)) = (Mlp::new(&[], 0.0, &device), batch(23, &device), losses()[1]);
    let tight = 1e-8;
    let full = FullBatchSharpnessConfig::new()
        .with_rel_tol(tight)
        .init(loss)
        .measure(&model, &data)
        .unwrap();
    let config = MiniBatchSharpnessConfig::new(23).with_num_batches(3).with_rel_tol(tight);
    let mini = config.init(loss).measure(&model, &data).unwrap();
    // The error of a Ritz value is quadratic in the residual.
    assert!(relative_error(&mini.values, &[full.value; 3]) < 1e-12);
    // λ_max is convex, and a Rayleigh quotient is at most λ_max.
    let small = MiniBatchSharpnessConfig::new(4).init(loss).measure(&model, &data).unwrap();
    assert!(small.estimate.mean > full.value);
    let along = BatchSharpnessConfig::new(4)
        .with_num_batches(16)
        .init(loss)
        .measure(&model, &data)
        .unwrap();
    for (along, top) in along.values.iter().zip(&small.values) {
        assert!(*along <= top * (1.0 + 1e-3), "the same draws: gᵀHg/‖g‖² ≤ λ_max batch by batch");
    }
}

#[test]
fn a_loss_linear_in_the_parameters_has_hessian_zero() {
    let device = cpu();
    let model = Mlp::new(&[], 0.0, &device);
    let loss = |m: &Mlp, x: Tensor<2>| (x.matmul(m.first.weight.val())).mean();
    let x = float(wave(10, 0.1), [2, 5], F64, &device);
    let top = model.sharpness(x, loss).unwrap();
    assert_eq!((top.value, top.residual_norm, top.converged), (0.0, 0.0, true));
}

#[test]
fn the_poisson_loss_of_burn_reads_its_targets() {
    let device = cpu();
    let model = Mlp::new(&[], 0.0, &device);
    let loss = |m: &Mlp, (x, t, _): Batch| {
        PoissonNllLossConfig::new().init().forward(m.forward(x), t, Reduction::Mean)
    };
    let error = model.hessian(batch(7, &device), loss).unwrap_err();
    assert!(matches!(error, burn_sharpness::Error::LossReadsData { .. }), "{error}");
}
