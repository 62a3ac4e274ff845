//! Searches for the scale (and minimum) of sub-blocks: those of a block at once, one a lane.
//!
//! ggml walks through the values of a sub-block and sums as it goes. The order of those sums is kept, because the
//! bytes hang on it: what runs side by side are the sub-blocks, `x[value][sub-block]`. A branch of one sub-block is
//! a choice of its lane.
//! Source: ggml, `ggml-quants.c`, `nearest_int`, `make_qx_quants`, `make_q3_quants`, `make_qkx2_quants`.

use std::array::from_fn;

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
    from_fn(|at| from_fn(|lane| values[lane * N + at]))
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

/// Finds scales around zero, with squares as weights (`make_qx_quants` with `rmse_type` 1): of 19 the one with the
/// least error. Codes count from 0; those of a sub-block of zeros are 0.
#[inline(always)]
pub(super) fn symmetric<const L: usize, const N: usize>(x: &Lanes<L, N>, half: i32) -> Found<L, N> {
    let (max, magnitude) = largest(x);
    let code = |scale: f32, x: f32| nearest(scale * x).clamp(-half, half - 1);
    let sums = |inverse: &[f32; L]| {
        let (mut products, mut squares) = ([0f32; L], [0f32; L]);
        for x in x {
            for lane in 0..L {
                let code = code(inverse[lane], x[lane]) as f32;
                let weight = x[lane] * x[lane];
                products[lane] += weight * x[lane] * code;
                squares[lane] += weight * code * code;
            }
        }
        (products, squares)
    };
    let mut chosen: [f32; L] = from_fn(|lane| -half as f32 / max[lane]);
    let (products, squares) = sums(&chosen);
    let mut scales: [f32; L] =
        from_fn(|lane| if squares[lane] == 0.0 { 0.0 } else { products[lane] / squares[lane] });
    let mut best: [f32; L] = from_fn(|lane| scales[lane] * products[lane]);
    for step in (-9..=9i8).filter(|&step| step != 0) {
        let wanted = -(half as f32 + 0.1 * f32::from(step));
        let inverse = max.map(|max| wanted / max);
        let (products, squares) = sums(&inverse);
        for lane in 0..L {
            let (product, square) = (products[lane], squares[lane]);
            let is_better = square > 0.0 && product * product > best[lane] * square;
            let scale = product / square;
            chosen[lane] = if is_better { inverse[lane] } else { chosen[lane] };
            scales[lane] = if is_better { scale } else { scales[lane] };
            best[lane] = if is_better { scale * product } else { best[lane] };
        }
    }
    let is_nothing = magnitude.map(|magnitude| magnitude < NOTHING);
    let codes = from_fn(|at| {
        from_fn(|lane| {
            let code = half + code(chosen[lane], x[at][lane]);
            if is_nothing[lane] { 0 } else { code }
        })
    });
    Found { scales: from_fn(|lane| if is_nothing[lane] { 0.0 } else { scales[lane] }), codes }
}

/// Finds scales around zero by moving one code at a time, at most five times through all (`make_q3_quants`). Codes
/// count from 0; those of a sub-block of zeros are 0.
#[inline(always)]
pub(super) fn descent<const L: usize, const N: usize>(x: &Lanes<L, N>, half: i32) -> Found<L, N> {
    let (max, magnitude) = largest(x);
    let inverse = max.map(|max| -half as f32 / max);
    let (mut products, mut squares) = ([0f32; L], [0f32; L]);
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
        let mut has_changed = false;
        for (x, codes) in x.iter().zip(&mut codes) {
            for lane in 0..L {
                let (x, is) = (x[lane], codes[lane] as f32);
                let weight = x * x;
                let product = products[lane] - weight * x * is;
                let square = squares[lane] - weight * is * is;
                let code = nearest(x * square / product).clamp(-half, half - 1);
                let new = code as f32;
                let (moved, moved_square) = (product + weight * x * new, square + weight * new * new);
                let is_better = product > 0.0
                    && code != codes[lane]
                    && moved_square > 0.0
                    && moved * moved * squares[lane] > products[lane] * products[lane] * moved_square;
                codes[lane] = if is_better { code } else { codes[lane] };
                products[lane] = if is_better { moved } else { products[lane] };
                squares[lane] = if is_better { moved_square } else { squares[lane] };
                has_changed |= is_better;
            }
        }
        if !has_changed {
            break;
        }
    }
    let is_nothing = magnitude.map(|magnitude| magnitude < NOTHING);
    let scale = |lane: usize| {
        if is_nothing[lane] || !(squares[lane] > 0.0) { 0.0 } else { products[lane] / squares[lane] }
    };
    let code = |at: usize, lane: usize| if is_nothing[lane] { 0 } else { codes[at][lane] + half };
    Found { scales: from_fn(scale), codes: from_fn(|at| from_fn(|lane| code(at, lane))) }
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
    let mut weighted: [f32; L] = from_fn(|lane| weight[lane] * x[0][lane]);
    for (x, weights) in x.iter().zip(weights).skip(1) {
        for lane in 0..L {
            min[lane] = if x[lane] < min[lane] { x[lane] } else { min[lane] };
            max[lane] = if x[lane] > max[lane] { x[lane] } else { max[lane] };
            weight[lane] += weights[lane];
            weighted[lane] += weights[lane] * x[lane];
        }
    }
    min = min.map(|min| if min > 0.0 { 0.0 } else { min });
    let is_flat: [bool; L] = from_fn(|lane| max[lane] == min[lane]);
    let least = min;
    let inverse: [f32; L] = from_fn(|lane| top as f32 / (max[lane] - min[lane]));
    let mut scales = inverse.map(|inverse| 1.0 / inverse);
    let mut codes = coded(x, (&inverse, &min), top);
    let error = |codes: &[[i32; L]; N], scales: &[f32; L], min: &[f32; L]| {
        let mut sum = [0f32; L];
        for ((x, weights), codes) in x.iter().zip(weights).zip(codes) {
            for lane in 0..L {
                let differs = scales[lane] * codes[lane] as f32 + min[lane] - x[lane];
                let differs = if is_absolute { differs.abs() } else { differs * differs };
                sum[lane] += weights[lane] * differs;
            }
        }
        sum
    };
    let mut best = error(&codes, &scales, &min);
    for step in 0..=steps {
        let wanted = first + 0.1 * f32::from(step) + top as f32;
        let inverse: [f32; L] = from_fn(|lane| wanted / (max[lane] - min[lane]));
        let new = coded(x, (&inverse, &min), top);
        let [mut sum, mut squares, mut products] = [[0f32; L]; 3];
        for ((x, weights), codes) in x.iter().zip(weights).zip(&new) {
            for lane in 0..L {
                let code = codes[lane] as f32;
                sum[lane] += weights[lane] * code;
                squares[lane] += weights[lane] * code * code;
                products[lane] += weights[lane] * code * x[lane];
            }
        }
        let determinant: [f32; L] = from_fn(|lane| weight[lane] * squares[lane] - sum[lane] * sum[lane]);
        let (mut new_scales, mut new_min) = ([0f32; L], [0f32; L]);
        for lane in 0..L {
            let scale = (weight[lane] * products[lane] - weighted[lane] * sum[lane]) / determinant[lane];
            let min = (squares[lane] * weighted[lane] - sum[lane] * products[lane]) / determinant[lane];
            new_scales[lane] = if min > 0.0 { products[lane] / squares[lane] } else { scale };
            new_min[lane] = if min > 0.0 { 0.0 } else { min };
        }
        let errors = error(&new, &new_scales, &new_min);
        let is_better: [bool; L] = from_fn(|lane| determinant[lane] > 0.0 && errors[lane] < best[lane]);
        if !is_better.contains(&true) {
            continue;
        }
        for lane in 0..L {
            best[lane] = if is_better[lane] { errors[lane] } else { best[lane] };
            scales[lane] = if is_better[lane] { new_scales[lane] } else { scales[lane] };
            min[lane] = if is_better[lane] { new_min[lane] } else { min[lane] };
        }
        for (codes, new) in codes.iter_mut().zip(&new) {
            for lane in 0..L {
                codes[lane] = if is_better[lane] { new[lane] } else { codes[lane] };
            }
        }
    }
    for codes in &mut codes {
        for lane in 0..L {
            codes[lane] = if is_flat[lane] { 0 } else { codes[lane] };
        }
    }
    let scales = from_fn(|lane| if is_flat[lane] { 0.0 } else { scales[lane] });
    let minima = from_fn(|lane| -if is_flat[lane] { least[lane] } else { min[lane] });
    (Found { scales, codes }, minima)
}

/// Returns the codes from 0 to `top` of values above their minimum.
#[inline(always)]
fn coded<const L: usize, const N: usize>(
    x: &Lanes<L, N>,
    (inverse, min): (&[f32; L], &[f32; L]),
    top: i32,
) -> [[i32; L]; N] {
    from_fn(|at| from_fn(|lane| nearest(inverse[lane] * (x[at][lane] - min[lane])).clamp(0, top)))
}
