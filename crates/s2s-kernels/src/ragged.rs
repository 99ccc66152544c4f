//! The lengths of the rows of a padded batch.

use candle_core::{DType, Device, Result, Tensor, bail};

/// The length of each row of a padded `[B, S]` batch, and the mask that follows from them.
#[derive(Clone, Debug)]
pub struct Ragged {
    lengths: Vec<usize>,
    mask: Tensor,
}

impl Ragged {
    /// Rows of the given lengths, padded to `max_len`.
    ///
    /// # Errors
    /// If there is no row, or a row is longer than `max_len`.
    pub fn new(lengths: Vec<usize>, max_len: usize, dtype: DType, device: &Device) -> Result<Self> {
        if lengths.is_empty() {
            bail!("a batch must have at least one row");
        }
        if let Some((row, len)) = lengths.iter().enumerate().find(|(_, len)| **len > max_len) {
            bail!("row {row} has {len} real positions, but the batch is {max_len} wide");
        }
        // Compared on the device, which receives B numbers instead of B·S.
        let ends = lengths.iter().map(|&len| len as u32).collect();
        let ends = Tensor::from_vec(ends, (lengths.len(), 1), device)?;
        let positions = Tensor::arange(0, max_len as u32, device)?.unsqueeze(0)?; // [1, S]
        let mask = positions.broadcast_lt(&ends)?.to_dtype(dtype)?;
        Ok(Self { lengths, mask })
    }

    /// `rows` rows without padding, of `len` positions each.
    ///
    /// # Errors
    /// If there is no row.
    pub fn full(rows: usize, len: usize, dtype: DType, device: &Device) -> Result<Self> {
        Self::new(vec![len; rows], len, dtype, device)
    }

    /// Real positions of each row.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// `[B, S]`, 1 for a real position and 0 for padding.
    pub fn mask(&self) -> &Tensor {
        &self.mask
    }

    /// Rows, `B`.
    pub fn n_rows(&self) -> usize {
        self.lengths.len()
    }

    /// Padded length, `S`.
    pub fn max_len(&self) -> usize {
        self.mask.dims()[1]
    }

    /// Real positions of all rows.
    pub fn n_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Refuses an `input [B, S, ..]` of another shape.
    pub(crate) fn check(&self, input: &Tensor) -> Result<()> {
        let (rows, max_len) = (self.n_rows(), self.max_len());
        if input.dims().get(..2) != Some(&[rows, max_len]) {
            let input = input.dims();
            bail!("the input is {input:?}, but its lengths are of [{rows}, {max_len}]");
        }
        Ok(())
    }

    /// `[B, S, W]` with the real positions of each row in reverse order; padding stays where it is.
    pub(crate) fn reverse(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, max_len, width) = x.dims3()?;
        let position = |len: usize, at: usize| if at < len { len - 1 - at } else { at };
        let positions: Vec<u32> = self
            .lengths
            .iter()
            .flat_map(|&len| (0..max_len).map(move |at| position(len, at) as u32))
            .collect();
        let positions = Tensor::from_vec(positions, (rows, max_len, 1), x.device())?
            .broadcast_as((rows, max_len, width))?
            .contiguous()?;
        x.contiguous()?.gather(&positions, 1)
    }

    /// Whether no row is padded at `position`.
    pub fn is_full_at(&self, position: usize) -> bool {
        self.lengths.iter().all(|&len| position < len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_is_one_where_a_position_is_real() -> Result<()> {
        let rows = Ragged::new(vec![2, 0, 3], 3, DType::F32, &Device::Cpu)?;
        let expected = [[1., 1., 0.], [0., 0., 0.], [1., 1., 1.]].map(Vec::from);
        assert_eq!(rows.mask().to_vec2::<f32>()?, expected);
        assert_eq!(rows.n_tokens(), 5);
        assert!(!rows.is_full_at(0));
        Ok(())
    }

    #[test]
    fn row_longer_than_the_batch_is_refused() {
        let error = Ragged::new(vec![4], 3, DType::F32, &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("row 0 has 4 real positions"));
    }
}
