//! The device under test: flex, or what the environment variable `BURN_SHARPNESS_DEVICE` names, for
//! which the feature of the same name must be on.

use burn::tensor::Device;

pub fn name() -> String {
    std::env::var("BURN_SHARPNESS_DEVICE").unwrap_or_else(|_| "flex".into())
}

pub fn under_test() -> Device {
    named(&name())
}

fn named(name: &str) -> Device {
    match name {
        "flex" => Device::flex(),
        #[cfg(feature = "ndarray")]
        "ndarray" => ndarray(),
        // Needs a graphics driver; Mesa's software Vulkan will do.
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(Default::default()),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(Default::default()),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(Default::default()),
        _ => panic!(
            "BURN_SHARPNESS_DEVICE is {name:?}, which is no device of this build: flex, or ndarray, \
             wgpu, vulkan, cuda with the feature of this name"
        ),
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // by burn, which still ships it
fn ndarray() -> Device {
    Device::ndarray()
}

#[test]
#[should_panic(expected = "no device of this build")]
fn an_unknown_device_is_refused() {
    named("abacus");
}
