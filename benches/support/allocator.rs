//! The allocator of all benchmarks: mimalloc, with the bytes in use and their peak.
//!
//! Memory that is freed is kept for the next tensor: with glibc's defaults each large one is mapped
//! anew, and touching its pages costs more than the arithmetic (docs/speed.md).

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The bytes that `run` had allocated at its peak, beyond those in use before it.
pub fn peak_bytes<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = IN_USE.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let value = run();
    (PEAK.load(Ordering::SeqCst) - before, value)
}

struct Counting;

impl Counting {
    fn add(bytes: usize) {
        let now = IN_USE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to mimalloc as it is; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks are in use while one is copied into the other.
        Self::add(size);
        let moved = unsafe { MiMalloc.realloc(memory, layout, size) };
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        moved
    }
}
