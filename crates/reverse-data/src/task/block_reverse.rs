use std::num::NonZeroUsize;

use crate::{Task, Token};

/// `1 2 3 4 5` becomes `3 2 1 5 4` with blocks of three: each block is reversed; the last one may be
/// shorter.
#[derive(Debug)]
pub(super) struct BlockReverse {
    pub(super) block: NonZeroUsize,
}

impl Task for BlockReverse {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        let mut target = source.to_vec();
        for block in target.chunks_mut(self.block.get()) {
            block.reverse();
        }
        target
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        let first = step - step % self.block;
        let end = (first + self.block.get()).min(len);
        Some(first + end - 1 - step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(block: usize, target: [Token; 5]) {
        let block = NonZeroUsize::new(block).unwrap();
        assert_eq!(BlockReverse { block }.target(&[1, 2, 3, 4, 5]), target);
    }

    #[test]
    fn each_block_is_reversed() {
        check(1, [1, 2, 3, 4, 5]);
        check(2, [2, 1, 4, 3, 5]);
        check(3, [3, 2, 1, 5, 4]);
        check(9, [5, 4, 3, 2, 1]);
    }
}
