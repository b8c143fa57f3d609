//! Fewer points that look the same.

use super::panel::Datum;

/// Dots of a picture at most: more are a solid area, and a large file.
const MOST_DOTS: usize = 5000;

/// Pieces of a line at most, of up to four points each; about one for two pixels.
const MOST_PIECES: usize = 500;

/// Every k-th dot, and k. The batches of one step are random, so that which of them stay says nothing.
pub(super) fn dots(points: Vec<(f64, f64)>) -> (Vec<(f64, f64)>, usize) {
    let every = points.len().div_ceil(MOST_DOTS).max(1);
    (points.into_iter().step_by(every).collect(), every)
}

/// The first, the lowest, the highest and the last point of each of many pieces of equal length in x; all
/// points where they are few.
pub(super) fn line(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 4 * MOST_PIECES {
        return points.to_vec();
    }
    let mut thinned = Vec::new();
    for piece in pieces(points, |p| p.0) {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut kept: Vec<(f64, f64)> =
            [piece.first(), piece.iter().min_by(by), piece.iter().max_by(by), piece.last()]
                .into_iter()
                .flatten()
                .copied()
                .collect();
        kept.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.dedup();
        thinned.extend(kept);
    }
    thinned
}

/// One interval for each of many pieces, around those of its points.
pub(super) fn band(data: &[Datum]) -> Vec<Datum> {
    if data.len() <= 2 * MOST_PIECES {
        return data.to_vec();
    }
    let hull = |piece: &[Datum]| {
        let intervals = piece.iter().filter_map(|datum| datum.interval);
        let interval = intervals.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        Some(Datum { interval, ..*piece.get(piece.len() / 2)? })
    };
    pieces(data, |datum| datum.x).into_iter().filter_map(hull).collect()
}

/// Runs of points in pieces of equal length in x, which rises.
fn pieces<T>(points: &[T], x: impl Fn(&T) -> f64) -> Vec<&[T]> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let (low, span) = (x(first), (x(last) - x(first)).max(f64::MIN_POSITIVE));
    let number = |point: &T| ((x(point) - low) / span * MOST_PIECES as f64) as usize;
    points.chunk_by(|a, b| number(a) == number(b)).collect()
}

/// Neighbours on each side of a point in the mean that the ends keep: with fewer they would be noise.
const AT_ENDS: usize = 2;

/// The mean over `window` neighbours of each point. Towards the ends the window shrinks on both sides, so that
/// a steep start is not lifted.
pub(super) fn moving_mean(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mean = |i: usize| {
        let half = (window / 2).min(i.min(points.len() - 1 - i).max(AT_ENDS));
        let near = &points[i.saturating_sub(half)..points.len().min(i + half + 1)];
        (points[i].0, near.iter().map(|p| p.1).sum::<f64>() / near.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_lines_keep_their_ends_and_their_peaks() {
        let points: Vec<(f64, f64)> =
            (0..100_000).map(|i| (f64::from(i), if i == 54_321 { 9.0 } else { 1.0 })).collect();
        let thinned = line(&points);
        assert!(thinned.len() <= 4 * (MOST_PIECES + 1), "{}", thinned.len());
        assert!(thinned.contains(&(54_321.0, 9.0)));
        assert_eq!((thinned.first(), thinned.last()), (points.first(), points.last()));
        assert!(thinned.windows(2).all(|p| p[0].0 < p[1].0));
        let few = &points[..7];
        assert_eq!(line(few), few);
        let (kept, every) = dots(points);
        assert_eq!((kept.len(), every), (5000, 20));
    }

    #[test]
    fn the_moving_mean_keeps_straight_lines_but_for_their_ends() {
        let points: Vec<(f64, f64)> = (0..9).map(|i| (f64::from(i), 3.0 * f64::from(i))).collect();
        let means = moving_mean(&points, 5);
        assert_eq!(means[2..7], points[2..7]);
        assert_eq!((means[0], means[8]), ((0.0, 3.0), (8.0, 21.0)));
        let spike = [(0.0, 0.0), (1.0, 0.0), (2.0, 3.0), (3.0, 0.0), (4.0, 0.0)];
        assert_eq!(moving_mean(&spike, 3)[1..4], [(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)]);
        assert!(moving_mean(&[], 3).is_empty());
    }

    #[test]
    fn thinned_bands_hold_all_intervals() {
        let datum = |i: u32| {
            let y = f64::from(i % 7);
            Datum {
                x: f64::from(i),
                y,
                interval: i.is_multiple_of(2).then_some((y - 1.0, y + 1.0)),
            }
        };
        let data: Vec<Datum> = (0..50_000).map(datum).collect();
        let thinned = band(&data);
        assert!(thinned.len() <= MOST_PIECES + 1);
        assert!(thinned[..MOST_PIECES].iter().all(|d| d.interval == Some((-1.0, 7.0))));
    }
}
