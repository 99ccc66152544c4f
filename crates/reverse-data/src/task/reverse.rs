use crate::{Task, Token};

/// `1 2 3` becomes `3 2 1`.
#[derive(Debug)]
pub(super) struct Reverse;

impl Task for Reverse {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        source.iter().rev().copied().collect()
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        len.checked_sub(step + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_reversed() {
        assert_eq!(Reverse.target(&[1, 2, 3]), [3, 2, 1]);
    }
}
