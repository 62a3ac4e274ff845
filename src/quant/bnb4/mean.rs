//! The mean of absmax, summed as torch does it on one thread: other orders give neighboring numbers, and the mean is
//! stored.
//!
//! The values are rows of eight (one vector), four rows side by side; each of these 32 sums is carried into coarser
//! ones every 16 rows, up to four levels. Of 32,768 values and more torch gives each of its threads a part, so the last
//! digit may be another there.
//! Source: torch 2.15, `aten/src/ATen/native/cpu/SumKernel.cpp` (`cascade_sum`), `ReduceOps.cpp` (`mean`).

/// Values of a vector.
const LANES: usize = 8;
/// Rows that are summed side by side.
const SIDE_BY_SIDE: usize = 4;
/// Levels of sums.
const LEVELS: usize = 4;

/// Returns the mean of values of which at least one is there.
pub(super) fn mean(values: &[f32]) -> f32 {
    let mean = sum(values) / values.len() as f32;
    if mean.is_finite() {
        return mean;
    }
    // A sum beyond f32, of which the library makes nothing: the mean is within.
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    (sum / values.len().max(1) as f64) as f32
}

fn sum(values: &[f32]) -> f32 {
    if values.len() < LANES {
        return rows(values.as_chunks::<1>().0)[0];
    }
    let (vectors, rest) = values.as_chunks::<LANES>();
    let sum = rest.iter().fold(0.0, |sum, value| sum + value);
    rows(vectors).iter().fold(sum, |sum, lane| sum + lane)
}

/// Sums rows of `N` lanes.
fn rows<const N: usize>(rows: &[[f32; N]]) -> [f32; N] {
    let (fours, rest) = rows.as_chunks::<SIDE_BY_SIDE>();
    let [mut first, others @ ..] = cascade(fours);
    for row in rest.iter().chain(&others) {
        add(&mut first, row);
    }
    first
}

/// Sums rows side by side, in levels.
fn cascade<const N: usize>(fours: &[[[f32; N]; SIDE_BY_SIDE]]) -> [[f32; N]; SIDE_BY_SIDE] {
    let zero = [[0.0; N]; SIDE_BY_SIDE];
    let mut sums = [zero; LEVELS];
    // A sixteenth of a level each, more where four levels would not hold all.
    let power = (fours.len().next_power_of_two().ilog2() as usize / LEVELS).max(4);
    let step = 1usize << power;
    let mut done = 0;
    for rows in fours.chunks(step) {
        for row in rows {
            add_all(&mut sums[0], row);
        }
        done += rows.len();
        if rows.len() < step {
            break;
        }
        for level in 1..LEVELS {
            let finer = std::mem::replace(&mut sums[level - 1], zero);
            add_all(&mut sums[level], &finer);
            if done & ((step - 1) << (level * power)) != 0 {
                break;
            }
        }
    }
    let [mut first, others @ ..] = sums;
    for level in &others {
        add_all(&mut first, level);
    }
    first
}

fn add_all<const N: usize>(sums: &mut [[f32; N]; SIDE_BY_SIDE], rows: &[[f32; N]; SIDE_BY_SIDE]) {
    sums.iter_mut().zip(rows).for_each(|(sum, row)| add(sum, row));
}

fn add<const N: usize>(sum: &mut [f32; N], row: &[f32; N]) {
    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_torch_s() {
        const GOLDEN: [(u32, u32); 15] = [
            (1, 0x0000_0000),
            (3, 0x3d3b_9a1d),
            (7, 0x3d53_b867),
            (8, 0x3d54_dfac),
            (15, 0x3d41_a409),
            (33, 0x3d50_e7a9),
            (64, 0x3d4f_103a),
            (100, 0x3d4d_77b4),
            (255, 0x3d4b_9524),
            (1000, 0x3d4c_f21e),
            (4096, 0x3d4c_eb5e),
            (8191, 0x3d4c_c925),
            (30_000, 0x3d4c_c89c),
            (65_536, 0x3d4c_c9cc),
            (200_001, 0x3d4c_c7b6),
        ];
        // `torch.tensor([...]).mean()` of torch 2.15 on one thread, as bits.
        for (count, bits) in GOLDEN {
            let values: Vec<f32> =
                (0..count).map(|at| (u64::from(at) * 7919 % 10_007) as f32 / 10_007.0 * 0.1).collect();
            assert_eq!(mean(&values).to_bits(), bits, "{count} values");
        }
        assert_eq!(mean(&[3e38; 64]), 3e38);
    }
}
