//! Gauss-Newton, empirical Fisher and kernel of the references.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use burn_sharpness::operator::{FisherOperator, GaussNewtonOperator, JacobianOperator};
use burn_sharpness::prelude::*;

use super::Reference;
use crate::common::{assert_close, vector};

type Samples<const D: usize> = (Tensor<D>, Tensor<1, Int>);

impl Reference {
    /// Of `model`, whose outputs are `forward` and whose loss of them is `loss`, in f64 on the
    /// reference's batch.
    pub fn check_curvature<M: Module, const D: usize>(
        &self,
        model: &M,
        batch: &Samples<D>,
        forward: fn(&M, Tensor<D>) -> Tensor<2>,
        loss: impl Fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>,
        tolerance: f64,
    ) {
        let outputs = |model: &M, (x, _): Samples<D>| forward(model, x);
        let loss = |f: Tensor<2>, (_, y): Samples<D>| loss(f, y);
        let mode = Mode::Train;
        let g = GaussNewtonOperator::new(model, batch.clone(), outputs, loss).unwrap();
        let gradient = g.gradient().to_values().unwrap();
        assert_close(&[g.loss()], &[self.loss], tolerance, "loss");
        assert_close(&gradient, &self.grad, tolerance, "gradient");
        let v: Vec<f64> = (0..self.n_params).map(|i| (1.1 * i as f64 + 0.5).sin()).collect();
        let (v, _) = vector(&g, &v).normalized().unwrap();
        let gv = g.apply(&v).unwrap();
        assert_close(&gv.to_values().unwrap()[..8], &self.Gv_first8, tolerance, "Gv");
        let scale = gv.norm().unwrap();
        assert!((v.dot(&gv).unwrap() - self.vGv).abs() <= tolerance * scale, "vGv");
        check_spectrum(&g, &self.ggn_top5, self.ggn_trace, tolerance, "Gauss-Newton");
        assert_close(&[self.ggn_top], &self.ggn_top5[..1], tolerance, "the reference itself");

        let ef = FisherOperator::empirical(model, batch.clone(), outputs, loss, mode).unwrap();
        check_spectrum(&ef, &[self.ef_top], self.ef_trace, tolerance, "empirical Fisher");
        let jacobian = JacobianOperator::new(model, batch.clone(), outputs, mode).unwrap();
        let f = jacobian.outputs().to_values().unwrap();
        assert_close(&f, &self.outputs, tolerance, "outputs");
        let ntk = jacobian.ntk();
        check_spectrum(&ntk, &[self.ntk_top], self.ntk_trace, tolerance, "kernel");
    }
}

/// The largest eigenvalues and the trace of a positive semi-definite operator.
fn check_spectrum(
    operator: &dyn LinearOperator,
    top: &[f64],
    trace: f64,
    tolerance: f64,
    what: &str,
) {
    // The error of a Rayleigh quotient is quadratic in the residual.
    let config = LanczosConfig::new().with_rel_tol((0.1 * tolerance).sqrt().min(1e-6));
    let config = config.with_num_eigenvalues(top.len()).with_max_applies(4 * operator.dim());
    let found = config.init().solve(operator, None).unwrap();
    let found: Vec<f64> = found.pairs.iter().map(|pair| pair.value).collect();
    assert_close(&found, top, tolerance, what);
    let dense = operator.to_dense().unwrap();
    let sum: f64 = (0..dense.len()).map(|i| dense[i][i]).sum();
    assert_close(&[sum], &[trace], tolerance, what);
}
