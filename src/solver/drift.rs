//! How far a Lanczos basis is from orthogonal, from its coefficients alone (H. D. Simon, The Lanczos
//! algorithm with partial reorthogonalization, Math. Comp. 42, 1984).
//!
//! With A·qⱼ = βⱼqⱼ₊₁ + αⱼqⱼ + βⱼ₋₁qⱼ₋₁ + f and ω for inner products of basis vectors, symmetry gives
//!
//! ```text
//! βⱼωⱼ₊₁,ₖ = βₖωⱼ,ₖ₊₁ + (αₖ − αⱼ)ωⱼ,ₖ + βₖ₋₁ωⱼ,ₖ₋₁ − βⱼ₋₁ωⱼ₋₁,ₖ + ϑ
//! ```
//!
//! where ϑ is rounding. Orthogonality is lost along Ritz vectors that have converged, by ε‖A‖ over their
//! residual (Paige): a solve to a residual of 0.1% ends at about 10³ε, which in f32 is a third of √ε.

/// The estimate for one basis.
#[derive(Clone, Default)]
pub(super) struct Drift {
    alphas: Vec<f64>,
    betas: Vec<f64>,
    /// ωⱼ₋₁ and ωⱼ: inner products of the last two vectors with all before them.
    before: Vec<f64>,
    now: Vec<f64>,
    /// The largest entry so far, a lower bound of ‖A‖.
    scale: f64,
    /// The size of ϑ.
    rounding: f64,
}

impl Drift {
    /// The largest inner product of the next basis vector with all before it, from the coefficients of
    /// the last product, of which all but two are zero, and the norm of what is left of it.
    pub fn next(&mut self, column: &[f64], beta: f64, epsilon: f64) -> f64 {
        let (j, alpha) = (self.alphas.len(), column.last().copied().unwrap_or(0.0));
        self.scale = [alpha.abs(), beta, self.scale].into_iter().fold(0.0, f64::max);
        self.rounding = self.rounding.max(epsilon * self.scale);
        let last = self.betas.last().copied().unwrap_or(0.0);
        if j > 0 {
            // ⟨A·qⱼ, qⱼ₋₁⟩ would be βⱼ₋₁: what it is off by is what A is off from symmetry by rounding.
            self.rounding = self.rounding.max((column[j - 1] - last).abs());
        }
        let at = |omega: &[f64], k: usize| omega.get(k).copied().unwrap_or(1.0);
        let mut next: Vec<f64> = (0..j)
            .map(|k| {
                let below = if k > 0 { self.betas[k - 1] * self.now[k - 1] } else { 0.0 };
                let sum = self.betas[k] * at(&self.now, k + 1)
                    + (self.alphas[k] - alpha) * self.now[k]
                    + below
                    - last * at(&self.before, k);
                (sum + self.rounding.copysign(sum)) / beta
            })
            .collect();
        next.push(self.rounding / beta);
        self.before = std::mem::replace(&mut self.now, next);
        self.alphas.push(alpha);
        self.betas.push(beta);
        self.now.iter().fold(0.0, |worst, omega| omega.abs().max(worst))
    }
}
