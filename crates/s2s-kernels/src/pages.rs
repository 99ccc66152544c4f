//! An allocator that uses large pages.
//!
//! The TLB of a CPU holds a few thousand page translations. With pages of 4 KiB, that covers less memory
//! than the weights, gradients and activations of a large model, and each row of a matrix may be on
//! another page. With pages of 2 MiB, it covers everything.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Bytes of a large page.
const PAGE: usize = 2 << 20;
/// The most unused bytes in the last large page of an allocation; otherwise its end uses small pages.
const MAX_WASTE: usize = PAGE / 4;
const CACHE_LINE: usize = 64;

/// The difference between the offsets of two allocations in their first pages: an odd number of cache
/// lines, so that each of `OFFSETS` allocations starts in a different set of a 64-set cache.
const OFFSET_STEP: usize = 17 * CACHE_LINE;
const OFFSETS: usize = 64;
const MAX_OFFSET: usize = (OFFSETS - 1) * OFFSET_STEP;

/// The system's allocator, which on Linux requests large pages for allocations that fill at least three
/// quarters of a large page.
///
/// The kernel grants the request if it can. Growing a large allocation copies it, and a zeroed large
/// allocation is written at once. A program enables the allocator as follows:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: s2s_kernels::LargePages = s2s_kernels::LargePages;
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LargePages;

// SAFETY: the layout alone decides how an allocation is served. Small allocations are passed to the
// system's allocator. A large one is part of a system allocation that starts at the preceding multiple
// of the page size.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(system) = SystemAllocation::of(layout) else {
            // SAFETY: required of the caller.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: the size is not zero.
        let base = unsafe { System.alloc(system.layout) };
        if base.is_null() {
            return base;
        }
        // SAFETY: `base` was just allocated, with room for the largest offset.
        unsafe {
            advise(base, system.large_bytes);
            base.add(offset(base))
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if SystemAllocation::of(layout).is_none() {
            // SAFETY: required of the caller.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: required of the caller; the memory is as large as the layout.
        unsafe {
            let memory = self.alloc(layout);
            if !memory.is_null() {
                memory.write_bytes(0, layout.size());
            }
            memory
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees a valid size for this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if SystemAllocation::of(layout).is_none() && SystemAllocation::of(wanted).is_none() {
            // SAFETY: required of the caller.
            return unsafe { System.realloc(memory, layout, size) };
        }
        // SAFETY: required of the caller; both allocations are large enough and do not overlap.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                new.copy_from_nonoverlapping(memory, size.min(layout.size()));
                self.dealloc(memory, layout);
            }
            new
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: required of the caller; the system's allocation starts at the start of the page.
        unsafe {
            match SystemAllocation::of(layout) {
                None => System.dealloc(memory, layout),
                Some(system) => System.dealloc(memory.sub(memory.addr() % PAGE), system.layout),
            }
        }
    }
}

/// The system allocation for a large layout.
struct SystemAllocation {
    layout: Layout,
    /// The bytes at its start that should use large pages, a multiple of the page size.
    large_bytes: usize,
}

impl SystemAllocation {
    /// `None` if the layout is too small, or needs a larger alignment than a cache line.
    fn of(layout: Layout) -> Option<Self> {
        let size = layout.size().checked_add(MAX_OFFSET)?;
        let large_bytes = layout.size().checked_add(MAX_WASTE)? / PAGE * PAGE;
        if large_bytes == 0 || layout.align() > CACHE_LINE || !cfg!(target_os = "linux") {
            return None;
        }
        let layout = Layout::from_size_align(size.max(large_bytes), PAGE).ok()?;
        Some(Self {
            layout,
            large_bytes,
        })
    }
}

/// The offset of an allocation in its system allocation. It differs among allocations, so that matrices
/// that are read together do not evict each other from the caches.
fn offset(base: *mut u8) -> usize {
    base.addr() / PAGE % OFFSETS * OFFSET_STEP
}

/// Requests large pages for `bytes` of memory, a multiple of the page size.
#[cfg(target_os = "linux")]
unsafe fn advise(memory: *mut u8, bytes: usize) {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the memory belongs to the caller and keeps its contents. A refusal is harmless.
    let _ = unsafe { madvise(memory.cast(), bytes, Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
unsafe fn advise(_memory: *mut u8, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 9] = [
        16,
        PAGE / 2,
        PAGE - MAX_WASTE - 1,
        PAGE - MAX_WASTE,
        3 * PAGE + 5,
        PAGE,
        2 * PAGE - MAX_OFFSET,
        PAGE - 1,
        40,
    ];

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// Bytes without short repetitions.
    fn pattern(size: usize) -> impl Iterator<Item = u8> {
        (0..size).map(|index| (index % 251) as u8)
    }

    #[test]
    fn reallocation_preserves_the_contents() {
        for align in [1, 64, 128] {
            // SAFETY: the memory is used within its size and freed with its layout.
            unsafe {
                let mut memory = LargePages.alloc(layout(SIZES[0], align));
                for sizes in SIZES.windows(2) {
                    let own = std::slice::from_raw_parts_mut(memory, sizes[0]);
                    own.iter_mut()
                        .zip(pattern(sizes[0]))
                        .for_each(|(to, byte)| *to = byte);
                    memory = LargePages.realloc(memory, layout(sizes[0], align), sizes[1]);
                    assert_eq!(memory.addr() % align, 0);
                    let preserved = sizes[0].min(sizes[1]);
                    let own = std::slice::from_raw_parts(memory, preserved);
                    assert!(own.iter().copied().eq(pattern(preserved)), "{sizes:?}");
                }
                LargePages.dealloc(memory, layout(SIZES[8], align));
            }
        }
    }

    #[test]
    fn zeroed_memory_is_zero_even_if_it_is_reused() {
        // SAFETY: the memory is used within its size and freed with its layout.
        unsafe {
            for size in SIZES {
                let used = LargePages.alloc(layout(size, 8));
                used.write_bytes(7, size);
                LargePages.dealloc(used, layout(size, 8));
                let zeros = LargePages.alloc_zeroed(layout(size, 8));
                let own = std::slice::from_raw_parts(zeros, size);
                assert!(own.iter().all(|&byte| byte == 0), "{size}");
                LargePages.dealloc(zeros, layout(size, 8));
            }
        }
    }
}
