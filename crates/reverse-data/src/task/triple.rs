use crate::{Task, Token};

/// `1 2` becomes `1 2 1 2 1 2`.
#[derive(Debug)]
pub(super) struct Triple;

impl Task for Triple {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        source.repeat(3)
    }

    fn growth(&self) -> usize {
        3
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        step.checked_rem(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_repeated_twice() {
        assert_eq!(Triple.target(&[1, 2]), [1, 2, 1, 2, 1, 2]);
    }
}
