use crate::{Task, Token};

/// `1 2 3 4` becomes `2 3 4 1`: the first symbol moves to the end.
#[derive(Debug)]
pub(super) struct Rotate;

impl Task for Rotate {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        let mut target = source.to_vec();
        if !target.is_empty() {
            target.rotate_left(1);
        }
        target
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        (step + 1).checked_rem(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_symbol_moves_to_the_end() {
        assert_eq!(Rotate.target(&[1, 2, 3, 4]), [2, 3, 4, 1]);
        assert_eq!(Rotate.target(&[1]), [1]);
    }
}
