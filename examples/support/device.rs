//! `--device`: a burn device by name, or which feature brings it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};

use super::error::{ExampleError, Result};

/// The devices that the crate's features can bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceName {
    Flex,
    Ndarray,
    Wgpu,
    Vulkan,
    Metal,
    Webgpu,
    Cuda,
    Rocm,
}

/// Options of every example that trains.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Seed of weights and batches.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where to compute; others than flex need the feature of the same name.
    #[arg(long, value_enum, default_value = "flex")]
    pub device: DeviceName,
}

impl DeviceName {
    /// The name of the option's value and of the feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Webgpu => "webgpu",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
        }
    }

    /// The device, after it has computed something: a driver that is missing shows here and not in
    /// the middle of a run.
    pub fn open(self) -> Result<Device> {
        let name = self.name();
        let start = || {
            let device = self.compiled_in()?;
            let two = Tensor::<1>::ones([2], &device).sum().into_scalar::<f32>();
            Some((device, two))
        };
        match catch_unwind(AssertUnwindSafe(start)) {
            Ok(None) => Err(ExampleError::DeviceNotCompiled { name }),
            Ok(Some((device, 2.0))) => Ok(device),
            Ok(Some((_, sum))) => {
                Err(ExampleError::DeviceFailed { name, message: format!("1 + 1 gives {sum}") })
            }
            Err(panic) => {
                let message = match panic.downcast::<String>() {
                    Ok(message) => *message,
                    Err(_) => "see above".to_string(),
                };
                Err(ExampleError::DeviceFailed { name, message })
            }
        }
    }

    fn compiled_in(self) -> Option<Device> {
        match self {
            // The development dependencies always bring flex.
            Self::Flex => Some(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)] // deprecated by burn, still useful to compare with
            Self::Ndarray => Some(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(Device::wgpu(Default::default())),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(Device::vulkan(Default::default())),
            #[cfg(feature = "metal")]
            Self::Metal => Some(Device::metal(Default::default())),
            #[cfg(feature = "webgpu")]
            Self::Webgpu => Some(Device::webgpu(Default::default())),
            #[cfg(feature = "cuda")]
            Self::Cuda => Some(Device::cuda(0)),
            #[cfg(feature = "rocm")]
            Self::Rocm => Some(Device::rocm(0)),
            #[allow(unreachable_patterns)] // when every feature is on
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flex_is_always_there() {
        assert_eq!(DeviceName::Flex.open().unwrap(), Device::flex());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_missing_device_names_its_feature() {
        let message = DeviceName::Cuda.open().unwrap_err().to_string();
        assert_eq!(message, "this build has no cuda: run again with `--features cuda`");
    }
}
