use crate::{Task, Token};

/// `1 2 3` becomes `1 2 3`.
#[derive(Debug)]
pub(super) struct Copy;

impl Task for Copy {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        source.to_vec()
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        (step < len).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_unchanged() {
        assert_eq!(Copy.target(&[1, 2, 3]), [1, 2, 3]);
    }
}
