//! The linear recursion that an optimizer with frozen curvature is, and where it stops to contract.
//!
//! Along one eigenvector, with curvature k = η·c in units of the learning rate,
//!
//! ```text
//! u' = β u + τ k x            velocity times η; τ = 1 − dampening
//! x' = (a − ρ k) x − σ u      a = 1 − η·w for decoupled decay w, otherwise 1
//! ```
//!
//! with ρ = τ, σ = β for heavy ball and ρ = 1 + βτ, σ = β² for burn's Nesterov (step g + βv'). L2 decay
//! adds η·w to k. Full batch: the 2×2 matrix has trace a + β − ρk and determinant βa − κk (κ = 0, or β for
//! Nesterov), and the first of Jury's conditions to fail as k grows is 1 + trace + determinant > 0.

use super::Batching;

/// One optimizer without its preconditioner, at any learning rate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recursion {
    /// β.
    pub momentum: f64,
    /// τ = 1 − dampening; 1 − β for a moving average.
    pub gain: f64,
    pub nesterov: bool,
    /// w that multiplies the parameters by 1 − ηw.
    pub decoupled_decay: f64,
    /// w that is added to the gradient as w·x, where curvature and decay share their units.
    pub l2_decay: f64,
    /// ρ/‖g‖ of SAM: gradients at a distance ρ turn the curvature c into c(1 + ρc/‖g‖).
    pub sam: f64,
    pub batching: Batching,
}

impl Recursion {
    /// The curvature at which the recursion stops to contract. Zero or less where nothing is stable.
    pub fn threshold(&self, learning_rate: f64) -> f64 {
        let edge = match self.batching {
            Batching::Full | Batching::Large => self.full(learning_rate),
            Batching::Small => 2.0 / (learning_rate * self.impulse()),
            Batching::Of { batch_size, n_samples } => {
                self.orthogonal(learning_rate, n_samples as f64 / batch_size as f64)
            }
        };
        // c (1 + κc) = edge, in the form that does not cancel for small κ.
        2.0 * edge / (1.0 + (1.0 + 4.0 * self.sam * edge.max(0.0)).sqrt())
    }

    /// 1 + trace + determinant = 0.
    fn full(&self, learning_rate: f64) -> f64 {
        let beta = self.momentum;
        let reach = if self.nesterov { 1.0 + beta + beta * self.gain } else { self.gain };
        let decay = learning_rate * self.decoupled_decay;
        (1.0 + beta) * (2.0 - decay) / (learning_rate * reach) - self.l2_decay
    }

    /// By how much one gradient moves the parameters in the end, over η.
    fn impulse(&self) -> f64 {
        let velocity = self.gain / (1.0 - self.momentum);
        if self.nesterov { 1.0 + self.momentum * velocity } else { velocity }
    }

    /// Mean-square edge of the orthogonal model: the curvature is h/b with probability 1/q and zero
    /// otherwise, anew at each step. Returns h/b.
    fn orthogonal(&self, learning_rate: f64, q: f64) -> f64 {
        // Mean-square stability needs stability of the mean, which sees the curvature h/(bq).
        let (mut low, mut high) = (0.0, q * self.full(learning_rate));
        if self.margin(learning_rate, q, high) > 0.0 {
            return high; // q = 1, up to rounding
        }
        loop {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                return middle;
            }
            if self.margin(learning_rate, q, middle) > 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
    }

    /// A positive multiple of det(1 − M), with M the recursion of (E x², E xu, E u²): positive where it
    /// contracts, zero at the edge, where M has the eigenvalue 1. From stationary moments, E u² and E xu
    /// eliminated.
    fn margin(&self, learning_rate: f64, q: f64, curvature: f64) -> f64 {
        let (beta, tau) = (self.momentum, self.gain);
        let (rho, sigma) =
            if self.nesterov { (1.0 + beta * tau, beta * beta) } else { (tau, beta) };
        let decay = learning_rate * self.decoupled_decay;
        let a = 1.0 - decay;
        let (k, l2) = (learning_rate * curvature, learning_rate * self.l2_decay);
        let mean = k / q + l2;
        let square = k * k / q + 2.0 * l2 * k / q + l2 * l2;
        let v = 1.0 - beta * beta;
        // E x² · left = E xu · right, and E xu · cross = E x² · source.
        let left = decay * (2.0 - decay) + 2.0 * a * rho * mean
            - square * (rho * rho + (sigma * tau).powi(2) / v);
        let right = -2.0 * sigma * (a - rho * mean) + 2.0 * sigma * sigma * beta * tau * mean / v;
        let cross = 1.0 - a * beta
            + mean * (rho * beta + sigma * tau + 2.0 * sigma * beta * beta * tau / v);
        let source = tau * (a * mean - square * (rho + sigma * beta * tau / v));
        left * cross - source * right
    }
}
