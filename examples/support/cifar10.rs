//! CIFAR-10 in its binary version: records of one label byte and 1024 red, 1024 green and 1024
//! blue bytes, row by row.

use std::fs;
use std::path::{Path, PathBuf};

use super::dataset::Dataset;
use super::error::{ExampleError, Result};

const N_PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + N_PIXELS;
const N_CLASSES: usize = 10;

/// The first `n` training images under `path`, each channel normalized to mean 0 and standard
/// deviation 1 over these images.
///
/// `path` is one file, or a folder: then its files whose names end in `.bin` and do not contain
/// `test`, in the order of their names, until there are `n` images.
pub fn load(path: &Path, n: usize) -> Result<Dataset> {
    let mut data = Dataset {
        features: Vec::new(),
        labels: Vec::new(),
        n_features: N_PIXELS,
        image: [3, 32, 32],
        n_classes: N_CLASSES,
        description: String::new(),
    };
    for file in training_files(path)? {
        if data.len() >= n {
            break;
        }
        read_records(&file, n, &mut data)?;
    }
    let mut data = data.take(Some(n))?;
    data.normalize_channels(3);
    data.description = format!(
        "CIFAR-10, {n} training images, each channel shifted and scaled to mean 0, variance 1 over \
         these images"
    );
    Ok(data)
}

fn training_files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !path.exists() {
        return Err(ExampleError::PathNotFound { path: path.to_path_buf() });
    }
    let unreadable = |source| ExampleError::Read { path: path.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if file.is_file() && name.ends_with(".bin") && !name.contains("test") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(ExampleError::NoTrainingFile { path: path.to_path_buf() });
    }
    Ok(files)
}

/// Adds the records of `file` to `data` until it holds `n`. The whole file is checked for its
/// length, the records that are used for their labels.
fn read_records(file: &Path, n: usize, data: &mut Dataset) -> Result<()> {
    let path = file.to_path_buf();
    let bytes =
        fs::read(file).map_err(|source| ExampleError::Read { path: path.clone(), source })?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(ExampleError::TruncatedFile { path, bytes: bytes.len() });
    }
    for (record, content) in bytes.chunks_exact(RECORD).take(n - data.len()).enumerate() {
        let label = content[0];
        if usize::from(label) >= N_CLASSES {
            return Err(ExampleError::BadLabel { path, record, label });
        }
        data.labels.push(label);
        data.features.extend(content[1..].iter().map(|byte| f32::from(*byte) / 255.0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own that goes away with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let id = std::process::id();
            let path = std::env::temp_dir().join(format!("burn-sharpness-cifar10-{id}-{name}"));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        /// A file with one record per label, every pixel equal to `pixel`.
        fn write(&self, name: &str, labels: &[u8], pixel: u8) -> PathBuf {
            let record = |label: &u8| [vec![*label], vec![pixel; N_PIXELS]].concat();
            let file = self.0.join(name);
            fs::write(&file, labels.iter().flat_map(record).collect::<Vec<u8>>()).unwrap();
            file
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn training_files_are_read_by_name_until_there_are_enough() {
        let folder = Folder::new("good");
        folder.write("data_batch_2.bin", &[4, 5], 200);
        folder.write("data_batch_1.bin", &[1, 2, 3], 100);
        folder.write("test_batch.bin", &[9, 9, 9, 9, 9], 0);
        folder.write("batches.meta.txt", &[9], 0);
        let data = load(&folder.0, 4).unwrap();
        assert_eq!(data.labels, [1, 2, 3, 4]);
        assert_eq!((data.len(), data.features.len()), (4, 4 * N_PIXELS));
        // Three images at 100 and one at 200: mean 125, standard deviation 43.3.
        let (low, high) = (-25.0 / 1875f32.sqrt(), 75.0 / 1875f32.sqrt());
        assert!((data.features[0] - low).abs() < 1e-5, "{}", data.features[0]);
        assert!((data.features[4 * N_PIXELS - 1] - high).abs() < 1e-5);
    }

    #[test]
    fn one_file_may_be_given_whatever_its_name() {
        let folder = Folder::new("file");
        let file = folder.write("test_batch.bin", &[7, 8], 3);
        let data = load(&file, 2).unwrap();
        assert_eq!(data.labels, [7, 8]);
        // A constant channel is zero, not NaN.
        assert!(data.features.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn truncated_and_empty_files_are_refused() {
        let folder = Folder::new("truncated");
        let file = folder.write("data_batch_1.bin", &[1, 2], 0);
        let bytes = fs::read(&file).unwrap();
        for length in [bytes.len() - 1, RECORD + 1, 0] {
            fs::write(&file, &bytes[..length]).unwrap();
            let error = load(&folder.0, 1).unwrap_err();
            assert!(
                matches!(&error, ExampleError::TruncatedFile { bytes, .. } if *bytes == length),
                "{error}"
            );
        }
    }

    #[test]
    fn labels_above_nine_are_refused() {
        let folder = Folder::new("label");
        let file = folder.write("data_batch_1.bin", &[1, 10], 0);
        let error = load(&file, 2).unwrap_err();
        assert!(matches!(error, ExampleError::BadLabel { record: 1, label: 10, .. }), "{error}");
    }

    #[test]
    fn missing_places_and_folders_without_training_files_are_named() {
        let folder = Folder::new("missing");
        folder.write("test_batch.bin", &[1], 0);
        let error = load(&folder.0, 1).unwrap_err();
        assert!(matches!(error, ExampleError::NoTrainingFile { .. }), "{error}");
        let error = load(&folder.0.join("nowhere"), 1).unwrap_err();
        assert!(matches!(error, ExampleError::PathNotFound { .. }), "{error}");
    }

    #[test]
    fn fewer_images_than_asked_for_says_how_many_there_are() {
        let folder = Folder::new("fewer");
        folder.write("data_batch_1.bin", &[1, 2], 0);
        folder.write("data_batch_2.bin", &[3], 0);
        let error = load(&folder.0, 4).unwrap_err();
        assert!(matches!(error, ExampleError::TooFewSamples { asked: 4, found: 3 }), "{error}");
        assert!(error.to_string().contains("--samples 3"));
    }
}
