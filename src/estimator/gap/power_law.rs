//! y = C·x^α through points with errors, and whether one power is enough.

use crate::statistics::student_t_95;

/// A point of a power law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerLawPoint {
    /// The abscissa, above zero.
    pub x: f64,
    /// The ordinate.
    pub y: f64,
    /// The standard error of y.
    pub standard_error: f64,
}

/// The least-squares line ln y = ln C + α·ln x, weighted with the errors of ln y, σ/y.
///
/// Points count when x > 0 and y > 2σ: the logarithm of anything below is biased, or not there. Errors are
/// taken as independent and known; where the points scatter more than they allow (χ² above its degrees of
/// freedom ν), they are scaled by √(χ²/ν), as the Particle Data Group does, and the interval is that of
/// Student's distribution with ν degrees of freedom, since the scale is known from ν points only.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PowerLaw {
    /// α.
    pub exponent: f64,
    /// Standard error of α, scaled where the points ask for it.
    pub standard_error: f64,
    /// 95% interval, α ± 1.96·standard error; with the quantile of Student's distribution for 1.96 where the error
    /// was scaled: 12.7 for three points, 2.6 for seven.
    pub interval: (f64, f64),
    /// C.
    pub prefactor: f64,
    /// χ²/ν with ν = points − 2, unscaled; NaN for two points, through which every line goes.
    pub reduced_chi_squared: f64,
    /// Points that count.
    pub n_points: usize,
    /// Points that do not.
    pub n_left_out: usize,
    /// Where the exponent changes, if it does.
    pub crossover: Option<Crossover>,
}

/// A continuous law of two powers that describes the points better than one.
///
/// The rule: the break is at that inner point which gives the smallest χ²; it counts when
/// (χ²₁ − χ²₂)/2 > 4.61·max(1, χ²₂/ν₂) with ν₂ = points − 4 ≥ 1, where χ²₁ and χ²₂ are those of one and of two
/// powers: the 99% quantile of a χ² variable with two degrees of freedom, for two parameters more.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Crossover {
    /// The abscissa of the break.
    pub x: f64,
    /// The exponent below it.
    pub exponent_below: f64,
    /// The exponent above it.
    pub exponent_above: f64,
    /// ((χ²₁ − χ²₂)/2)/max(1, χ²₂/ν₂), which is above 4.61.
    pub strength: f64,
}

const Z_95: f64 = 1.959_963_984_540_054;

/// ln x, ln y and the weight y²/σ² of a point that counts.
struct Logarithms {
    x: f64,
    y: f64,
    weight: f64,
}

/// Coefficients of a weighted least-squares fit, the variance of each for known errors, and χ².
struct Fit {
    coefficients: Vec<f64>,
    variances: Vec<f64>,
    chi_squared: f64,
}

impl PowerLaw {
    /// The law through `points`; `None` where fewer than two of different x count.
    ///
    /// ```
    /// use burn_sharpness::estimator::{PowerLaw, PowerLawPoint};
    ///
    /// let point = |x: f64| PowerLawPoint { x, y: 3.0 * x.powf(0.7), standard_error: 0.01 * x };
    /// let law = PowerLaw::fit(&[0.1, 0.2, 0.5, 1.0].map(point)).unwrap();
    /// assert!((law.exponent - 0.7).abs() < 1e-12 && (law.prefactor - 3.0).abs() < 1e-12);
    /// ```
    pub fn fit(points: &[PowerLawPoint]) -> Option<Self> {
        let mut counted: Vec<Logarithms> = points.iter().filter_map(logarithms).collect();
        counted.sort_by(|a, b| a.x.total_cmp(&b.x));
        let line = least_squares(&counted, &|x| vec![1.0, x])?;
        let free = counted.len() as f64 - 2.0;
        let reduced_chi_squared = if free > 0.0 { line.chi_squared / free } else { f64::NAN };
        // `max` takes the other one for NaN.
        let standard_error = (line.variances[1] * reduced_chi_squared.max(1.0)).sqrt();
        let exponent = line.coefficients[1];
        let is_scaled = reduced_chi_squared > 1.0;
        let quantile = if is_scaled { student_t_95(counted.len() - 2) } else { Z_95 };
        let half = quantile * standard_error;
        Some(Self {
            exponent,
            standard_error,
            interval: (exponent - half, exponent + half),
            prefactor: line.coefficients[0].exp(),
            reduced_chi_squared,
            n_points: counted.len(),
            n_left_out: points.len() - counted.len(),
            crossover: crossover(&counted, line.chi_squared),
        })
    }
}

fn logarithms(point: &PowerLawPoint) -> Option<Logarithms> {
    let PowerLawPoint { x, y, standard_error } = *point;
    let counts = x > 0.0 && y > 2.0 * standard_error && standard_error >= 0.0 && y > 0.0;
    if !(counts && x.is_finite() && y.is_finite()) {
        return None;
    }
    // An error of zero would be a weight beyond all others.
    let relative = (standard_error / y).max(32.0 * f64::EPSILON);
    Some(Logarithms { x: x.ln(), y: y.ln(), weight: relative.powi(-2) })
}

fn crossover(points: &[Logarithms], of_one: f64) -> Option<Crossover> {
    let free = points.len().checked_sub(4).filter(|free| *free > 0)? as f64;
    let broken = |at: f64| {
        let fit = least_squares(points, &|x| vec![1.0, x, (x - at).max(0.0)])?;
        Some((at, fit))
    };
    let inner = &points[1..points.len() - 1];
    let fits = inner.iter().filter_map(|point| broken(point.x));
    let (at, best) = fits.min_by(|a, b| a.1.chi_squared.total_cmp(&b.1.chi_squared))?;
    let strength = 0.5 * (of_one - best.chi_squared) / (best.chi_squared / free).max(1.0);
    let exponent_below = best.coefficients[1];
    (strength > 4.61).then(|| Crossover {
        x: at.exp(),
        exponent_below,
        exponent_above: exponent_below + best.coefficients[2],
        strength,
    })
}

/// Weighted least squares on the features of each x, which begin with 1; `None` where they are dependent. The
/// normal equations hold means that are taken off first, so that lines far from x = 0 keep their digits.
fn least_squares(points: &[Logarithms], features: &dyn Fn(f64) -> Vec<f64>) -> Option<Fit> {
    let total: f64 = points.iter().map(|p| p.weight).sum();
    let rows: Vec<Vec<f64>> = points.iter().map(|p| features(p.x)).collect();
    let n = rows.first()?.len();
    let mean = |of: &dyn Fn(usize) -> f64| {
        points.iter().enumerate().map(|(i, p)| p.weight * of(i)).sum::<f64>() / total
    };
    let centers: Vec<f64> = (1..n).map(|j| mean(&|i| rows[i][j])).collect();
    let center = mean(&|i| points[i].y);
    let entry = |i: usize, j: usize| rows[i][j + 1] - centers[j];
    let moment = |j: usize, k: usize| total * mean(&|i| entry(i, j) * entry(i, k));
    let target = |j: usize| total * mean(&|i| entry(i, j) * (points[i].y - center));
    let (slopes, variances) = match n {
        2 => {
            let xx = moment(0, 0);
            (vec![target(0) / xx], vec![1.0 / xx])
        }
        _ => {
            let (a, b, d) = (moment(0, 0), moment(0, 1), moment(1, 1));
            let determinant = a * d - b * b;
            if determinant <= 1e-12 * a * d {
                return None;
            }
            let (s, t) = (target(0), target(1));
            let slopes = vec![(d * s - b * t) / determinant, (a * t - b * s) / determinant];
            (slopes, vec![d / determinant, a / determinant])
        }
    };
    if slopes.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let offset = center - slopes.iter().zip(&centers).map(|(s, c)| s * c).sum::<f64>();
    let coefficients: Vec<f64> = std::iter::once(offset).chain(slopes).collect();
    let variances = std::iter::once(f64::NAN).chain(variances).collect();
    let rest = |(i, p): (usize, &Logarithms)| {
        let value: f64 = coefficients.iter().zip(&rows[i]).map(|(c, f)| c * f).sum();
        p.weight * (p.y - value).powi(2)
    };
    let chi_squared = points.iter().enumerate().map(rest).sum();
    Some(Fit { coefficients, variances, chi_squared })
}
