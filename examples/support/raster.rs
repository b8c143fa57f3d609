//! PNG files with smooth edges: drawn three times as large, then averaged down.
//!
//! The bitmap backend draws thick lines and filled shapes without anti-aliasing.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::error::{ExampleError, Result};

/// Linear oversampling of the drawing.
const OVERSAMPLING: u32 = 3;

/// Pixels of the PNG per unit of length of the drawing.
const RESOLUTION: u32 = 2;

/// Draws with `draw`, which is given the area and the number of its pixels per unit of length,
/// into a PNG of `size` units.
pub fn save_png<E: std::fmt::Display>(
    path: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<BitMapBackend<'_>, Shift>, f64) -> Result<(), E>,
) -> Result<()> {
    let scale = RESOLUTION * OVERSAMPLING;
    let (width, height) = (size.0 * scale, size.1 * scale);
    let mut fine = vec![255_u8; (width * height * 3) as usize];
    let backend = BitMapBackend::with_buffer(&mut fine, (width, height));
    draw(&backend.into_drawing_area(), f64::from(scale))
        .map_err(|e| ExampleError::write(path, e))?;

    let (width, height) = (size.0 * RESOLUTION, size.1 * RESOLUTION);
    let coarse = average(&fine, width as usize, height as usize, OVERSAMPLING as usize);
    let mut file = BitMapBackend::new(path, (width, height));
    file.blit_bitmap((0, 0), (width, height), &coarse)
        .and_then(|()| file.present())
        .map_err(|e| ExampleError::write(path, e))
}

/// Mean over squares of `factor`² RGB pixels, down to `width` × `height`.
fn average(fine: &[u8], width: usize, height: usize, factor: usize) -> Vec<u8> {
    let row = width * factor * 3;
    let mut coarse = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let at =
                    |i: usize, j: usize| (y * factor + i) * row + (x * factor + j) * 3 + channel;
                let square = (0..factor).flat_map(|i| (0..factor).map(move |j| (i, j)));
                let sum: usize = square.map(|(i, j)| usize::from(fine[at(i, j)])).sum();
                coarse.push((sum / (factor * factor)) as u8);
            }
        }
    }
    coarse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_averaged_channel_by_channel() {
        // Two pixels by one, from four by two.
        let fine = [
            [0, 0, 0],
            [4, 0, 0],
            [8, 8, 8],
            [8, 8, 8], //
            [0, 8, 0],
            [0, 0, 0],
            [8, 8, 8],
            [8, 8, 0],
        ]
        .concat();
        assert_eq!(average(&fine, 2, 1, 2), [1, 2, 0, 8, 8, 6]);
    }
}
