//! Numbers as people read them.

/// At least three significant digits, without zeros at the end of a fraction; as a power of ten where
/// digits would have to be counted.
pub fn rounded(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e7).contains(&value.abs()) {
        return scientific(value, 2);
    }
    let digits = (2.0 - value.abs().max(1e-9).log10().floor()).max(0.0) as usize;
    trimmed(&format!("{value:.digits$}"))
}

/// `1.5e-7`, with at most `digits` digits behind the point.
pub(super) fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", trimmed(mantissa)),
        None => text,
    }
}

/// With two decimals at most, for files.
pub(super) fn plain(value: f64) -> String {
    let text = trimmed(&format!("{value:.2}"));
    if text == "-0" { "0".into() } else { text }
}

/// With one decimal at most: a place in a file.
pub(super) fn short(value: f64) -> String {
    let text = trimmed(&format!("{value:.1}"));
    if text == "-0" { "0".into() } else { text }
}

fn trimmed(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_no_needless_zeros() {
        let cases = [
            (16.0, "16"),
            (4.0 / 3.0, "1.33"),
            (200.0, "200"),
            (1234.5, "1234"),
            (39.787, "39.8"),
            (0.0667, "0.0667"),
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1e-12, "1e-12"),
            (-1.234e9, "-1.23e9"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(rounded(value), text);
        }
        assert_eq!(plain(-0.001), "0");
        assert_eq!(plain(12.305), "12.3"); // 12.305 is below itself
    }
}
