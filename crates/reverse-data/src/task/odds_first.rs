use crate::{Task, Token};

/// `1 2 3 4 5` becomes `1 3 5 2 4`: the first, third, ... symbol, then the others.
#[derive(Debug)]
pub(super) struct OddsFirst;

impl Task for OddsFirst {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        let odds = source.iter().step_by(2);
        let evens = source.iter().skip(1).step_by(2);
        odds.chain(evens).copied().collect()
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        let n_odds = len.div_ceil(2);
        Some(match step.checked_sub(n_odds) {
            None => 2 * step,
            Some(even) => 2 * even + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_positions_precede_even_ones() {
        assert_eq!(OddsFirst.target(&[1, 2, 3, 4, 5]), [1, 3, 5, 2, 4]);
        assert_eq!(OddsFirst.target(&[1, 2]), [1, 2]);
    }
}
