//! Placement of labels without overlap.

/// Positions as close as possible to the `wanted` ones, in the same order and at least `pitch` apart,
/// each at least half a pitch from `low` and `high`.
pub(crate) fn push_apart(wanted: &[f64], pitch: f64, low: f64, high: f64) -> Vec<f64> {
    /// Adjacent labels that touch; the block is centered on the mean of their wanted positions.
    struct Block {
        members: Vec<usize>,
        sum: f64,
    }
    let length = |block: &Block| block.members.len() as f64 * pitch;
    let start = |block: &Block| {
        let center = block.sum / block.members.len() as f64;
        (center - length(block) / 2.0)
            .min(high - length(block))
            .max(low)
    };
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut blocks: Vec<Block> = Vec::new();
    for index in order {
        let mut block = Block {
            members: vec![index],
            sum: wanted[index],
        };
        while let Some(above) = blocks.pop_if(|b| start(b) + length(b) > start(&block)) {
            block.sum += above.sum;
            block.members.splice(0..0, above.members);
        }
        blocks.push(block);
    }
    let mut placed = vec![0.0; wanted.len()];
    for block in &blocks {
        for (i, &member) in block.members.iter().enumerate() {
            placed[member] = start(block) + (i as f64 + 0.5) * pitch;
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_enough_room_do_not_move() {
        assert_eq!(
            push_apart(&[50.0, 10.0, 30.0], 10.0, 0.0, 100.0),
            [50.0, 10.0, 30.0]
        );
    }

    #[test]
    fn labels_at_the_same_position_spread_around_it_in_order() {
        assert_eq!(
            push_apart(&[50.0, 50.0, 50.0], 10.0, 0.0, 100.0),
            [40.0, 50.0, 60.0]
        );
    }

    #[test]
    fn labels_stay_inside_and_apart() {
        let wanted = [99.0, 98.0, 3.0, 55.0, 97.0, 1.0, 0.0, 52.0];
        let mut placed = push_apart(&wanted, 10.0, 0.0, 100.0);
        let mut order: Vec<usize> = (0..8).collect();
        order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
        placed = order.iter().map(|&i| placed[i]).collect();
        assert!(
            placed.windows(2).all(|two| two[1] - two[0] >= 10.0 - 1e-9),
            "{placed:?}"
        );
        assert!(
            placed[0] >= 5.0 - 1e-9 && placed[7] <= 95.0 + 1e-9,
            "{placed:?}"
        );
    }
}
