//! The densities as a figure: eigenvalues per unit of λ on a logarithmic axis, each seen through a narrow
//! Gaussian kernel; the eigenvalues found one by one as ticks; 2/η.

use std::path::Path;

use burn_sharpness::Error;
use burn_sharpness::estimator::Estimate;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use crate::measured::{Measured, NODES};
use crate::support::error::{ExampleError, Result};
use crate::support::raster::save_png;

const SIZE: (u32, u32) = (960, 560);
pub const FONT: &str = "sans-serif";
const POINTS: usize = 1500;

/// Curves end below this part of the peak of a single eigenvalue; under it are two rows of ticks.
pub const FLOOR: f64 = 0.1;
pub const ROWS: f64 = 8.0;

/// Density of one matrix at a point: λ, estimate, and its 95% interval.
type Point = (f64, f64, (f64, f64));

/// What is drawn.
pub struct Figure<'a> {
    pub title: &'a str,
    pub measured: &'a [Measured],
    pub densities: Vec<Vec<Point>>,
    pub threshold: f64,
    pub x: (f64, f64),
    pub y: (f64, f64),
    /// Standard deviation of the kernel, and the peak of one eigenvalue seen through it.
    pub width: f64,
    pub single: f64,
}

/// Writes spectrum.svg and spectrum.png.
pub fn save(title: &str, measured: &[Measured], threshold: f64, folder: &Path) -> Result<()> {
    // Bytes that are a font: cannot fail.
    let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    let figure = Figure::new(title, measured, threshold)?;
    let svg = folder.join("spectrum.svg");
    let area = SVGBackend::new(&svg, (2 * SIZE.0, 2 * SIZE.1)).into_drawing_area();
    figure.draw(&area, 2.0).map_err(|e| ExampleError::write(&svg, e))?;
    save_png(&folder.join("spectrum.png"), SIZE, |area, scale| figure.draw(area, scale))
}

impl<'a> Figure<'a> {
    fn new(title: &'a str, measured: &'a [Measured], threshold: f64) -> Result<Self, Error> {
        let ends = measured.iter().map(|m| m.density.range());
        let (low, high) = ends.fold((0.0_f64, threshold), |(low, high), (least, most)| {
            (low.min(least), high.max(most))
        });
        // Nodes are two widths apart in the mean: what is between them is not known.
        let width = (high - low) / (2 * NODES) as f64;
        let x = (low - 0.04 * (high - low), high + 0.12 * (high - low));
        let step = (x.1 - x.0) / (POINTS - 1) as f64;
        let grid: Vec<f64> = (0..POINTS).map(|i| x.0 + step * i as f64).collect();
        let density = |m: &Measured| {
            let n = m.density.dim as f64;
            let heights = m.density.density(&grid, width)?;
            let point =
                |(x, e): (&f64, Estimate)| (*x, n * e.mean, (n * e.interval.0, n * e.interval.1));
            Ok(grid.iter().zip(heights).map(point).collect())
        };
        let densities = measured.iter().map(density).collect::<Result<Vec<Vec<Point>>, Error>>()?;
        let single = 1.0 / (width * (2.0 * std::f64::consts::PI).sqrt());
        let top = densities.iter().flatten().map(|p| p.1).fold(single, f64::max);
        let y = (FLOOR / ROWS * single, 3.0 * top);
        Ok(Self { title, measured, densities, threshold, x, y, width, single })
    }
}
