use crate::{Task, Token};

/// `1 2 3 4 5` becomes `2 1 4 3 5`: each pair of neighbors is swapped.
#[derive(Debug)]
pub(super) struct BigramFlip;

impl Task for BigramFlip {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        let mut target = source.to_vec();
        for pair in target.chunks_exact_mut(2) {
            pair.swap(0, 1);
        }
        target
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        let neighbor = step ^ 1;
        Some(if neighbor < len { neighbor } else { step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_swapped_and_an_unpaired_last_symbol_stays() {
        assert_eq!(BigramFlip.target(&[1, 2, 3, 4, 5]), [2, 1, 4, 3, 5]);
        assert_eq!(BigramFlip.target(&[1]), [1]);
    }
}
