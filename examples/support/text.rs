//! A text, embedded, as windows of characters: nothing to download. See shakespeare.ATTRIBUTION.md.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::error::{ExampleError, Result};

const SHAKESPEARE: &str = include_str!("shakespeare.txt");

/// A text as numbers of characters.
pub struct Text {
    /// Each different character, sorted: a character's place is its number.
    pub vocabulary: Vec<char>,
    tokens: Vec<i64>,
}

impl Text {
    /// The opening of "As You Like It".
    pub fn shakespeare() -> Self {
        Self::of(SHAKESPEARE)
    }

    pub fn of(text: &str) -> Self {
        let mut vocabulary: Vec<char> = text.chars().collect();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        // Every character is in the vocabulary: it was made of them.
        let number = |c: char| vocabulary.partition_point(|known| *known < c) as i64;
        Self { tokens: text.chars().map(number).collect(), vocabulary }
    }

    /// How many windows there are with this context.
    pub fn n_windows(&self, context: usize) -> usize {
        self.tokens.len().saturating_sub(1) / context
    }

    /// The first `n` windows `[n, context + 1]`: the last character of each, which is only predicted, is the first
    /// of the next. So every character but the first is predicted once.
    pub fn windows(&self, n: usize, context: usize, device: &Device) -> Result<Tensor<2, Int>> {
        let found = self.n_windows(context);
        if !(1..=found).contains(&n) {
            return Err(ExampleError::TooFewSamples { asked: n, found });
        }
        let starts = (0..n).map(|window| window * context);
        let tokens: Vec<i64> =
            starts.flat_map(|start| self.tokens[start..=start + context].to_vec()).collect();
        Ok(Tensor::from_data(TensorData::new(tokens, [n, context + 1]), device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_overlap_by_the_character_that_is_only_predicted() {
        let text = Text::of("abcabd");
        assert_eq!(text.vocabulary, ['a', 'b', 'c', 'd']);
        assert_eq!(text.n_windows(2), 2);
        let windows = text.windows(2, 2, &Device::flex()).unwrap();
        let tokens: Vec<i64> = windows.into_data().iter().collect();
        assert_eq!(tokens, [0, 1, 2, 2, 0, 1]);
        let error = text.windows(3, 2, &Device::flex()).unwrap_err();
        assert!(matches!(error, ExampleError::TooFewSamples { asked: 3, found: 2 }));
    }

    #[test]
    fn the_embedded_text_is_whole() {
        let text = Text::shakespeare();
        assert_eq!((text.tokens.len(), text.vocabulary.len()), (30_506, 61));
    }
}
