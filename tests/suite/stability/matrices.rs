//! Optimizers as matrices, built from their steps, and spectral radii without an eigensolver.

/// One step of (x, v) at curvature c, as burn's source has it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub rate: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub nesterov: bool,
    pub l2: f64,
    pub decoupled: f64,
}

impl Step {
    fn apply(&self, [x, v]: [f64; 2], curvature: f64) -> [f64; 2] {
        let g = (curvature + self.l2) * x;
        let v = self.momentum * v + (1.0 - self.dampening) * g;
        let step = if self.nesterov { g + self.momentum * v } else { v };
        [x - self.rate * self.decoupled * x - self.rate * step, v]
    }

    /// The matrix of a step.
    pub fn matrix(&self, curvature: f64) -> Vec<Vec<f64>> {
        let (first, second) =
            (self.apply([1.0, 0.0], curvature), self.apply([0.0, 1.0], curvature));
        (0..2).map(|i| vec![first[i], second[i]]).collect()
    }

    /// E[A ⊗ A] for the curvature h/b with probability 1/q, else zero.
    pub fn second_moments(&self, curvature: f64, q: f64) -> Vec<Vec<f64>> {
        let seen = kronecker(&self.matrix(curvature));
        let unseen = kronecker(&self.matrix(0.0));
        mix(&seen, &unseen, 1.0 / q)
    }
}

pub fn kronecker(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = a.len();
    let entry = |i: usize, j: usize| a[i / n][j / n] * a[i % n][j % n];
    (0..n * n).map(|i| (0..n * n).map(|j| entry(i, j)).collect()).collect()
}

/// p·a + (1 − p)·b.
pub fn mix(a: &[Vec<f64>], b: &[Vec<f64>], p: f64) -> Vec<Vec<f64>> {
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| {
        a.iter().zip(b).map(|(a, b)| p * a + (1.0 - p) * b).collect()
    };
    a.iter().zip(b).map(row).collect()
}

pub fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = a.len();
    let entry = |i: usize, j: usize| (0..n).map(|k| a[i][k] * b[k][j]).sum();
    (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
}

/// log ρ(A) = lim 2⁻ᵏ log ‖A^(2ᵏ)‖ by squaring. The limit is off by at most log(condition)/2ᵏ, and each
/// squaring adds a rounding error of about n·ε/2ᵏ.
pub fn log_spectral_radius(a: &[Vec<f64>]) -> f64 {
    let (mut a, mut log, mut weight) = (a.to_vec(), 0.0, 1.0);
    for _ in 0..44 {
        let norm = a.iter().flatten().fold(0.0, |m: f64, v| m.max(v.abs()));
        if norm == 0.0 {
            return f64::NEG_INFINITY;
        }
        log += weight * norm.ln();
        a.iter_mut().flatten().for_each(|v| *v /= norm);
        a = product(&a, &a);
        weight *= 0.5;
    }
    log
}
