//! A scene as PNG with smooth edges: drawn three times as large, then averaged down.
//!
//! The bitmap backend draws thick lines and filled shapes without anti-aliasing.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::scene::{self, Anchor, FONT, Ink, Mark, Place, Scene};

/// Linear oversampling of the drawing.
const OVERSAMPLING: u32 = 3;

/// Pixels of the PNG per unit of length of the drawing.
const RESOLUTION: u32 = 2;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Drawn = Result<(), String>;

/// Draws a scene into a file.
pub(super) fn save_png(path: &Path, scene: &Scene) -> Drawn {
    scene::register_fonts();
    let pixels = |length: f64, scale: u32| (length * f64::from(scale)).round() as u32;
    let scale = RESOLUTION * OVERSAMPLING;
    let (width, height) = (pixels(scene.size.0, RESOLUTION), pixels(scene.size.1, RESOLUTION));
    let fine_size = (width * OVERSAMPLING, height * OVERSAMPLING);
    let mut fine = vec![255_u8; (fine_size.0 * fine_size.1 * 3) as usize];
    let area = BitMapBackend::with_buffer(&mut fine, fine_size).into_drawing_area();
    for mark in &scene.marks {
        draw(&area, f64::from(scale), mark)?;
    }
    area.present().map_err(|e| e.to_string())?;
    drop(area);

    let coarse = average(&fine, width as usize, OVERSAMPLING as usize);
    let mut file = BitMapBackend::new(path, (width, height));
    file.blit_bitmap((0, 0), (width, height), &coarse)
        .and_then(|()| file.present())
        .map_err(|e| e.to_string())
}

/// Draws a mark at `scale` pixels per unit of length.
fn draw(area: &Area<'_>, scale: f64, mark: &Mark) -> Drawn {
    let pixels = |length: f64| (length * scale).round() as i32;
    let at = |place: &Place| (pixels(place.0), pixels(place.1));
    let color = |Ink { color: (r, g, b), opacity }: Ink| RGBColor(r, g, b).mix(opacity);
    let drawn = match mark {
        Mark::Lines { lines, ink, width } => {
            let width = pixels(*width).max(1);
            let style = color(*ink).stroke_width(width as u32);
            // Piece by piece: the backend's joints of thick lines are spikes where angles are sharp.
            let pieces = lines.iter().flat_map(|places| places.windows(2));
            let piece = |ends: &[Place]| PathElement::new(vec![at(&ends[0]), at(&ends[1])], style);
            // Joints would show through a faint line.
            let is_joined = width > 2 && ink.opacity == 1.0;
            let joints = lines.iter().filter(|_| is_joined).flat_map(|places| places.windows(3));
            let joint =
                |around: &[Place]| Circle::new(at(&around[1]), width / 2, color(*ink).filled());
            pieces
                .map(piece)
                .try_for_each(|piece| area.draw(&piece))
                .and_then(|()| joints.map(joint).try_for_each(|joint| area.draw(&joint)))
        }
        Mark::Area { places, ink } => {
            let corners: Vec<_> = places.iter().map(at).collect();
            area.draw(&Polygon::new(corners, color(*ink).filled()))
        }
        Mark::Dots { places, ink, radius } => places.iter().try_for_each(|place| {
            area.draw(&Circle::new(at(place), pixels(*radius), color(*ink).filled()))
        }),
        Mark::Words { words, at: place, size, ink, anchor, is_upright } => {
            let font = (FONT, size * scale).into_font();
            let font = if *is_upright { font.transform(FontTransform::Rotate270) } else { font };
            let anchor = match anchor {
                Anchor::Start => HPos::Left,
                Anchor::Middle => HPos::Center,
                Anchor::End => HPos::Right,
            };
            // The backend centres a box around the base line; letters are above it.
            let (down, right) = if *is_upright { (0.0, 0.2 * size) } else { (0.2 * size, 0.0) };
            let place = at(&(place.0 + right, place.1 + down));
            let style = font.color(&color(*ink)).pos(Pos::new(anchor, VPos::Center));
            area.draw(&Text::new(words.clone(), place, style))
        }
    };
    drawn.map_err(|e| e.to_string())
}

/// Mean over squares of `factor`² RGB pixels, down to a width of `width`.
fn average(fine: &[u8], width: usize, factor: usize) -> Vec<u8> {
    let count = (factor * factor) as u32;
    let mut coarse = Vec::with_capacity(fine.len() / (factor * factor));
    let mut sums = vec![0_u32; width * 3];
    for rows in fine.chunks_exact(width * factor * 3 * factor) {
        sums.fill(0);
        for row in rows.chunks_exact(width * factor * 3) {
            for (sum, square) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * factor)) {
                for pixel in square.chunks_exact(3) {
                    for (sum, value) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(*value);
                    }
                }
            }
        }
        coarse.extend(sums.iter().map(|sum| (sum / count) as u8));
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
        assert_eq!(average(&fine, 2, 2), [1, 2, 0, 8, 8, 6]);
    }
}
