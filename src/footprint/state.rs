//! State: what a layer keeps that is no attention: it does not grow with the context.
//!
//! | layers                                    | values a sequence                                                   |
//! |-------------------------------------------|---------------------------------------------------------------------|
//! | gated delta rule (Qwen3-Next, Qwen3.5)    | `(2 hk dk + hv dv) * kernel` at 2 bytes, `hv dk dv` at 4            |
//! | Mamba 2 (Bamba, Granite 4, Nemotron-H)    | `(inner + 2 groups state) * kernel` at 2 bytes, `heads dim state` at 4 |
//! | Mamba 1 (Mamba, Falcon-Mamba, Jamba)      | `inner * kernel` at 2 bytes, `inner * state` at 4                   |
//! | short convolutions (LFM2)                 | `hidden * kernel` at 2 bytes                                        |
//!
//! Sources: transformers' `modeling_qwen3_next.py`, `modeling_bamba.py`, `modeling_mamba.py`,
//! `modeling_lfm2.py`; the bytes are those of caches that transformers 5.23 filled (`reference_tests.rs`).

use super::architecture::HIDDEN;
use super::numbers::{Keys, product};

/// Returns bytes that one such layer keeps a sequence; `None` if the config does not tell.
///
/// # Errors
/// A number is none.
pub(super) fn bytes(keys: &Keys<'_>) -> Result<Option<u64>, String> {
    for of_kind in [delta_rule, mamba_2, mamba_1, convolution] {
        if let Some(bytes) = of_kind(keys)? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

type Found = Result<Option<u64>, String>;

/// Sums of products: each a list of factors.
fn sum(products: &[&[u64]]) -> Option<u64> {
    products.iter().try_fold(0u64, |sum, factors| sum.checked_add(product(factors)?))
}

fn delta_rule(keys: &Keys<'_>) -> Found {
    let (key_heads, heads) =
        (keys.count(&["linear_num_key_heads"])?, keys.count(&["linear_num_value_heads"])?);
    let (key_dim, dim) = (keys.count(&["linear_key_head_dim"])?, keys.count(&["linear_value_head_dim"])?);
    let kernel = keys.count(&["linear_conv_kernel_dim"])?;
    let (Some(hk), Some(hv), Some(dk), Some(dv), Some(kernel)) = (key_heads, heads, key_dim, dim, kernel)
    else {
        return Ok(None);
    };
    Ok(sum(&[&[4, hk, dk, kernel], &[2, hv, dv, kernel], &[4, hv, dk, dv]]))
}

fn mamba_2(keys: &Keys<'_>) -> Found {
    let heads = keys.count(&["mamba_n_heads", "mamba_num_heads"])?;
    let dim = keys.count(&["mamba_d_head", "mamba_head_dim"])?;
    let groups = keys.count(&["mamba_n_groups", "n_groups"])?;
    let state = keys.count(&["mamba_d_state", "ssm_state_size"])?;
    let kernel = keys.count(&["mamba_d_conv", "conv_kernel"])?;
    let (Some(heads), Some(dim), Some(groups), Some(state), Some(kernel)) =
        (heads, dim, groups, state, kernel)
    else {
        return Ok(None);
    };
    Ok(sum(&[&[2, heads, dim, kernel], &[4, groups, state, kernel], &[4, heads, dim, state]]))
}

fn mamba_1(keys: &Keys<'_>) -> Found {
    let kernel = keys.count(&["conv_kernel", "mamba_d_conv", "ssm_conv_kernel"])?;
    let state = keys.count(&["state_size", "mamba_d_state", "ssm_state_size"])?;
    let inner = match keys.count(&["ssm_inner_size"])? {
        Some(inner) => Some(inner),
        None => match (keys.count(&["mamba_expand", "expand"])?, keys.count(HIDDEN)?) {
            (Some(expand), Some(hidden)) => product(&[expand, hidden]),
            _ => None,
        },
    };
    let (Some(kernel), Some(state), Some(inner)) = (kernel, state, inner) else { return Ok(None) };
    Ok(sum(&[&[2, inner, kernel], &[4, inner, state]]))
}

fn convolution(keys: &Keys<'_>) -> Found {
    let (Some(kernel), Some(hidden)) = (keys.count(&["conv_L_cache"])?, keys.count(HIDDEN)?) else {
        return Ok(None);
    };
    Ok(product(&[2, hidden, kernel]))
}
