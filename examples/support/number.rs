//! Numbers as people read them.

/// At least three significant digits, without zeros at the end of a fraction.
pub fn rounded(value: f64) -> String {
    let digits = (2.0 - value.abs().max(1e-9).log10().floor()).max(0.0) as usize;
    let text = format!("{value:.digits$}");
    match digits {
        0 => text,
        _ => text.trim_end_matches('0').trim_end_matches('.').to_string(),
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
        ];
        for (value, text) in cases {
            assert_eq!(rounded(value), text);
        }
    }
}
