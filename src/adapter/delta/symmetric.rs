//! Symmetric matrices: eigenvalues by Jacobi's rotations, which find small ones as well as large ones.
//!
//! Matrices are as large as a rank: a few hundred at most, row by row.

/// Sweeps over all pairs until what lies beside the diagonal is nothing; seven are usual.
const SWEEPS_MAX: usize = 30;

/// Returns the eigenvalues of `A · B` of two symmetric matrices without negative eigenvalues; `None` if a value is not
/// finite, or the rotations do not come to an end.
#[must_use]
pub fn product_eigenvalues(a: &[f64], b: &[f64], size: usize) -> Option<Vec<f64>> {
    // A = V D Vᵀ, and A B has the eigenvalues of √D Vᵀ B V √D, which is symmetric.
    let (values, vectors) = eigen(a, size)?;
    let roots: Vec<f64> = values.iter().map(|value| value.max(0.0).sqrt()).collect();
    let times = |row: &dyn Fn(usize, usize) -> f64, column: &dyn Fn(usize, usize) -> f64| {
        let cell = |at: usize| (0..size).map(|k| row(at / size, k) * column(k, at % size)).sum::<f64>();
        (0..size * size).map(cell).collect::<Vec<f64>>()
    };
    let first = times(&|row, k| b[row * size + k], &|k, column| vectors[k * size + column]);
    let second = times(&|row, k| vectors[k * size + row], &|k, column| first[k * size + column]);
    let scaled: Vec<f64> =
        second.iter().enumerate().map(|(at, value)| value * roots[at / size] * roots[at % size]).collect();
    // Rounding leaves the halves apart by a bit.
    let even: Vec<f64> =
        (0..size * size).map(|at| f64::midpoint(scaled[at], scaled[at % size * size + at / size])).collect();
    Some(eigen(&even, size)?.0)
}

/// Returns the eigenvalues of a symmetric matrix and its eigenvectors as columns.
fn eigen(matrix: &[f64], size: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    let mut a = matrix.to_vec();
    if a.len() != size * size || a.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut vectors: Vec<f64> =
        (0..size * size).map(|at| f64::from(u8::from(at / size == at % size))).collect();
    let whole: f64 = a.iter().map(|value| value * value).sum();
    for _ in 0..SWEEPS_MAX {
        let beside: f64 = (0..size * size).filter(|at| at / size != at % size).map(|at| a[at] * a[at]).sum();
        if beside <= whole * 1e-30 {
            return Some(((0..size).map(|at| a[at * size + at]).collect(), vectors));
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut a, &mut vectors, size, [p, q]);
            }
        }
    }
    None
}

/// Turns two axes so that nothing is left between them.
fn rotate(a: &mut [f64], vectors: &mut [f64], size: usize, [p, q]: [usize; 2]) {
    let between = a[p * size + q];
    if between == 0.0 {
        return;
    }
    let theta = (a[q * size + q] - a[p * size + p]) / (2.0 * between);
    let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    let turn = |values: &mut [f64], first: usize, second: usize| {
        let (x, y) = (values[first], values[second]);
        values[first] = cosine * x - sine * y;
        values[second] = sine * x + cosine * y;
    };
    for k in 0..size {
        turn(a, k * size + p, k * size + q);
        turn(vectors, k * size + p, k * size + q);
    }
    for k in 0..size {
        turn(a, p * size + k, q * size + k);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvalues_of_a_product_have_its_trace_and_its_determinant() {
        // Of vectors without a pattern: LᵀL and RRᵀ have no negative eigenvalues.
        let gram = |seed: u64, size: usize, of: usize| -> Vec<f64> {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
            };
            let cells: Vec<f64> = (0..size * of).map(|_| next()).collect();
            let sum =
                |at: usize| (0..of).map(|k| cells[k * size + at / size] * cells[k * size + at % size]).sum();
            (0..size * size).map(sum).collect()
        };
        for size in [1, 2, 3, 8, 33] {
            // The first of them has fewer directions than it is wide.
            let (a, b) = (gram(3, size, size.div_ceil(2)), gram(11, size, size + 4));
            let values = product_eigenvalues(&a, &b, size).expect("finite");
            let trace: f64 = (0..size * size).map(|at| a[at] * b[at % size * size + at / size]).sum();
            let sum: f64 = values.iter().sum();
            assert!((sum - trace).abs() <= 1e-10 * trace.abs(), "{size}: {sum}, {trace}");
            let largest = values.iter().fold(0f64, |most, value| most.max(*value));
            let rank = values.iter().filter(|value| **value > 1e-9 * largest).count();
            assert_eq!(rank, size.div_ceil(2), "{size}: {values:?}");
        }
        let diagonal = product_eigenvalues(&[4.0, 0.0, 0.0, 9.0], &[5.0, 0.0, 0.0, 7.0], 2);
        assert_eq!(diagonal, Some(vec![20.0, 63.0]));
        assert_eq!(product_eigenvalues(&[f64::NAN], &[1.0], 1), None);
        assert_eq!(product_eigenvalues(&[0.0], &[1.0], 1), Some(vec![0.0]));
    }
}
