//! Modes: a model that is linear in its parameters has its Hessian as Gauss-Newton matrix, noise and
//! running statistics included.

use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig};
use burn_sharpness::operator::{FisherOperator, GaussNewtonOperator, JacobianOperator, Predictive};
use burn_sharpness::prelude::*;

use super::curvature::cross_entropy;
use super::*;

/// Normalization, dropout, a linear layer.
#[derive(Module, Debug)]
struct Noisy {
    norm: BatchNorm,
    dropout: Dropout,
    head: Linear,
}

fn model() -> Noisy {
    let norm = BatchNormConfig::new(4).init(&device());
    let dropout = DropoutConfig::new(0.4).init();
    let head = LinearConfig::new(4, 3).init(&device());
    // Normalization frozen: with its parameters the model would not be linear in all of them.
    Noisy { norm: wide(norm).no_grad(), dropout, head: wavy(head) }
}

/// In f64, with its values kept.
fn wide<M: Module>(model: M) -> M {
    struct Wide;
    impl ModuleMapper for Wide {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, value, mapper) = param.consume();
            Param::from_mapped_value(id, value.cast(DType::F64), mapper)
        }
    }
    model.map(&mut Wide)
}

fn forward(model: &Noisy, x: Tensor<2>) -> Tensor<2> {
    model.head.forward(model.dropout.forward(model.norm.forward(x)))
}

fn outputs(model: &Noisy, (x, _): Labelled<2>) -> Tensor<2> {
    forward(model, x)
}

fn matrices(mode: Mode) -> (Matrix, Matrix) {
    let (model, batch) = (model(), samples([6, 4], 3));
    let entropy = |f: Tensor<2>, (_, y): Labelled<2>| cross_entropy(f, y, ());
    let whole = |model: &Noisy, (x, y): Labelled<2>| cross_entropy(forward(model, x), y, ());
    let g = GaussNewtonOperator::in_mode(&model, batch.clone(), outputs, entropy, mode).unwrap();
    let hessian = HessianOperator::in_mode(&model, batch.clone(), whole, mode).unwrap();
    let fisher = Predictive::Categorical;
    let fisher = FisherOperator::exact(&model, batch.clone(), outputs, fisher, mode).unwrap();
    let (g, h) = (g.to_dense().unwrap(), hessian.to_dense().unwrap());
    assert_close(&fisher.to_dense().unwrap().concat(), &g.concat(), F64, "Fisher");
    // The Jacobian has it, too: at softmax of its own outputs.
    let jacobian = JacobianOperator::new(&model, batch, outputs, mode).unwrap();
    let f = jacobian.outputs().to_values().unwrap();
    let row = |i: usize| {
        let mut unit = vec![0.0; f.len()];
        unit[i] = 1.0;
        let u = jacobian.output_space().from_values(&unit).unwrap();
        jacobian.apply_transposed(&u).unwrap().to_values().unwrap()
    };
    let j: Matrix = (0..f.len()).map(row).collect();
    let by_jacobian = sandwich(&j, &softmax_curvature(&f, 3));
    assert_close(&by_jacobian.concat(), &g.concat(), F64, "by the Jacobian");
    (g, h)
}

#[test]
fn every_mode_has_its_own_network() {
    let modes = [Mode::Train, Mode::Eval, Mode::TrainWithNoise { seed: 3 }];
    let noisier = Mode::TrainWithNoise { seed: 4 };
    let found: Vec<Matrix> = modes
        .into_iter()
        .chain([noisier])
        .map(|mode| {
            let (g, hessian) = matrices(mode);
            assert_close(&g.concat(), &hessian.concat(), F64, &format!("{mode:?}"));
            g
        })
        .collect();
    for (i, a) in found.iter().enumerate() {
        for b in &found[..i] {
            let difference = combine(1.0, a, -1.0, b).concat();
            assert!(max_abs(&difference) > 1e-2 * max_abs(&a.concat()), "modes differ");
        }
    }
}
