//! tr A and ‖A‖_F from products with random vectors.
//!
//! All three methods are unbiased and state a standard error that is measured, not assumed:
//!
//! - Hutchinson (1990): the mean of zᵀA·z.
//! - Hutch++ (Meyer, Musco, Musco and Woodruff 2021): tr(QᵀA·Q) + tr((1 − QQᵀ)A(1 − QQᵀ)) with Q an
//!   orthonormal basis of A·S for random S. The first term is computed, the second estimated by Hutchinson
//!   with probes that are independent of Q: its standard error is that of the sum.
//! - XTrace (Epperly, Tropp and Webber 2024): as Hutch++, but each probe in turn is left out of the sketch
//!   that serves for it, so that every product counts twice. The values depend on each other, so that
//!   their scatter (the paper's error estimate) is too small: where the spectrum decays slowly, its 95%
//!   interval holds in 80%. Here the standard error is the jackknife's: the whole estimate is repeated
//!   without probe i for each i, which takes no product, and Σᵢ(θ₍ᵢ₎ − θ₍.₎)² is at least the variance of
//!   θ₍ᵢ₎, in the mean (Efron and Stein 1981).
//!
//! Intervals are mean ± t·standard error with Student's t for one degree of freedom less than there are
//! values (for XTrace: probes), which holds as far as a value is near normal:
//! a sum over many eigenvalues is; where one eigenvalue is nearly all of the trace, Hutchinson's values
//! are as skewed as one squared normal variable.

use burn::config::Config;
use burn::tensor::Tensor;

use super::probe::{Probe, at_least, groups, products};
use crate::error::Result;
use crate::operator::LinearOperator;
use crate::params::{ParamBlock, finite, inner, read};
use crate::solver::qr;
use crate::statistics::{Estimate, student_t_95};

/// How a trace is estimated.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum TraceMethod {
    /// The mean of zᵀA·z: least memory, error √2‖A‖_F/√m.
    Hutchinson,
    /// A third of the products for a sketch of the range, a third for its trace, a third for the rest:
    /// exact for a rank below m/3, and never much worse than Hutchinson.
    HutchPlusPlus,
    /// Half of the products for a sketch, half for its trace, each probe left out in turn: exact for a
    /// rank below m/2.
    XTrace,
}

/// Settings of [`Trace`].
#[derive(Config, Debug)]
pub struct TraceConfig {
    /// The method.
    #[config(default = "TraceMethod::Hutchinson")]
    pub method: TraceMethod,
    /// Products m. Hutch++ needs 4 and uses all, XTrace needs 4 and leaves one out if m is odd.
    #[config(default = 30)]
    pub num_products: usize,
    /// The probes.
    #[config(default = "Probe::Rademacher")]
    pub probe: Probe,
    /// Vectors that are multiplied at once, through
    /// [`apply_block`](crate::LinearOperator::apply_block).
    #[config(default = 8)]
    pub at_once: usize,
    /// Seed of the probes.
    #[config(default = 0)]
    pub seed: u64,
}

impl TraceConfig {
    /// The estimator.
    pub fn init(&self) -> Trace {
        Trace { config: self.clone() }
    }
}

/// An estimator of the trace: see the [table](crate::spectrum).
///
/// ```
/// use burn::tensor::{DType, Device};
/// use burn_sharpness::operator::DenseOperator;
/// use burn_sharpness::spectrum::TraceConfig;
///
/// let rows = [vec![2.0, 1.0], vec![1.0, 3.0]];
/// let operator = DenseOperator::from_rows(&rows, DType::F64, &Device::flex())?;
/// let found = TraceConfig::new().with_num_products(200).init().estimate(&operator)?;
/// let (low, high) = found.trace.interval;
/// assert!(low <= 5.0 && 5.0 <= high);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Trace {
    config: TraceConfig,
}

/// tr A, and what comes with it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TraceEstimate {
    /// tr A. `count` is the number of values that the standard error comes from.
    pub trace: Estimate,
    /// tr A² = ‖A‖_F² = Σλ², by Hutchinson from the products A·z that the method computes anyway:
    /// the mean of ‖A·z‖².
    pub trace_of_square: Estimate,
    /// Products.
    pub n_applies: usize,
}

impl TraceEstimate {
    /// ‖A‖_F, the root of [`trace_of_square`](Self::trace_of_square).
    pub fn frobenius_norm(&self) -> Estimate {
        self.trace_of_square.sqrt()
    }
}

impl Trace {
    /// Estimates the trace of a symmetric operator.
    ///
    /// Where a sketch would have as many vectors as the space has dimensions, the trace is computed
    /// exactly instead, by one product with each unit vector.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) for too few products,
    /// [`Error::NonFinite`](crate::Error::NonFinite) for a product that is not finite, and what the
    /// operator raises.
    pub fn estimate(&self, operator: &dyn LinearOperator) -> Result<TraceEstimate> {
        let TraceConfig { method, num_products: m, .. } = self.config;
        let (n, before) = (operator.dim(), operator.n_applies());
        let (least, sketch) = match method {
            TraceMethod::Hutchinson => (1, 0),
            TraceMethod::HutchPlusPlus => (4, m / 3),
            TraceMethod::XTrace => (4, m / 2),
        };
        let expected = "at least 1 for Hutchinson, 4 for Hutch++ and XTrace";
        at_least("num_products", m, least, expected)?;
        at_least("at_once", self.config.at_once, 1, "at least 1")?;
        let (trace, trace_of_square) = match method {
            _ if sketch >= n => exact(operator)?,
            TraceMethod::Hutchinson => {
                let (values, squares) = self.hutchinson(operator)?;
                (estimate(&values)?, estimate(&squares)?)
            }
            TraceMethod::HutchPlusPlus => self.hutch_plus_plus(operator, sketch)?,
            TraceMethod::XTrace => self.x_trace(operator, sketch)?,
        };
        let n_applies = operator.n_applies() - before;
        Ok(TraceEstimate { trace, trace_of_square, n_applies })
    }

    /// zᵀA·z and ‖A·z‖² of each probe.
    fn hutchinson(&self, operator: &dyn LinearOperator) -> Result<(Vec<f64>, Vec<f64>)> {
        let TraceConfig { num_products, probe, at_once, seed, .. } = self.config;
        let (mut values, mut squares) = (Vec::new(), Vec::new());
        for group in groups(num_products, at_once) {
            let probes = probe.block(operator.space(), seed, group)?;
            let products = operator.apply_block(&probes)?;
            values.extend(diagonal(&probes, &products)?);
            squares.extend(diagonal(&products, &products)?);
        }
        Ok((values, squares))
    }

    fn hutch_plus_plus(
        &self,
        operator: &dyn LinearOperator,
        sketch: usize,
    ) -> Result<(Estimate, Estimate)> {
        let TraceConfig { num_products, probe, at_once, seed, .. } = self.config;
        let space = operator.space();
        let images = products(operator, &probe.block(space, seed, 0..sketch)?, at_once)?;
        let squares = diagonal(&images, &images)?;
        let (q, _) = qr(&images)?;
        let found: f64 = diagonal(&q, &products(operator, &q, at_once)?)?.iter().sum();
        let mut values = Vec::new();
        for group in groups(num_products - 2 * sketch, at_once) {
            let group = group.start + sketch..group.end + sketch;
            let probes = probe.block(space, seed, group)?;
            let inside = q.combine(&rows(&probes.inner_products(&q)?, q.len()));
            let rest = probes.linear_combination(1.0, &inside, -1.0);
            let rests = diagonal(&rest, &operator.apply_block(&rest)?)?;
            values.extend(rests.into_iter().map(|value| found + value));
        }
        Ok((estimate(&values)?, estimate(&squares)?))
    }

    fn x_trace(
        &self,
        operator: &dyn LinearOperator,
        sketch: usize,
    ) -> Result<(Estimate, Estimate)> {
        let TraceConfig { probe, at_once, seed, .. } = self.config;
        let probes = probe.block(operator.space(), seed, 0..sketch)?;
        let images = products(operator, &probes, at_once)?;
        let squares = diagonal(&images, &images)?;
        let (q, r) = qr(&images)?;
        let h = rows(&q.inner_products(&products(operator, &q, at_once)?)?, sketch);
        let parts = LeftOut {
            trace: (0..sketch).map(|i| h[i][i]).sum(),
            energies: diagonal(&probes, &images)?,
            // Row i: Qᵀz and QᵀA·z of probe i.
            along: rows(&probes.inner_products(&q)?, sketch),
            images: rows(&images.inner_products(&q)?, sketch),
            h,
        };
        let left_out: Vec<Vec<f64>> = (0..sketch).map(|i| left_out(&r, i)).collect();
        Ok((parts.estimate(&left_out)?, estimate(&squares)?))
    }
}

/// Inner products of probes z, Y = A·Z and Q, an orthonormal basis of Y.
struct LeftOut {
    trace: f64,
    energies: Vec<f64>,
    along: Vec<Vec<f64>>,
    images: Vec<Vec<f64>>,
    /// QᵀA·Q.
    h: Vec<Vec<f64>>,
}

impl LeftOut {
    /// The estimate from probe i and a sketch without the directions `s`, P = Q(1 − ssᵀ)Qᵀ:
    /// tr(PA) + vᵀA·v with v = (1 − P)z = z − Q·c. The directions are orthonormal.
    fn value(&self, i: usize, s: &[&[f64]]) -> f64 {
        let mut c = self.along[i].clone();
        for s in s {
            let along = dot(s, &self.along[i]);
            c.iter_mut().zip(*s).for_each(|(c, s)| *c -= along * s);
        }
        let form = |x: &[f64]| dot(x, &self.h.iter().map(|row| dot(row, x)).collect::<Vec<_>>());
        let rest = self.energies[i] - 2.0 * dot(&c, &self.images[i]) + form(&c);
        self.trace - s.iter().map(|s| form(s)).sum::<f64>() + rest
    }

    /// The mean over probes, each with the sketch without it, and its jackknife.
    fn estimate(&self, left_out: &[Vec<f64>]) -> Result<Estimate> {
        let n = left_out.len();
        let values: Vec<f64> = (0..n).map(|i| self.value(i, &[&left_out[i]])).collect();
        let without = |i: usize| {
            let others = (0..n).filter(|j| *j != i).map(|j| {
                // Directions that two probes bring to the sketch together.
                let mut other = left_out[j].clone();
                let along = dot(&other, &left_out[i]);
                other.iter_mut().zip(&left_out[i]).for_each(|(o, s)| *o -= along * s);
                let norm = dot(&other, &other).sqrt();
                other.iter_mut().for_each(|o| *o /= norm.max(f64::MIN_POSITIVE));
                self.value(j, &[&left_out[i], &other])
            });
            others.sum::<f64>() / (n - 1) as f64
        };
        let repeated = estimate(&(0..n).map(without).collect::<Vec<_>>())?;
        let found = estimate(&values)?;
        // Σ(θ₍ᵢ₎ − θ₍.₎)² from the standard error of the mean of the θ₍ᵢ₎.
        let standard_error = repeated.standard_error * ((n * (n - 1)) as f64).sqrt();
        let half = student_t_95(n - 1) * standard_error;
        let interval = (found.mean - half, found.mean + half);
        Ok(Estimate { standard_error, interval, ..found })
    }
}

/// The unit vector s in the basis Q that is orthogonal to all columns of R but column `i`: R⁻ᵀeᵢ.
fn left_out(r: &[Vec<f64>], i: usize) -> Vec<f64> {
    let largest = r.iter().flatten().fold(0.0f64, |m, x| x.abs().max(m));
    // A column that depends on others may be left out as it is: any direction outside will do.
    let least = if largest > 0.0 { f64::EPSILON * largest } else { 1.0 };
    let mut s: Vec<f64> = Vec::with_capacity(r.len());
    for (j, column) in r.iter().enumerate() {
        let known = f64::from(u8::from(i == j)) - dot(column, &s);
        s.push(known / column[j].max(least));
    }
    let norm = dot(&s, &s).sqrt();
    s.iter_mut().for_each(|x| *x /= norm);
    s
}

/// tr A and tr A² by one product with each unit vector.
fn exact(operator: &dyn LinearOperator) -> Result<(Estimate, Estimate)> {
    let n = operator.dim();
    let rows = operator.to_dense()?;
    let trace = finite("a product of the operator", (0..n).map(|i| rows[i][i]).sum())?;
    let square = rows.iter().flatten().map(|x| x * x).sum();
    Ok((Estimate::exact(trace, n), Estimate::exact(square, n)))
}

/// ⟨aᵢ, bᵢ⟩ of each pair of vectors. One read-back.
fn diagonal(a: &ParamBlock, b: &ParamBlock) -> Result<Vec<f64>> {
    let (a, b) = (a.vectors(), b.vectors());
    let dots = a.iter().zip(&b).map(|(a, b)| inner(&a.tensor(), &b.tensor())).collect();
    let values = read(Tensor::cat(dots, 0))?;
    values.into_iter().map(|value| finite("a product of the operator", value)).collect()
}

fn estimate(values: &[f64]) -> Result<Estimate> {
    let mean = finite("a trace", values.iter().sum::<f64>() / values.len() as f64)?;
    Ok(Estimate::of(values).unwrap_or_else(|| Estimate::exact(mean, 0)))
}

fn rows(matrix: &[f64], width: usize) -> Vec<Vec<f64>> {
    matrix.chunks_exact(width).map(<[f64]>::to_vec).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
