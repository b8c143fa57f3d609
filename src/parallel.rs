//! Solves of several lanes on a processor: few lanes each, small enough for its caches, on all threads.
//!
//! A device with a queue of its own has most use for one program of all lanes. A processor has not: an
//! elementwise operation of burn's backends runs on one thread, one that leaves the caches takes twice
//! the time per element, and parts of a `[K, width]` matrix are copied to be read, unless K is 1.

use burn::tensor::Device;
use burn_backend::Device as _;
use burn_dispatch::DispatchDeviceId;

/// Elements of a vector of all lanes of a solve: 256 KiB in f32, of which a solve works on a few at once.
const ELEMENTS: usize = 1 << 16;

/// How many of `k` lanes with vectors of `width` numbers a solve has.
pub(crate) fn lanes_per_solve([k, width]: [usize; 2], device: &Device) -> usize {
    if !is_processor(device) {
        return k;
    }
    let cached = (ELEMENTS / width.max(1)).max(1);
    cached.min(k.div_ceil(threads()))
}

/// How many solves run at a time.
pub(crate) fn solves_at_once(device: &Device) -> usize {
    if is_processor(device) { threads() } else { 1 }
}

/// `work` on each of `items`, in order; on a processor on the threads of rayon's pool.
pub(crate) fn map<T: Send, R: Send>(
    device: &Device,
    items: Vec<T>,
    work: impl Fn(T) -> R + Send + Sync,
) -> Vec<R> {
    #[cfg(feature = "rayon")]
    if items.len() > 1 && is_processor(device) {
        use rayon::prelude::*;
        return items.into_par_iter().with_max_len(1).map(work).collect();
    }
    let _ = device;
    items.into_iter().map(work).collect()
}

fn threads() -> usize {
    #[cfg(feature = "rayon")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "rayon"))]
    return 1;
}

/// Whether operations run where they are called, and not in a device's queue.
fn is_processor(device: &Device) -> bool {
    // burn-dispatch 0.22 has the backend in the upper byte. Its variants exist with its own features only.
    let backend = device.as_dispatch().to_id().type_id >> 8;
    [DispatchDeviceId::Flex, DispatchDeviceId::NdArray].iter().any(|id| *id as u16 == backend)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn flex_is_a_processor_with_caches() {
        for device in [Device::flex(), Device::flex().autodiff()] {
            assert!(is_processor(&device));
            assert_eq!(lanes_per_solve([64, ELEMENTS + 1], &device), 1);
            assert_eq!(lanes_per_solve([1, 10], &device), 1);
            let few = lanes_per_solve([1000, ELEMENTS / 4], &device);
            assert_eq!(few, 4.min(1000usize.div_ceil(threads())));
        }
    }

    #[test]
    fn results_are_in_order() {
        let found = map(&Device::flex(), (0..100).collect(), |i: usize| i * i);
        assert_eq!(found, (0..100).map(|i| i * i).collect::<Vec<_>>());
    }
}
