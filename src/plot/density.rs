//! Densities of eigenvalues on a logarithmic axis, each seen through a narrow Gaussian kernel, and ticks for
//! single eigenvalues.

use std::f64::consts::PI;

use super::Picture;
use super::axis::{Axis, Scale};
use super::header::{Header, Sample};
use super::number::rounded;
use super::palette::{Look, Marker, THRESHOLD, look_of};
use super::panel::{Datum, FOOT, Panel, WIDTH};
use super::scene::{Anchor, GRAY, Scene};
use crate::error::{Error, Result};
use crate::observe::{History, Spectrum};
use crate::spectrum::{Quadrature, SpectralDensity};

const HEIGHT: f64 = 400.0;
const POINTS: usize = 1200;

/// Height of a row of ticks.
const RUG: f64 = 16.0;

/// Curves end below this part of the peak of a single eigenvalue.
const FLOOR: f64 = 0.1;

/// No more decades than this: below is rounding.
const DECADES: i32 = 12;

const GRAY_DASHES: Look =
    Look { ink: GRAY, width: 1.0, dashes: &[7.0, 5.0], marker: Marker::Cross };

/// A density of eigenvalues with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    label: String,
    spectrum: Spectrum,
    dim: Option<usize>,
    eigenvalues: Vec<f64>,
}

impl Density {
    /// From a [`SpectralDensity`] (`&density`) or from the [`Spectrum`] of a row.
    pub fn new(label: impl Into<String>, spectrum: impl Into<Spectrum>) -> Self {
        let (label, spectrum) = (label.into(), spectrum.into());
        Self { label, spectrum, dim: None, eigenvalues: Vec::new() }
    }

    /// With the number of eigenvalues: the density then counts them.
    pub fn with_dim(self, dim: usize) -> Self {
        Self { dim: Some(dim), ..self }
    }

    /// With eigenvalues that were found one by one, for example by Lanczos: they become the ticks instead of
    /// all Ritz values.
    pub fn with_eigenvalues(self, eigenvalues: Vec<f64>) -> Self {
        Self { eigenvalues, ..self }
    }

    fn ticks(&self) -> &[f64] {
        if self.eigenvalues.is_empty() { &self.spectrum.nodes } else { &self.eigenvalues }
    }
}

/// The density of eigenvalues of the last row that has one.
///
/// # Errors
/// [`Error::NothingToDraw`] where no row has a spectrum.
pub fn spectrum(history: &History) -> Result<Picture> {
    let last = history.rows().iter().rev().find_map(|row| Some((row, row.spectrum.clone()?)));
    let (row, spectrum) = last.ok_or_else(nothing)?;
    let picture = densities(&[Density::new("Hessian of all data", spectrum)], row.threshold)?;
    Ok(picture.with_title(format!("eigenvalues of the Hessian of all data at step {}", row.step)))
}

/// Densities of eigenvalues over one pair of axes, with the threshold that eigenvalues are compared with.
///
/// The density is that of [`SpectralDensity::density`], with a kernel as wide as the mean distance of nodes
/// allows, on a logarithmic axis, with bands of 95% over the start vectors where there are several. Ticks
/// above are single eigenvalues. Below 10% of the peak of one eigenvalue (as far as the dimension is known)
/// nothing is drawn.
///
/// # Errors
/// [`Error::NothingToDraw`] without a node, [`Error::NonFinite`], [`Error::InvalidSetting`] for a spectrum
/// with more or fewer weights than nodes.
pub fn densities(densities: &[Density], threshold: Option<f64>) -> Result<Picture> {
    let figure = Figure::of(densities, threshold)?;
    let mut header = Header::default();
    for (i, density) in densities.iter().enumerate() {
        header.entries.push((Sample::Line(look_of(i)), density.label.clone()));
    }
    if let Some(threshold) = threshold {
        let words = format!("edge of stability = {}", rounded(threshold));
        header.entries.push((Sample::Line(THRESHOLD), words));
        if !figure.x.contains(threshold) {
            header.notes.push("the edge is beyond the axis".into());
        }
    }
    header.notes.extend(figure.notes());
    let mut scene = Scene::new(WIDTH, 0.0);
    let top = header.draw(&mut scene);
    figure.draw(&mut scene, top);
    Ok(Picture::new("density of eigenvalues".into(), scene))
}

fn nothing() -> Error {
    Error::NothingToDraw {
        picture: "spectrum",
        missing: "nodes of a spectrum; let the monitor measure one with `with_spectrum`",
    }
}

/// What is drawn.
struct Figure<'a> {
    densities: &'a [Density],
    curves: Vec<Vec<Datum>>,
    threshold: Option<f64>,
    x: Axis,
    y: Axis,
    /// Standard deviation of the kernel.
    width: f64,
    /// The peak of one eigenvalue seen through it, where the dimension is known.
    single: Option<f64>,
    n_probes: usize,
}

impl<'a> Figure<'a> {
    fn of(densities: &'a [Density], threshold: Option<f64>) -> Result<Self> {
        let spectra: Vec<SpectralDensity> =
            densities.iter().map(|d| quadratures(&d.spectrum, d.dim)).collect::<Result<_>>()?;
        let single_values = densities.iter().flat_map(|d| &d.eigenvalues).copied();
        let numbers = single_values.chain(threshold);
        if let Some(value) = numbers.clone().find(|value| !value.is_finite()) {
            return Err(Error::NonFinite { quantity: "an eigenvalue", value });
        }
        let ends = spectra.iter().map(SpectralDensity::range);
        let (low, high) = ends.fold((0.0_f64, 0.0_f64), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        let Axis { low, high, .. } = Axis::linear(low, high);
        let most_nodes = spectra.iter().flat_map(|s| &s.quadratures).map(|q| q.nodes.len()).max();
        let Some(most_nodes) = most_nodes else { return Err(nothing()) };
        // Nodes are two widths apart in the mean: what is between them is not known.
        let width = (high - low) / (2 * most_nodes.clamp(16, 200)) as f64;
        let far = threshold.filter(|t| *t < 3.0 * high && *t > 3.0 * low).unwrap_or(0.0);
        let (low, high) = (low.min(far), high.max(far));
        let room = (0.03 * (high - low)).max(6.0 * width);
        let x = Axis { scale: Scale::Linear, low: low - room, high: high + room };
        let counts = densities.iter().all(|d| d.dim.is_some());
        let curves = spectra
            .iter()
            .map(|s| curve(s, &x, width, if counts { s.dim as f64 } else { 1.0 }))
            .collect::<Result<Vec<_>>>()?;
        let single = counts.then(|| 1.0 / (width * (2.0 * PI).sqrt()));
        let y = height_axis(&curves, single, &spectra, width);
        let n_probes = spectra.iter().map(|s| s.quadratures.len()).max().unwrap_or(0);
        Ok(Self { densities, curves, threshold, x, y, width, single, n_probes })
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!("kernel σ = {}", rounded(self.width))];
        if self.n_probes > 1 {
            notes.push(format!("bands: 95% over {} start vectors", self.n_probes));
        }
        notes.push(match self.densities.iter().all(|d| d.eigenvalues.is_empty()) {
            true => "ticks above: Ritz values of all start vectors".into(),
            false => "ticks above: eigenvalues found one by one".into(),
        });
        notes
    }

    fn draw(&self, scene: &mut Scene, top: f64) {
        let upper = top + RUG * self.densities.len() as f64 + 4.0;
        let panel = Panel::new(upper, upper + HEIGHT, self.x, self.y);
        scene.size.1 = (panel.bottom + FOOT).ceil();
        let y_name = match self.single {
            Some(_) => "eigenvalues per unit of λ",
            None => "share of eigenvalues per unit of λ",
        };
        panel.draw_axes(scene, Some("eigenvalue λ, curvature of the loss"), y_name);
        for (i, (density, curve)) in self.densities.iter().zip(&self.curves).enumerate() {
            let look = look_of(i);
            let row = top + RUG * i as f64;
            let tick = |value: &f64| {
                let (x, _) = panel.place(*value, self.y.low);
                vec![(x, row + 2.0), (x, row + RUG - 2.0)]
            };
            let inside = density.ticks().iter().filter(|value| self.x.contains(**value));
            scene.lines(inside.map(tick).collect(), look.ink.faint(0.75), 1.2);
            // Pieces above the floor: nothing is drawn where there is nothing.
            for piece in curve.split(|datum| datum.y < self.y.low) {
                panel.band(scene, piece, look.ink.faint(0.18));
                let points: Vec<(f64, f64)> = piece.iter().map(|d| (d.x, d.y)).collect();
                panel.line(scene, &points, &look);
            }
        }
        self.draw_marks(scene, &panel, top);
    }

    /// The height of one eigenvalue, and the threshold.
    fn draw_marks(&self, scene: &mut Scene, panel: &Panel, top: f64) {
        if let Some(single) = self.single {
            let ends = [(self.x.low, single), (self.x.high, single)];
            panel.line(scene, &ends, &GRAY_DASHES);
            let (x, y) = panel.place(self.x.high, single);
            for (words, dy) in [("one", -7.0), ("eigenvalue", 7.0)] {
                scene.words(words, (x + 6.0, y + dy), 12.0, Anchor::Start);
            }
        }
        if let Some(threshold) = self.threshold.filter(|threshold| self.x.contains(*threshold)) {
            let (x, _) = panel.place(threshold, self.y.low);
            let Look { ink, width, dashes, .. } = THRESHOLD;
            scene.dashes(&[(x, panel.bottom), (x, top)], dashes, ink, width);
            let words = format!("edge of stability = {}", rounded(threshold));
            let is_left = x < 0.5 * (panel.left + panel.right);
            let (x, anchor) =
                if is_left { (x + 8.0, Anchor::Start) } else { (x - 8.0, Anchor::End) };
            scene.note(&words, (x, panel.top + 30.0), 14.0, anchor);
        }
    }
}

/// The density along the axis, with its interval.
fn curve(spectrum: &SpectralDensity, x: &Axis, width: f64, factor: f64) -> Result<Vec<Datum>> {
    let grid: Vec<f64> = (0..POINTS).map(|i| x.value(i as f64 / (POINTS - 1) as f64)).collect();
    let heights = spectrum.density(&grid, width)?;
    let datum = |(x, height): (&f64, crate::statistics::Estimate)| {
        let (low, high) = height.interval;
        let interval =
            (low.is_finite() && high.is_finite()).then_some((factor * low, factor * high));
        Datum { x: *x, y: factor * height.mean, interval }
    };
    Ok(grid.iter().zip(heights).map(datum).collect())
}

/// From what a single eigenvalue would be, or from the lighter nodes, up to the highest density.
fn height_axis(
    curves: &[Vec<Datum>],
    single: Option<f64>,
    spectra: &[SpectralDensity],
    width: f64,
) -> Axis {
    let top = curves.iter().flatten().map(|datum| datum.y).fold(f64::MIN_POSITIVE, f64::max);
    let quadratures = spectra.iter().flat_map(|s| &s.quadratures);
    let mut weights: Vec<f64> = quadratures.flat_map(|q| weights_of_outliers(q, width)).collect();
    weights.sort_by(f64::total_cmp);
    // Weights of single eigenvalues scatter, and the lightest of them mean nothing.
    let light = weights.get(weights.len() / 10).copied().unwrap_or(1e-4);
    let of_one = single.unwrap_or(light / (width * (2.0 * PI).sqrt()));
    let low = (FLOOR * of_one).clamp(top * 10f64.powi(-DECADES), 0.1 * top);
    Axis { scale: Scale::Log, low, high: 3.0 * top }
}

/// The weights of nodes that the kernel tells from their neighbours.
fn weights_of_outliers(quadrature: &Quadrature, width: f64) -> Vec<f64> {
    let Quadrature { nodes, weights } = quadrature;
    let is_far =
        |i: usize, j: usize| nodes.get(j).is_none_or(|n| (n - nodes[i]).abs() > 3.0 * width);
    let is_outlier = |i: &usize| is_far(*i, i + 1) && is_far(*i, i.wrapping_sub(1));
    (0..nodes.len()).filter(is_outlier).map(|i| weights[i]).filter(|w| *w > 0.0).collect()
}

/// The quadratures that were joined to one spectrum: nodes rise within each. One where weights say that it
/// was otherwise.
fn quadratures(spectrum: &Spectrum, dim: Option<usize>) -> Result<SpectralDensity> {
    let Spectrum { nodes, weights } = spectrum;
    if nodes.len() != weights.len() {
        return Err(Error::InvalidSetting {
            setting: "spectrum",
            value: format!("{} nodes and {} weights", nodes.len(), weights.len()),
            expected: "as many weights as nodes",
        });
    }
    if nodes.is_empty() {
        return Err(nothing());
    }
    // Squares of nodes are numbers, too.
    if let Some(value) =
        nodes.iter().chain(weights).copied().find(|v| v.is_nan() || v.abs() >= 1e150)
    {
        return Err(Error::NonFinite { quantity: "a number of a spectrum", value });
    }
    let pairs: Vec<(f64, f64)> = nodes.iter().copied().zip(weights.iter().copied()).collect();
    let runs: Vec<&[(f64, f64)]> = pairs.chunk_by(|a, b| a.0 <= b.0).collect();
    let share = 1.0 / runs.len() as f64;
    let is_equal = |run: &&[(f64, f64)]| {
        (run.iter().map(|pair| pair.1).sum::<f64>() - share).abs() < 1e-4 * share
    };
    let runs = if runs.iter().all(is_equal) { runs } else { vec![&pairs[..]] };
    let scale = runs.len() as f64;
    let quadrature = |run: &&[(f64, f64)]| Quadrature {
        nodes: run.iter().map(|pair| pair.0).collect(),
        weights: run.iter().map(|pair| scale * pair.1).collect(),
    };
    let quadratures = runs.iter().map(quadrature).collect();
    Ok(SpectralDensity { quadratures, dim: dim.unwrap_or(0), n_applies: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spectrum_is_taken_apart_into_its_quadratures() {
        let quadrature = |shift: f64| Quadrature {
            nodes: vec![-1.0 + shift, 2.0, 5.0],
            weights: vec![0.5, 0.25, 0.25],
        };
        let density = SpectralDensity {
            quadratures: (0..3).map(|i| quadrature(0.1 * f64::from(i))).collect(),
            dim: 0,
            n_applies: 0,
        };
        let found = quadratures(&Spectrum::from(&density), None).unwrap();
        assert_eq!(found.quadratures.len(), 3);
        for (found, expected) in found.quadratures.iter().zip(&density.quadratures) {
            assert_eq!(found.nodes, expected.nodes);
            assert!(
                found.weights.iter().zip(&expected.weights).all(|(a, b)| (a - b).abs() < 1e-15)
            );
        }
        // Nodes in no order, weights that do not fit the runs: one quadrature.
        let joined = Spectrum { nodes: vec![1.0, 0.0, 3.0], weights: vec![0.2, 0.2, 0.6] };
        assert_eq!(quadratures(&joined, None).unwrap().quadratures.len(), 1);
        let wrong = Spectrum { nodes: vec![1.0], weights: vec![] };
        assert!(matches!(quadratures(&wrong, None), Err(Error::InvalidSetting { .. })));
    }
}
