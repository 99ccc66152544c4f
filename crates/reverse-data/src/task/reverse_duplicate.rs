use crate::{Task, Token};

/// `1 2 3` becomes `3 2 1 3 2 1`.
#[derive(Debug)]
pub(super) struct ReverseDuplicate;

impl Task for ReverseDuplicate {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        let mut target: Vec<Token> = source.iter().rev().copied().collect();
        target.extend_from_within(..);
        target
    }

    fn growth(&self) -> usize {
        2
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        Some(len - 1 - step.checked_rem(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reverse_is_repeated() {
        assert_eq!(ReverseDuplicate.target(&[1, 2, 3]), [3, 2, 1, 3, 2, 1]);
    }
}
