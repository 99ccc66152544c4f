use crate::{Task, Token};

/// `3 1 2 1` becomes `1 1 2 3`.
#[derive(Debug)]
pub(super) struct Sort;

impl Task for Sort {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        let mut target = source.to_vec();
        target.sort_unstable();
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_sorted() {
        assert_eq!(Sort.target(&[3, 1, 2, 1]), [1, 1, 2, 3]);
    }
}
