//! Colours, and what tells series apart without them.
//!
//! Colours are those of M. Okabe and K. Ito (2008), which people with any common colour vision tell apart,
//! darkened where they would be pale on white, so that they differ in lightness too. Dashes and markers
//! differ in every series, for print in grey.

use super::scene::{DARK, Ink, Place, Scene};

/// The look of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    pub ink: Ink,
    pub width: f64,
    /// Lengths of strokes and gaps; solid for none.
    pub dashes: &'static [f64],
    pub marker: Marker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Disc,
    Square,
    Triangle,
    Diamond,
    Cross,
}

/// Single batches, behind everything else.
pub(super) const ORANGE: Ink = Ink::of((230, 159, 0));

const fn look(color: (u8, u8, u8), width: f64, dashes: &'static [f64], marker: Marker) -> Look {
    Look { ink: Ink::of(color), width, dashes, marker }
}

const SOLID: &[f64] = &[];
const LONG: &[f64] = &[11.0, 4.0];
const DASH_DOT: &[f64] = &[9.0, 3.0, 2.0, 3.0];
const SHORT: &[f64] = &[2.5, 2.5];
const TWO_DOTS: &[f64] = &[12.0, 3.0, 2.0, 3.0, 2.0, 3.0];

/// The looks of series in their order.
const LOOKS: [Look; 8] = [
    look((205, 85, 0), 2.4, SOLID, Marker::Disc),
    look((0, 76, 140), 2.4, LONG, Marker::Square),
    look((0, 158, 115), 2.4, DASH_DOT, Marker::Triangle),
    look((158, 66, 132), 1.8, SHORT, Marker::Diamond),
    look((65, 147, 200), 1.4, SOLID, Marker::Square),
    look((70, 40, 20), 1.6, TWO_DOTS, Marker::Disc),
    look((160, 110, 0), 1.4, LONG, Marker::Cross),
    look((90, 90, 90), 1.4, SOLID, Marker::Triangle),
];

/// The look of the series of this number.
pub(super) fn look_of(number: usize) -> Look {
    LOOKS[number % LOOKS.len()]
}

/// How many series have a look of their own.
pub(super) const N_LOOKS: usize = LOOKS.len();

/// Thresholds: dashes in black.
pub(super) const THRESHOLD: Look =
    Look { ink: DARK, width: 1.5, dashes: &[6.0, 4.0], marker: Marker::Cross };

impl Marker {
    /// A marker that is about 2 · `radius` wide.
    pub fn draw(self, scene: &mut Scene, at: Place, radius: f64, ink: Ink) {
        let corner = |dx: f64, dy: f64| (at.0 + radius * dx, at.1 + radius * dy);
        match self {
            Self::Disc => scene.dots(vec![at], ink, radius),
            Self::Square => scene.rectangle(corner(-0.9, -0.9), corner(0.9, 0.9), ink),
            Self::Triangle => {
                scene.area(vec![corner(0.0, -1.2), corner(1.1, 0.8), corner(-1.1, 0.8)], ink);
            }
            Self::Diamond => {
                let corners = [(0.0, -1.3), (1.1, 0.0), (0.0, 1.3), (-1.1, 0.0)];
                scene.area(corners.map(|(dx, dy)| corner(dx, dy)).to_vec(), ink);
            }
            Self::Cross => {
                scene.path(vec![corner(-1.0, -1.0), corner(1.0, 1.0)], ink, 0.5 * radius);
                scene.path(vec![corner(-1.0, 1.0), corner(1.0, -1.0)], ink, 0.5 * radius);
            }
        }
    }
}

/// Shades of [`shade`], less one.
const N_SHADES: f64 = 128.0;

/// The colour of a share from 0 to 1: dark blue to light yellow on a straight line in CIELAB, so that equal
/// steps look equal, lightness rises evenly, and what the eye compares is blue with yellow, which the common
/// colour blindnesses leave.
pub(super) fn shade(share: f64) -> Ink {
    // Neighbours of nearly one value have one colour, which keeps files small.
    let t = (share.clamp(0.0, 1.0) * N_SHADES).round() / N_SHADES;
    let between = |from: f64, to: f64| from + t * (to - from);
    Ink::of(srgb(between(16.0, 93.0), between(9.0, -4.0), between(-36.0, 52.0)))
}

/// sRGB of a colour in CIELAB under D65.
fn srgb(lightness: f64, a: f64, b: f64) -> (u8, u8, u8) {
    let cube = |f: f64| {
        if f > 6.0 / 29.0 { f.powi(3) } else { 3.0 * (6.0_f64 / 29.0).powi(2) * (f - 4.0 / 29.0) }
    };
    let middle = (lightness + 16.0) / 116.0;
    let [x, y, z] =
        [0.95047 * cube(middle + a / 500.0), cube(middle), 1.08883 * cube(middle - b / 200.0)];
    let linear = [
        3.2406 * x - 1.5372 * y - 0.4986 * z,
        -0.9689 * x + 1.8758 * y + 0.0415 * z,
        0.0557 * x - 0.2040 * y + 1.0570 * z,
    ];
    let [r, g, b] = linear.map(|v| {
        let v = v.clamp(0.0, 1.0);
        let coded = if v <= 0.0031308 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        (255.0 * coded).round() as u8
    });
    (r, g, b)
}

/// Luminance of a colour relative to white (sRGB, as in WCAG 2).
fn luminance((r, g, b): (u8, u8, u8)) -> f64 {
    let linear = |v: u8| {
        let v = f64::from(v) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

/// Whether dark text is easier to read on a colour than white text.
pub(super) fn is_light(ink: Ink) -> bool {
    luminance(ink.color) > 0.18
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE lightness, 0 to 100: what is left in print in grey.
    fn lightness(color: (u8, u8, u8)) -> f64 {
        let y = luminance(color);
        if y > 0.008856 { 116.0 * y.cbrt() - 16.0 } else { 903.3 * y }
    }

    #[test]
    fn every_series_is_told_from_every_other_without_colour() {
        for (i, one) in LOOKS.iter().enumerate() {
            // WCAG asks for a contrast of 3 between graphics and their ground.
            let contrast = 1.05 / (luminance(one.ink.color) + 0.05);
            assert!(contrast >= 3.0, "{i}: {contrast}");
            for (j, other) in LOOKS.iter().enumerate().take(i) {
                let of = |look: &Look| (look.dashes, look.marker);
                assert_ne!(of(one), of(other), "{i} and {j}");
                let difference = lightness(one.ink.color) - lightness(other.ink.color);
                assert!(
                    one.dashes != other.dashes || difference.abs() > 4.0,
                    "{i}, {j}: {difference}"
                );
            }
        }
    }

    /// The lightness of the first four, which most pictures use, differs by more than is needed to see it.
    #[test]
    fn the_first_series_differ_in_grey() {
        let of = |i: usize| lightness(LOOKS[i].ink.color);
        for (i, j) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            assert!((of(i) - of(j)).abs() > 5.0, "{i}: {}, {j}: {}", of(i), of(j));
        }
    }

    #[test]
    fn shades_rise_evenly_in_lightness() {
        for i in 0..=64 {
            let share = f64::from(i) / 64.0;
            let found = lightness(shade(share).color);
            // 8 bits a channel and no channel clipped: within one unit of the line.
            assert!((found - (16.0 + 77.0 * share)).abs() < 1.0, "{share}: {found}");
        }
        assert_eq!(shade(-1.0), shade(0.0));
        assert!(!is_light(shade(0.0)) && is_light(shade(1.0)));
    }
}
