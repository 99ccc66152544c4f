//! Positions of tokens in a buffer of text.

/// A token, which is a part of a buffer: a file, or other text of less than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From a byte to before another.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let [start, end] = [start, end].map(|position| position as u32);
        Self { start, end }
    }

    /// Number of bytes.
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn bytes(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..self.end as usize]
    }

    /// The last byte.
    pub(super) fn last(self, buffer: &[u8]) -> u8 {
        buffer[self.end as usize - 1]
    }

    /// The bytes as a little-endian number, if there are at most 16.
    pub(super) fn word(self, buffer: &[u8]) -> Option<u128> {
        let len @ 1..=16 = self.len() else {
            return (self.len() == 0).then_some(0);
        };
        // The bytes before the token are shifted out, which takes no branch that depends on its length.
        match buffer[..self.end as usize].last_chunk() {
            Some(chunk) => Some(u128::from_le_bytes(*chunk) >> (8 * (16 - len))),
            None => {
                let mut padded = [0; 16];
                padded[..len].copy_from_slice(self.bytes(buffer));
                Some(u128::from_le_bytes(padded))
            }
        }
    }
}

/// Up to eight bytes as a little-endian number.
pub(super) fn word(bytes: &[u8]) -> u64 {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_the_bytes_and_zeros() {
        let buffer: Vec<u8> = (1..=40).map(|byte| byte * 6).collect();
        for start in 0..buffer.len() {
            for end in start..=buffer.len() {
                let span = Span::new(start, end);
                let mut expected = [0; 16];
                let word = match expected.get_mut(..end - start) {
                    Some(bytes) => {
                        bytes.copy_from_slice(&buffer[start..end]);
                        Some(u128::from_le_bytes(expected))
                    }
                    None => None,
                };
                assert_eq!(span.word(&buffer), word, "{span:?}");
            }
        }
    }
}
