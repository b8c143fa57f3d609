//! Labelled samples on the host, and as tensors of a device.

use burn::tensor::{Device, Tensor, TensorData};

use super::error::{ExampleError, Result};

/// Samples with `n_features` numbers and a class each.
#[derive(Debug)]
pub struct Dataset {
    /// `[n_samples, n_features]`, row by row.
    pub features: Vec<f32>,
    pub labels: Vec<u8>,
    pub n_features: usize,
    /// Channels, height and width: their product is `n_features`.
    pub image: [usize; 3],
    pub n_classes: usize,
    /// Which samples these are and how they were normalized, for people.
    pub description: String,
}

impl Dataset {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The first `n` samples, all of them for `None`.
    pub fn take(mut self, n: Option<usize>) -> Result<Self> {
        let n = n.unwrap_or(self.len());
        if n > self.len() {
            return Err(ExampleError::TooFewSamples { asked: n, found: self.len() });
        }
        self.labels.truncate(n);
        self.features.truncate(n * self.n_features);
        Ok(self)
    }

    /// Subtracts the mean sample, so that each feature has mean 0.
    pub fn subtract_mean_sample(&mut self) {
        let mut mean = vec![0.0_f64; self.n_features];
        for sample in self.features.chunks_exact(self.n_features) {
            mean.iter_mut().zip(sample).for_each(|(m, v)| *m += f64::from(*v));
        }
        let n = self.len() as f64;
        for sample in self.features.chunks_exact_mut(self.n_features) {
            sample.iter_mut().zip(&mean).for_each(|(v, m)| *v -= (m / n) as f32);
        }
    }

    /// Shifts and scales each channel to mean 0 and standard deviation 1 over these samples. A
    /// sample holds its channels one after the other.
    pub fn normalize_channels(&mut self, n_channels: usize) {
        let plane = self.n_features / n_channels;
        for channel in 0..n_channels {
            let of_channel = |i: usize| i / plane % n_channels == channel;
            let values = || self.features.iter().enumerate().filter(|(i, _)| of_channel(*i));
            let n = (self.len() * plane) as f64;
            let mean = values().map(|(_, v)| f64::from(*v)).sum::<f64>() / n;
            let variance = values().map(|(_, v)| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
            // A constant channel becomes zero: its variance is rounding and not worth dividing by.
            let scale = if variance > 1e-12 { variance.sqrt().recip() } else { 0.0 };
            for (i, value) in self.features.iter_mut().enumerate() {
                if of_channel(i) {
                    *value = ((f64::from(*value) - mean) * scale) as f32;
                }
            }
        }
    }

    /// Every pixel repeated `factor` times in both directions: for networks that small images are too
    /// small for.
    pub fn enlarged(mut self, factor: usize) -> Self {
        let [channels, height, width] = self.image;
        let rows = self.features.chunks_exact(width);
        self.features = rows
            .flat_map(|row| {
                let wide: Vec<f32> =
                    row.iter().flat_map(|v| std::iter::repeat_n(*v, factor)).collect();
                wide.repeat(factor)
            })
            .collect();
        self.image = [channels, factor * height, factor * width];
        self.n_features *= factor * factor;
        self
    }

    /// Features `[n, n_features]` and one-hot labels `[n, n_classes]`.
    ///
    /// One-hot here and not in the loss: a loss that is recorded cannot read labels on the host.
    pub fn tensors(&self, device: &Device) -> (Tensor<2>, Tensor<2>) {
        let mut one_hot = vec![0.0_f32; self.len() * self.n_classes];
        for (i, label) in self.labels.iter().enumerate() {
            one_hot[i * self.n_classes + usize::from(*label)] = 1.0;
        }
        let tensor = |values: Vec<f32>, width| {
            Tensor::from_data(TensorData::new(values, [self.len(), width]), device)
        };
        (tensor(self.features.clone(), self.n_features), tensor(one_hot, self.n_classes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_channels() -> Dataset {
        Dataset {
            features: vec![1.0, 3.0, 7.0, 7.0, 5.0, 7.0, 7.0, 7.0],
            labels: vec![1, 0],
            n_features: 4,
            image: [2, 1, 2],
            n_classes: 2,
            description: String::new(),
        }
    }

    #[test]
    fn channels_are_normalized_one_by_one() {
        let mut data = two_channels();
        data.normalize_channels(2);
        let expected = [-3.0, -1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0].map(|v: f32| v / 5f32.sqrt());
        for (value, expected) in data.features.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{:?}", data.features);
        }
    }

    #[test]
    fn an_enlarged_image_repeats_its_pixels() {
        let data = two_channels().enlarged(2);
        assert_eq!((data.image, data.n_features, data.len()), ([2, 2, 4], 16, 2));
        let [a, b] = [1.0, 3.0];
        assert_eq!(data.features[..8], [a, a, b, b, a, a, b, b]);
        assert_eq!(data.features.len(), 32);
    }

    #[test]
    fn the_mean_sample_is_subtracted() {
        let mut data = two_channels();
        data.subtract_mean_sample();
        assert_eq!(data.features, [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn taking_more_than_there_is_says_how_many_there_are() {
        let taken = two_channels().take(Some(1)).unwrap();
        assert_eq!((taken.len(), taken.features.len()), (1, 4));
        let error = two_channels().take(Some(3)).unwrap_err();
        assert!(matches!(error, ExampleError::TooFewSamples { asked: 3, found: 2 }), "{error}");
    }

    #[test]
    fn labels_become_one_hot_rows() {
        let (x, y) = two_channels().tensors(&Device::flex());
        assert_eq!(x.dims(), [2, 4]);
        assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), [0.0, 1.0, 1.0, 0.0]);
    }
}
