//! Memory in large pages.
//!
//! A processor remembers where a few thousand pages lie. Of the usual 4 KiB that is less than the
//! weights, gradients and activations of a large model take, and each row of a matrix may be a page
//! of its own; of 2 MiB it is more than there is.
#![expect(unsafe_code, reason = "an allocator hands out memory")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Bytes of a large page.
const PAGE: usize = 2 << 20;
/// Bytes of the last page of a piece that may stay empty; with more, its end is of small pages.
const MAX_WASTE: usize = PAGE / 4;
const CACHE_LINE: usize = 64;

/// From one place in a cache to the next: an odd number of lines, so that each of as many places
/// begins in another of the 64 sets of the nearest cache.
const PLACE: usize = 17 * CACHE_LINE;
const PLACES: usize = 64;
const MAX_OFFSET: usize = (PLACES - 1) * PLACE;

/// The system's allocator, which on Linux asks for large pages where a piece of memory fills them,
/// the last of them at least by three quarters.
///
/// The system gives them where it may. A large piece that grows is copied, and one of zeros is written
/// at once. It is a program's to choose:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: s2s_kernels::LargePages = s2s_kernels::LargePages;
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LargePages;

// SAFETY: a layout alone decides who serves it. Small pieces are the system allocator's. A large one is
// a part of a piece of the system's that begins at the multiple of a page before it.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(piece) = Piece::of(layout) else {
            // SAFETY: the caller's.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: the piece is not empty.
        let base = unsafe { System.alloc(piece.layout) };
        if base.is_null() {
            return base;
        }
        // SAFETY: the piece was just handed out; the offset is within what it has beyond the layout.
        unsafe {
            advise(base, piece.large_bytes);
            base.add(offset(base))
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if Piece::of(layout).is_none() {
            // SAFETY: the caller's.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's; the memory is as large as the layout.
        unsafe {
            let memory = self.alloc(layout);
            if !memory.is_null() {
                memory.write_bytes(0, layout.size());
            }
            memory
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller may ask for this size at this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if Piece::of(layout).is_none() && Piece::of(wanted).is_none() {
            // SAFETY: the caller's.
            return unsafe { System.realloc(memory, layout, size) };
        }
        // SAFETY: the caller's; both pieces hold what is copied, and they are two.
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
        // SAFETY: the caller's; a large piece begins at the page that its part begins in.
        unsafe {
            match Piece::of(layout) {
                None => System.dealloc(memory, layout),
                Some(piece) => System.dealloc(memory.sub(memory.addr() % PAGE), piece.layout),
            }
        }
    }
}

/// What is asked of the system for a large layout.
struct Piece {
    layout: Layout,
    /// Bytes at its beginning that are to lie in large pages, a multiple of their size.
    large_bytes: usize,
}

impl Piece {
    /// `None` where memory is too small, or wants to begin where only the system finds a place.
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

/// Bytes from the beginning of a piece to the part that is handed out: other pieces, other places
/// in the caches, or matrices that are read together would push each other out.
fn offset(base: *mut u8) -> usize {
    base.addr() / PAGE % PLACES * PLACE
}

/// Asks for large pages in `bytes` of memory, a multiple of their size.
#[cfg(target_os = "linux")]
unsafe fn advise(memory: *mut u8, bytes: usize) {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the caller's memory, which keeps its contents; if the system will not, all goes on.
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

    /// Bytes that no others in the neighborhood equal.
    fn pattern(size: usize) -> impl Iterator<Item = u8> {
        (0..size).map(|index| (index % 251) as u8)
    }

    #[test]
    fn memory_keeps_its_contents_as_it_grows_and_shrinks() {
        for align in [1, 64, 128] {
            // SAFETY: what is handed out is used within its size, and given back as it was taken.
            unsafe {
                let mut memory = LargePages.alloc(layout(SIZES[0], align));
                for sizes in SIZES.windows(2) {
                    let own = std::slice::from_raw_parts_mut(memory, sizes[0]);
                    own.iter_mut()
                        .zip(pattern(sizes[0]))
                        .for_each(|(to, byte)| *to = byte);
                    memory = LargePages.realloc(memory, layout(sizes[0], align), sizes[1]);
                    assert_eq!(memory.addr() % align, 0);
                    let kept = sizes[0].min(sizes[1]);
                    let own = std::slice::from_raw_parts(memory, kept);
                    assert!(own.iter().copied().eq(pattern(kept)), "{sizes:?}");
                }
                LargePages.dealloc(memory, layout(SIZES[8], align));
            }
        }
    }

    #[test]
    fn zeros_are_zeros_where_memory_was_used_before() {
        // SAFETY: what is handed out is used within its size, and given back as it was taken.
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
