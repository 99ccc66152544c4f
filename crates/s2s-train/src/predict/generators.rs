//! A generator for several threads.

use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::ThreadPoolBuilder;
use s2s_model::{Generator, REFERENCE_STACK_BYTES, Seq2Seq};

use crate::{Error, Result};

/// A generator that several threads can use at once.
#[derive(Debug)]
pub(super) struct Generators<'a> {
    packed: Generator<'a>,
    /// Idle clones of `packed`, which keep their buffers for reuse.
    idle: Mutex<Vec<Generator<'a>>>,
    /// Whether no model needs a deep stack.
    is_fused: bool,
}

impl<'a> Generators<'a> {
    pub(super) fn new(models: &[&'a Seq2Seq]) -> Result<Self> {
        Ok(Self {
            packed: Generator::ensemble(models)?,
            idle: Mutex::default(),
            is_fused: models.iter().all(|model| model.is_fused()),
        })
    }

    /// The same generators, which add attention weights to their outputs.
    pub(super) fn with_attention(self) -> Self {
        Self {
            packed: self.packed.with_attention(),
            idle: Mutex::default(),
            is_fused: self.is_fused,
        }
    }

    pub(super) fn return_attention(&self) -> bool {
        self.packed.returns_attention()
    }

    pub(super) fn is_fused(&self) -> bool {
        self.is_fused
    }

    /// Runs `work` with a generator that no other thread uses. The reference path recurses over the tokens
    /// of a source, so it gets a thread with a sufficient stack. This thread is a pool of its own: the
    /// callers may be all threads of rayon's pool, and as they wait, candle's products must not run there.
    pub(super) fn with<R: Send>(
        &self,
        work: impl FnOnce(&mut Generator<'a>) -> Result<R> + Send,
    ) -> Result<R> {
        if self.is_fused {
            return self.lend(work);
        }
        thread::scope(|scope| {
            let builder = thread::Builder::new().stack_size(REFERENCE_STACK_BYTES);
            let thread = builder.spawn_scoped(scope, || {
                let pool = ThreadPoolBuilder::new().num_threads(1);
                let pool = pool.use_current_thread().build();
                let _pool = pool.expect("a new thread belongs to no pool");
                self.lend(work)
            });
            let result = thread.map_err(Error::Thread)?.join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn lend<R>(&self, work: impl FnOnce(&mut Generator<'a>) -> R) -> R {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle_clone = idle().pop();
        let mut generator = idle_clone.unwrap_or_else(|| self.packed.clone());
        let result = work(&mut generator);
        idle().push(generator);
        result
    }
}
