//! Work that is recorded once and then submitted as a whole: a CUDA graph.

#![expect(unsafe_code, reason = "moves a graph between threads")]

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaGraph;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::{Result, bail};

use super::queue::Queue;

/// Recordings kept at a time.
const CAPACITY: usize = 128;

/// Recordings of work by key. Work of a key that comes for the second time is recorded, and replayed from then
/// on: one submission instead of hundreds. A clone is empty.
pub struct Recordings<K> {
    all: HashMap<K, Option<Recording>>,
    memory: u64,
}

struct Recording(CudaGraph);

// SAFETY: the driver accepts a graph from any thread, one at a time, and `Recordings` needs `&mut self` to use it.
unsafe impl Send for Recording {}
// SAFETY: as above; there is no access through `&self`.
unsafe impl Sync for Recording {}

impl<K> Default for Recordings<K> {
    fn default() -> Self {
        Self {
            all: HashMap::new(),
            memory: 0,
        }
    }
}

impl<K> Clone for Recordings<K> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<K> fmt::Debug for Recordings<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recordings")
            .field("n", &self.all.len())
            .finish_non_exhaustive()
    }
}

impl<K: Eq + Hash> Recordings<K> {
    /// Submits the work that belongs to `key`. Work of equal keys must use the same memory and the same numbers
    /// beside it; `memory` tells apart memory that was allocated anew.
    ///
    /// # Errors
    /// If the work cannot be submitted.
    pub fn submit(
        &mut self,
        queue: &Queue,
        key: K,
        memory: u64,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if self.memory != memory || self.all.len() >= CAPACITY {
            self.all.clear();
            self.memory = memory;
        }
        match self.all.get_mut(&key) {
            Some(Some(recording)) => recording.0.launch().w(),
            Some(seen) => {
                let recording = record(queue, work)?;
                recording.0.launch().w()?;
                *seen = Some(recording);
                Ok(())
            }
            None => {
                work()?; // and loads the kernels
                self.all.insert(key, None);
                Ok(())
            }
        }
    }
}

fn record(queue: &Queue, work: impl FnOnce() -> Result<()>) -> Result<Recording> {
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    queue.stream.begin_capture(mode).w()?;
    let submitted = work();
    let graph = queue.stream.end_capture(CUgraphInstantiate_flags(0)).w();
    submitted?;
    match graph? {
        Some(graph) => Ok(Recording(graph)),
        None => bail!("the recorded work is empty"),
    }
}
