//! Convolutions: factors with a core for the kernel, as one product of two matrices.
//!
//! Tucker's form of `LoHa` and `LoKr` has a core `t` `[r, r, k, l]` between `w_a` `[r, out]` and `w_b` `[r, in]`:
//! `W[p, q, k, l] = Σ_i w_a[i, p] Σ_j t[i, j, k, l] w_b[j, q]`. With the inner sums it is `[out, r] · [r, in · k · l]`.
//! Source: PEFT 0.21, `tuners/loha/layer.py` (`HadaWeightCP`) and `tuners/lokr/layer.py` (`make_weight_cp`).

use super::Values;
use super::matrix::Matrix;
use crate::units;

/// Returns the two factors of a weight in Tucker's form; each inner sum is one chain over `j` ascending.
///
/// # Errors
/// The core is not one of these factors, in words.
pub(super) fn factors(
    (core, shape): &Values,
    outer: &Matrix,
    inner: &Matrix,
) -> Result<(Matrix, Matrix), String> {
    let [i, j, high, wide] = shape[..] else {
        return Err(format!("its core is {}, not of four dimensions", units::shape(shape)));
    };
    let size = high.checked_mul(wide).filter(|&size| size > 0).ok_or("its kernel has no size")? as usize;
    if (i, j) != (outer.rows as u64, inner.rows as u64) || inner.rows == 0 {
        return Err(format!(
            "its core is {}, its factors have ranks {} and {}",
            units::shape(shape),
            outer.rows,
            inner.rows
        ));
    }
    let columns = inner.columns.checked_mul(size).ok_or("its shape overflows")?;
    let mut values = vec![0.0; outer.rows.checked_mul(columns).ok_or("its shape overflows")?];
    let lines = values.chunks_exact_mut(columns.max(1)).zip(core.chunks_exact(inner.rows * size));
    for (line, core) in lines {
        for (core, inner) in core.chunks_exact(size).zip(inner.values.chunks_exact(inner.columns.max(1))) {
            for (sums, value) in line.chunks_exact_mut(size).zip(inner) {
                for (sum, core) in sums.iter_mut().zip(core) {
                    *sum = core.mul_add(*value, *sum);
                }
            }
        }
    }
    Ok((outer.transposed(), Matrix { values, rows: outer.rows, columns }))
}
