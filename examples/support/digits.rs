//! The digits set, embedded: nothing to download. See digits.ATTRIBUTION.md.

use super::dataset::Dataset;
use super::error::{ExampleError, Result};

const CSV: &str = include_str!("digits.csv");
const N_PIXELS: usize = 64;
const N_CLASSES: usize = 10;

/// The first `n` of 1797 images of 8×8 pixels, less their mean image, then scaled to standard
/// deviation 1 over all pixels.
///
/// The mean image is what digits share most. Left in, it makes one large eigenvalue from the first
/// steps on, the same for every batch, that hides how curvature rises later.
pub fn load(n: Option<usize>) -> Result<Dataset> {
    let mut data = parse(CSV)?.take(n)?;
    data.subtract_mean_sample();
    data.normalize_channels(1);
    data.description = format!(
        "digits (UCI, 8×8 pixels), {} samples, mean image subtracted, scaled to variance 1",
        data.len()
    );
    Ok(data)
}

fn parse(text: &str) -> Result<Dataset> {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for (i, line) in text.lines().enumerate() {
        let malformed = |problem: String| ExampleError::BadDigit { line: i + 1, problem };
        let fields: Vec<&str> = line.split(',').collect();
        if fields.len() != N_PIXELS + 1 {
            return Err(malformed(format!("{} values", fields.len())));
        }
        let number = |field: &str, max: u8| match field.trim().parse::<u8>() {
            Ok(value) if value <= max => Ok(value),
            _ => Err(malformed(format!("`{field}` is not a whole number from 0 to {max}"))),
        };
        for pixel in &fields[..N_PIXELS] {
            features.push(f32::from(number(pixel, 16)?));
        }
        labels.push(number(fields[N_PIXELS], N_CLASSES as u8 - 1)?);
    }
    let (n_features, image, n_classes) = (N_PIXELS, [1, 8, 8], N_CLASSES);
    Ok(Dataset { features, labels, n_features, image, n_classes, description: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_set_is_whole() {
        let data = load(None).unwrap();
        assert_eq!((data.len(), data.features.len()), (1797, 1797 * 64));
        let mean = data.features.iter().sum::<f32>() / data.features.len() as f32;
        assert!(mean.abs() < 1e-4, "{mean}");
        // The counts that the set's own description gives: about 180 per class.
        for class in 0..10 {
            let count = data.labels.iter().filter(|l| **l == class).count();
            assert!((174..=183).contains(&count), "class {class}: {count}");
        }
        let error = load(Some(1798)).unwrap_err();
        assert!(matches!(error, ExampleError::TooFewSamples { asked: 1798, found: 1797 }));
    }

    #[test]
    fn malformed_lines_are_named() {
        let line =
            |pixel: &str, class: &str| format!("{}{class}\n", format!("{pixel},").repeat(64));
        assert_eq!(parse(&line("16", "9")).unwrap().labels, [9]);
        let second_line = |text: String| match parse(&(line("3", "1") + &text)).unwrap_err() {
            ExampleError::BadDigit { line: 2, problem } => problem,
            other => panic!("{other}"),
        };
        assert_eq!(second_line("1,2,3\n".into()), "3 values");
        assert!(second_line(line("17", "1")).contains("0 to 16"));
        assert!(second_line(line("x", "1")).contains("`x`"));
        assert!(second_line(line("1", "10")).contains("0 to 9"));
    }
}
