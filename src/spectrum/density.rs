//! The density of eigenvalues by stochastic Lanczos quadrature (Golub and Meurant 2010; Ubaru, Chen and
//! Saad 2017; for networks Ghorbani, Krishnan and Xiao 2019).
//!
//! m steps of Lanczos from a random unit vector v give Ritz pairs (θ, s) of the tridiagonal matrix, and with
//! them Gauss's quadrature of the spectrum as v sees it, exact for polynomials up to degree 2m − 1:
//!
//! ```text
//! vᵀf(A)v ≈ Σⱼ τⱼ f(θⱼ),   τⱼ = (first entry of sⱼ)²,      E[vᵀf(A)v] = tr f(A)/n
//! ```
//!
//! Full reorthogonalization keeps copies of eigenvalues out.

use std::f64::consts::PI;

use burn::config::Config;

use super::copies::{Copies, stacked};
use super::probe::{Probe, at_least, groups};
use crate::error::{Error, Result};
use crate::operator::{LaneVectors, LinearOperator};
use crate::solver::Krylov;
use crate::statistics::Estimate;

/// Settings of [`SpectralDensityMethod`].
#[derive(Config, Debug)]
pub struct SpectralDensityConfig {
    /// Random start vectors; their differences are the standard error.
    #[config(default = 8)]
    pub num_probes: usize,
    /// Steps m of Lanczos from each: the nodes of its quadrature.
    #[config(default = 64)]
    pub num_steps: usize,
    /// The start vectors, scaled to norm 1.
    #[config(default = "Probe::Gaussian")]
    pub probe: Probe,
    /// Start vectors that are worked on at once: products through
    /// [`apply_block`](crate::LinearOperator::apply_block). Memory: m vectors for each.
    #[config(default = 1)]
    pub at_once: usize,
    /// Seed of the start vectors.
    #[config(default = 0)]
    pub seed: u64,
}

impl SpectralDensityConfig {
    /// The method.
    pub fn init(&self) -> SpectralDensityMethod {
        SpectralDensityMethod { config: self.clone() }
    }
}

/// Stochastic Lanczos quadrature: see the [table](crate::spectrum).
///
/// ```
/// use burn::tensor::{DType, Device};
/// use burn_sharpness::operator::DenseOperator;
/// use burn_sharpness::spectrum::SpectralDensityConfig;
///
/// let rows = [vec![2.0, 1.0], vec![1.0, 2.0]]; // eigenvalues 1 and 3
/// let operator = DenseOperator::from_rows(&rows, DType::F64, &Device::flex())?;
/// let density = SpectralDensityConfig::new().with_num_probes(50).init().estimate(&operator)?;
/// let above = density.count_above(2.0);
/// assert!(above.interval.0 <= 1.0 && 1.0 <= above.interval.1);
/// let grid = density.grid(100, 0.1)?;
/// let heights = density.density(&grid, 0.1)?;
/// assert_eq!(heights.len(), 100);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpectralDensityMethod {
    config: SpectralDensityConfig,
}

impl SpectralDensityMethod {
    /// The quadratures of an operator. Cost: at most m products per start vector, fewer where an invariant
    /// space is reached before.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for no probes or steps, [`Error::NonFinite`] for a product that is not
    /// finite, and what the operator raises.
    pub fn estimate(&self, operator: &dyn LinearOperator) -> Result<SpectralDensity> {
        let SpectralDensityConfig { num_probes, num_steps, probe, at_once, seed } = self.config;
        at_least("num_probes", num_probes, 1, "at least 1")?;
        at_least("num_steps", num_steps, 1, "at least 1")?;
        at_least("at_once", at_once, 1, "at least 1")?;
        let (dim, before) = (operator.dim(), operator.n_applies());
        let mut quadratures = Vec::new();
        for group in groups(num_probes, at_once) {
            let probes = probe.block(operator.space(), seed, group)?;
            quadratures.extend(quadratures_of(operator, &stacked(&probes.vectors()), num_steps)?);
        }
        let n_applies = operator.n_applies() - before;
        Ok(SpectralDensity { quadratures, dim, n_applies })
    }
}

/// The quadratures from start vectors, the rows of a matrix.
fn quadratures_of(
    operator: &dyn LinearOperator,
    starts: &burn::tensor::Tensor<2>,
    num_steps: usize,
) -> Result<Vec<Quadrature>> {
    let lanes = Copies { operator, k: starts.dims()[0] };
    let num_steps = num_steps.min(operator.dim());
    let mut krylov = Krylov::new(&lanes);
    let mut unit = LaneVectors::new(&lanes, starts.clone())?.normalized();
    let mut found: Vec<Option<Quadrature>> = vec![None; lanes.k];
    while found.iter().any(Option::is_none) {
        unit = krylov.step(&lanes, &unit)?;
        for (lane, found) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
            if krylov.is_closed(lane) || krylov.len() == num_steps {
                let eigen = krylov.eigen(lane)?.eigen;
                let weights = eigen.vectors.iter().map(|s| s[0].powi(2)).collect();
                *found = Some(Quadrature { nodes: eigen.values, weights });
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// A quadrature of the spectrum: Σ weights·f(nodes) for the mean of f over the eigenvalues.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Quadrature {
    /// Ritz values θ, in ascending order.
    pub nodes: Vec<f64>,
    /// Weights τ of sum 1.
    pub weights: Vec<f64>,
}

impl Quadrature {
    fn mean(&self, f: impl Fn(f64) -> f64) -> f64 {
        self.nodes.iter().zip(&self.weights).map(|(node, weight)| weight * f(*node)).sum()
    }
}

/// What is known of a spectrum: one quadrature per start vector.
///
/// Standard errors are over the start vectors. That a quadrature has m nodes is no part of them: it is
/// exact for polynomials up to degree 2m − 1, and for a step or a narrow kernel only as far as nodes stand
/// for single eigenvalues (isolated ones) or are dense (in the bulk).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpectralDensity {
    /// The quadratures.
    pub quadratures: Vec<Quadrature>,
    /// Dimension n.
    pub dim: usize,
    /// Products.
    pub n_applies: usize,
}

impl SpectralDensity {
    /// The mean of f over the eigenvalues, tr f(A)/n.
    pub fn mean_of(&self, f: impl Fn(f64) -> f64) -> Estimate {
        self.estimate(1.0, f)
    }

    /// tr f(A) = Σ f(λᵢ): for example the effective dimension with f(λ) = λ/(λ + α).
    pub fn trace_of(&self, f: impl Fn(f64) -> f64) -> Estimate {
        self.estimate(self.dim as f64, f)
    }

    /// The moment tr(Aᵖ)/n; its quadrature is exact for p < 2m.
    pub fn moment(&self, p: u32) -> Estimate {
        self.mean_of(|x| x.powi(p.min(i32::MAX as u32) as i32))
    }

    /// The number of eigenvalues above `threshold`. For a few isolated ones the standard error is as
    /// large as their number over √probes: count those with
    /// [`LanczosConfig::all_beyond`](crate::solver::LanczosConfig::all_beyond).
    pub fn count_above(&self, threshold: f64) -> Estimate {
        self.trace_of(|x| if x > threshold { 1.0 } else { 0.0 })
    }

    /// The smallest and the largest node: bounds of λ_min and λ_max from inside.
    pub fn range(&self) -> (f64, f64) {
        let nodes = self.quadratures.iter().flat_map(|q| &q.nodes);
        nodes.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (x.min(low), x.max(high)))
    }

    /// `points` ≥ 2 evenly spaced points that cover all nodes and four widths beyond.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for fewer points and for a width that is not above 0.
    pub fn grid(&self, points: usize, width: f64) -> Result<Vec<f64>> {
        at_least("points", points, 2, "at least 2")?;
        check_width(width)?;
        let (low, high) = self.range();
        let (low, high) = (low - 4.0 * width, high + 4.0 * width);
        let step = (high - low) / (points - 1) as f64;
        Ok((0..points).map(|i| low + step * i as f64).collect())
    }

    /// The density of eigenvalues, of integral 1, seen through a Gaussian kernel of standard deviation
    /// `width`, at each point of `grid`:
    ///
    /// ```text
    /// φ(t) = (1/n) Σᵢ exp(−(t − λᵢ)²/(2σ²))/(σ√2π)
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a width that is not above 0.
    pub fn density(&self, grid: &[f64], width: f64) -> Result<Vec<Estimate>> {
        check_width(width)?;
        let peak = 1.0 / (width * (2.0 * PI).sqrt());
        let at = |t: &f64| self.estimate(peak, |x| (-0.5 * ((t - x) / width).powi(2)).exp());
        Ok(grid.iter().map(at).collect())
    }

    fn estimate(&self, factor: f64, f: impl Fn(f64) -> f64) -> Estimate {
        let values: Vec<f64> = self.quadratures.iter().map(|q| factor * q.mean(&f)).collect();
        Estimate::of(&values).unwrap_or_else(|| Estimate::exact(f64::NAN, 0))
    }
}

fn check_width(width: f64) -> Result<()> {
    if width > 0.0 && width.is_finite() {
        return Ok(());
    }
    Err(Error::InvalidSetting { setting: "width", value: width.to_string(), expected: "above 0" })
}
