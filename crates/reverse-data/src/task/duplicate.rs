use crate::{Task, Token};

/// `1 2 3` becomes `1 2 3 1 2 3`.
#[derive(Debug)]
pub(super) struct Duplicate;

impl Task for Duplicate {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        source.repeat(2)
    }

    fn growth(&self) -> usize {
        2
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        step.checked_rem(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_repeated() {
        assert_eq!(Duplicate.target(&[1, 2, 3]), [1, 2, 3, 1, 2, 3]);
    }
}
