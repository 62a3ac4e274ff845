//! Searches for the scale (and minimum) of sub-blocks: those of a block at once, one a lane.
//!
//! ggml walks through the values of a sub-block and sums as it goes. The order of those sums is kept, because the
//! bytes hang on it: what runs side by side are the sub-blocks, `x[value][sub-block]`. A branch of one sub-block is
//! a choice of its lane.
//! Source: ggml, `ggml-quants.c`, `nearest_int`, `make_qx_quants`, `make_q3_quants`, `make_qkx2_quants`.

#![expect(clippy::needless_bitwise_bool, reason = "choices of lanes have no branches")]

/// Below this a sub-block is all zero (`GROUP_MAX_EPS`).
pub(super) const NOTHING: f32 = 1e-15;

/// Values of `L` sub-blocks of `N`, by their place in the sub-block.
pub(super) type Lanes<const L: usize, const N: usize> = [[f32; L]; N];

/// What a search finds: scales, and the codes by place and sub-block.
pub(super) struct Found<const L: usize, const N: usize> {
    pub(super) scales: [f32; L],
    pub(super) codes: [[i32; L]; N],
}

/// Returns the nearest whole number, ties to even, of a magnitude below 2²²; of others what ggml's trick with the
/// mantissa makes of them.
#[inline(always)]
pub(super) fn nearest(value: f32) -> i32 {
    ((value + 12_582_912.0).to_bits() & 0x007f_ffff).cast_signed() - 0x0040_0000
}

/// Deals the values of a block out to lanes.
#[inline(always)]
pub(super) fn lanes<const L: usize, const N: usize>(values: &[f32; 256]) -> Lanes<L, N> {
    let mut lanes = [[0f32; L]; N];
    for (at, lanes) in lanes.iter_mut().enumerate() {
        for lane in 0..L {
            lanes[lane] = values[lane * N + at];
        }
    }
    lanes
}

/// Returns the value of the largest magnitude in each sub-block, the first of equal ones, and the magnitude.
#[inline(always)]
fn largest<const L: usize, const N: usize>(x: &Lanes<L, N>) -> ([f32; L], [f32; L]) {
    let (mut max, mut magnitude) = ([0f32; L], [0f32; L]);
    for x in x {
        for lane in 0..L {
            let is_larger = x[lane].abs() > magnitude[lane];
            magnitude[lane] = if is_larger { x[lane].abs() } else { magnitude[lane] };
            max[lane] = if is_larger { x[lane] } else { max[lane] };
        }
    }
    (max, magnitude)
}

/// Returns the sums of the products and of the squares of codes at a scale, with squares as weights.
#[inline(always)]
fn sums<const L: usize, const N: usize>(
    x: &Lanes<L, N>,
    inverse: &[f32; L],
    half: i32,
) -> ([f32; L], [f32; L]) {
    let (mut products, mut squares) = ([0f32; L], [0f32; L]);
    for x in x {
        for lane in 0..L {
            let code = nearest(inverse[lane] * x[lane]).clamp(-half, half - 1) as f32;
            let weight = x[lane] * x[lane];
            products[lane] += weight * x[lane] * code;
            squares[lane] += weight * code * code;
        }
    }
    (products, squares)
}

/// Finds scales around zero, with squares as weights (`make_qx_quants` with `rmse_type` 1): of 19 the one with the
/// least error. Codes count from 0; those of a sub-block of zeros are 0.
#[inline(always)]
pub(super) fn symmetric<const L: usize, const N: usize>(x: &Lanes<L, N>, half: i32) -> Found<L, N> {
    let (max, magnitude) = largest(x);
    let [mut chosen, mut scales, mut best, mut inverse] = [[0f32; L]; 4];
    for lane in 0..L {
        chosen[lane] = -half as f32 / max[lane];
    }
    let (products, squares) = sums(x, &chosen, half);
    for lane in 0..L {
        scales[lane] = if squares[lane] == 0.0 { 0.0 } else { products[lane] / squares[lane] };
        best[lane] = scales[lane] * products[lane];
    }
    for step in (-9..=9i8).filter(|&step| step != 0) {
        let wanted = -(half as f32 + 0.1 * f32::from(step));
        for lane in 0..L {
            inverse[lane] = wanted / max[lane];
        }
        let (products, squares) = sums(x, &inverse, half);
        for lane in 0..L {
            let (product, square) = (products[lane], squares[lane]);
            let is_better = (square > 0.0) & (product * product > best[lane] * square);
            let scale = product / square;
            chosen[lane] = if is_better { inverse[lane] } else { chosen[lane] };
            scales[lane] = if is_better { scale } else { scales[lane] };
            best[lane] = if is_better { scale * product } else { best[lane] };
        }
    }
    let mut codes = [[0i32; L]; N];
    for (x, codes) in x.iter().zip(&mut codes) {
        for lane in 0..L {
            let code = half + nearest(chosen[lane] * x[lane]).clamp(-half, half - 1);
            codes[lane] = if magnitude[lane] < NOTHING { 0 } else { code };
        }
    }
    for lane in 0..L {
        scales[lane] = if magnitude[lane] < NOTHING { 0.0 } else { scales[lane] };
    }
    Found { scales, codes }
}

/// Finds scales around zero by moving one code at a time, at most five times through all (`make_q3_quants`). Codes
/// count from 0; those of a sub-block of zeros are 0.
#[inline(always)]
pub(super) fn descent<const L: usize, const N: usize>(x: &Lanes<L, N>, half: i32) -> Found<L, N> {
    let (max, magnitude) = largest(x);
    let [mut products, mut squares, mut inverse] = [[0f32; L]; 3];
    for lane in 0..L {
        inverse[lane] = -half as f32 / max[lane];
    }
    let mut codes = [[0i32; L]; N];
    for (x, codes) in x.iter().zip(&mut codes) {
        for lane in 0..L {
            let code = nearest(inverse[lane] * x[lane]).clamp(-half, half - 1);
            let weight = x[lane] * x[lane];
            codes[lane] = code;
            products[lane] += weight * x[lane] * code as f32;
            squares[lane] += weight * code as f32 * code as f32;
        }
    }
    for _ in 0..5 {
        let mut changed = [0i32; L];
        for (x, codes) in x.iter().zip(&mut codes) {
            for lane in 0..L {
                let (x, is) = (x[lane], codes[lane] as f32);
                let weight = x * x;
                let product = products[lane] - weight * x * is;
                let square = squares[lane] - weight * is * is;
                let code = nearest(x * square / product).clamp(-half, half - 1);
                let new = code as f32;
                let (moved, moved_square) = (product + weight * x * new, square + weight * new * new);
                let is_better = (product > 0.0)
                    & (code != codes[lane])
                    & (moved_square > 0.0)
                    & (moved * moved * squares[lane] > products[lane] * products[lane] * moved_square);
                codes[lane] = if is_better { code } else { codes[lane] };
                products[lane] = if is_better { moved } else { products[lane] };
                squares[lane] = if is_better { moved_square } else { squares[lane] };
                changed[lane] |= i32::from(is_better);
            }
        }
        if changed == [0; L] {
            break;
        }
    }
    let mut scales = [0f32; L];
    for lane in 0..L {
        let has_scale = (magnitude[lane] >= NOTHING) & (squares[lane] > 0.0);
        scales[lane] = if has_scale { products[lane] / squares[lane] } else { 0.0 };
    }
    for codes in &mut codes {
        for lane in 0..L {
            codes[lane] = if magnitude[lane] < NOTHING { 0 } else { codes[lane] + half };
        }
    }
    Found { scales, codes }
}

/// How a scale and a minimum are searched for.
pub(super) struct Tries {
    /// The largest code.
    pub(super) top: i32,
    /// The first of the ranges that are tried, relative to `top`; each is a tenth wider than the one before.
    pub(super) first: f32,
    /// How many are tried after the first.
    pub(super) steps: u8,
    /// Errors count as they are, and not squared.
    pub(super) is_absolute: bool,
}

/// Finds scales and minima by weighted least squares for each of several ranges (`make_qkx2_quants`); the minima are
/// returned with their signs turned.
#[inline(always)]
pub(super) fn with_minimum<const L: usize, const N: usize>(
    x: &Lanes<L, N>,
    weights: &Lanes<L, N>,
    tries: &Tries,
) -> (Found<L, N>, [f32; L]) {
    let &Tries { top, first, steps, is_absolute } = tries;
    let (mut min, mut max, mut weight) = (x[0], x[0], weights[0]);
    let mut weighted = [0f32; L];
    for lane in 0..L {
        weighted[lane] = weight[lane] * x[0][lane];
    }
    for (x, weights) in x.iter().zip(weights).skip(1) {
        for lane in 0..L {
            min[lane] = if x[lane] < min[lane] { x[lane] } else { min[lane] };
            max[lane] = if x[lane] > max[lane] { x[lane] } else { max[lane] };
            weight[lane] += weights[lane];
            weighted[lane] += weights[lane] * x[lane];
        }
    }
    let [mut inverse, mut scales] = [[0f32; L]; 2];
    for lane in 0..L {
        min[lane] = if min[lane] > 0.0 { 0.0 } else { min[lane] };
        inverse[lane] = top as f32 / (max[lane] - min[lane]);
        scales[lane] = 1.0 / inverse[lane];
    }
    let least = min;
    let mut codes = [[0i32; L]; N];
    code(x, (&inverse, &min), top, &mut codes);
    let mut best = errors((x, weights), &codes, (&scales, &min), is_absolute);
    let mut new = [[0i32; L]; N];
    for step in 0..=steps {
        let wanted = first + 0.1 * f32::from(step) + top as f32;
        for lane in 0..L {
            inverse[lane] = wanted / (max[lane] - min[lane]);
        }
        code(x, (&inverse, &min), top, &mut new);
        let [mut sum, mut squares, mut products] = [[0f32; L]; 3];
        // One sum at a time: three at once are more than compilers put into vectors.
        for (weights, codes) in weights.iter().zip(&new) {
            for lane in 0..L {
                sum[lane] += weights[lane] * codes[lane] as f32;
            }
        }
        for (weights, codes) in weights.iter().zip(&new) {
            for lane in 0..L {
                let code = codes[lane] as f32;
                squares[lane] += weights[lane] * code * code;
            }
        }
        for ((x, weights), codes) in x.iter().zip(weights).zip(&new) {
            for lane in 0..L {
                products[lane] += weights[lane] * codes[lane] as f32 * x[lane];
            }
        }
        let [mut determinant, mut new_scales, mut new_min] = [[0f32; L]; 3];
        for lane in 0..L {
            determinant[lane] = weight[lane] * squares[lane] - sum[lane] * sum[lane];
            let scale = (weight[lane] * products[lane] - weighted[lane] * sum[lane]) / determinant[lane];
            let min = (squares[lane] * weighted[lane] - sum[lane] * products[lane]) / determinant[lane];
            new_scales[lane] = if min > 0.0 { products[lane] / squares[lane] } else { scale };
            new_min[lane] = if min > 0.0 { 0.0 } else { min };
        }
        let errors = errors((x, weights), &new, (&new_scales, &new_min), is_absolute);
        let mut is_better = [0i32; L];
        for lane in 0..L {
            is_better[lane] = i32::from((determinant[lane] > 0.0) & (errors[lane] < best[lane]));
        }
        if is_better == [0; L] {
            continue;
        }
        for lane in 0..L {
            best[lane] = if is_better[lane] == 0 { best[lane] } else { errors[lane] };
            scales[lane] = if is_better[lane] == 0 { scales[lane] } else { new_scales[lane] };
            min[lane] = if is_better[lane] == 0 { min[lane] } else { new_min[lane] };
        }
        for (codes, new) in codes.iter_mut().zip(&new) {
            for lane in 0..L {
                codes[lane] = if is_better[lane] == 0 { codes[lane] } else { new[lane] };
            }
        }
    }
    let mut minima = [0f32; L];
    for lane in 0..L {
        let is_flat = max[lane] == least[lane];
        scales[lane] = if is_flat { 0.0 } else { scales[lane] };
        minima[lane] = -if is_flat { least[lane] } else { min[lane] };
        inverse[lane] = if is_flat { 0.0 } else { 1.0 };
    }
    for codes in &mut codes {
        for lane in 0..L {
            codes[lane] = if inverse[lane] == 0.0 { 0 } else { codes[lane] };
        }
    }
    (Found { scales, codes }, minima)
}

/// Returns the weighted errors of codes with scales and minima.
#[inline(always)]
fn errors<const L: usize, const N: usize>(
    (x, weights): (&Lanes<L, N>, &Lanes<L, N>),
    codes: &[[i32; L]; N],
    (scales, min): (&[f32; L], &[f32; L]),
    is_absolute: bool,
) -> [f32; L] {
    let mut sum = [0f32; L];
    for ((x, weights), codes) in x.iter().zip(weights).zip(codes) {
        for lane in 0..L {
            let differs = scales[lane] * codes[lane] as f32 + min[lane] - x[lane];
            let differs = if is_absolute { differs.abs() } else { differs * differs };
            sum[lane] += weights[lane] * differs;
        }
    }
    sum
}

/// Sets the codes from 0 to `top` of values above their minimum.
#[inline(always)]
fn code<const L: usize, const N: usize>(
    x: &Lanes<L, N>,
    (inverse, min): (&[f32; L], &[f32; L]),
    top: i32,
    codes: &mut [[i32; L]; N],
) {
    for (x, codes) in x.iter().zip(codes) {
        for lane in 0..L {
            codes[lane] = nearest(inverse[lane] * (x[lane] - min[lane])).clamp(0, top);
        }
    }
}
