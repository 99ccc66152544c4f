use crate::{Task, Token};

/// `1 2 3` becomes `1 2 3 3 2 1`.
#[derive(Debug)]
pub(super) struct Mirror;

impl Task for Mirror {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        source.iter().chain(source.iter().rev()).copied().collect()
    }

    fn growth(&self) -> usize {
        2
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        match step < len {
            true => Some(step),
            false => (2 * len).checked_sub(step + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_followed_by_its_reverse() {
        assert_eq!(Mirror.target(&[1, 2, 3]), [1, 2, 3, 3, 2, 1]);
    }
}
