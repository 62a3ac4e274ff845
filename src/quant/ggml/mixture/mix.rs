//! llama-quantize's mixtures of K types: which tensors get more bits than the others, without an importance matrix.
//!
//! | mixture      | values of attention                     | last of the feed-forward              | output of attention |
//! |--------------|-----------------------------------------|---------------------------------------|---------------------|
//! | `Q3_K_M`       | `Q5_K` in the first two, then `Q4_K`        | `Q5_K` in the first sixteenth, then `Q4_K` | `Q4_K`               |
//! | `Q3_K_L`       | `Q5_K`                                    | `Q5_K`                                  | `Q5_K`                |
//! | `Q4_K_S`       | `Q5_K` in the first four                  | `Q5_K` in the first eighth              |                     |
//! | `Q4_K_M`, `Q5_K_M` | `Q6_K` in the outer eighths and every third between | `Q6_K`, in the same           |                     |
//!
//! Falcon, models of eight experts and of the size of Llama 70B have rules of their own, in the code below.
//! Source: llama.cpp 2026-11, `llama-quant.cpp`, `tensor_get_category`, `llama_tensor_get_type_impl`.

use super::Model;

/// A mixture, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// All of one type.
    Plain,
    /// More bits for few tensors.
    Small,
    /// For some.
    Medium,
    /// For many.
    Large,
}

/// How many tensors of a kind came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    values: u64,
    downs: u64,
}

/// What a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Values,
    Keys,
    Output,
    Down,
    Other,
}

/// Returns what a tensor is, by its name: the first that fits.
fn category(name: &str) -> Category {
    let table: [(&str, Category); 9] = [
        ("attn_qkv.weight", Category::Values),
        ("attn_kv_b.weight", Category::Values),
        ("attn_v.weight", Category::Values),
        ("attn_k.weight", Category::Keys),
        ("attn_q.weight", Category::Other),
        ("attn_output.weight", Category::Output),
        ("ffn_up", Category::Other),
        ("ffn_gate", Category::Other),
        ("ffn_down", Category::Down),
    ];
    table.iter().find(|(part, _)| name.contains(part)).map_or(Category::Other, |(_, category)| *category)
}

/// Returns true if a tensor is of those that hold the values of attention.
#[must_use]
pub fn is_values(name: &str) -> bool {
    category(name) == Category::Values
}

/// Returns true for the outer eighths and every third between.
fn is_outer(at: u64, of: u64) -> bool {
    let eighth = of / 8;
    at < eighth || at >= 7 * of / 8 || (at - eighth) % 3 == 2
}

/// Returns the type of a tensor in a mixture of a type; counts it.
///
/// # Errors
/// Of a model with experts its block is not told by its name; in words.
pub(super) fn choose(
    (base, mix): (&'static str, Mix),
    name: &str,
    model: &Model<'_>,
    before: &mut Before,
) -> Result<&'static str, String> {
    let is_falcon = model.arch == "falcon";
    if model.arch == "glm5-next"
        && ["attn_q_a", "attn_q_b", "nextn.eh_proj"].iter().any(|part| name.contains(part))
    {
        return Ok("Q8_0");
    }
    Ok(match category(name) {
        Category::Values => {
            let at = before.values;
            before.values += 1;
            values((base, mix), at, model)
        }
        Category::Keys if model.experts == 8 => "Q8_0",
        Category::Down => {
            let at = if model.experts > 1 { block_of(name, model.blocks)? } else { before.downs };
            before.downs += 1;
            down((base, mix), (at, model.blocks), is_falcon)
        }
        Category::Output => match (base, mix) {
            ("Q3_K", Mix::Large) if is_falcon => "Q4_K",
            _ if is_falcon => base,
            ("Q3_K" | "Q4_K", Mix::Small | Mix::Medium) if model.experts == 8 => "Q5_K",
            _ if model.experts == 8 => base,
            ("Q3_K", Mix::Medium) => "Q4_K",
            ("Q3_K", Mix::Large) => "Q5_K",
            _ => base,
        },
        Category::Keys | Category::Other => base,
    })
}

fn values((base, mix): (&'static str, Mix), at: u64, model: &Model<'_>) -> &'static str {
    let kind = match (base, mix) {
        ("Q3_K", Mix::Medium) if at >= 2 => "Q4_K",
        ("Q3_K", Mix::Medium | Mix::Large) => "Q5_K",
        ("Q4_K" | "Q5_K", Mix::Medium) if is_outer(at, model.values) => "Q6_K",
        ("Q4_K", Mix::Small) if at < 4 => "Q5_K",
        _ => base,
    };
    match kind {
        _ if model.experts == 8 => "Q8_0",
        "Q3_K" | "Q4_K" if model.is_70b() => "Q5_K",
        kind => kind,
    }
}

fn down((base, mix): (&'static str, Mix), (at, of): (u64, u64), is_falcon: bool) -> &'static str {
    match (base, mix) {
        ("Q3_K", Mix::Medium) if at < of / 16 => "Q5_K",
        ("Q3_K", Mix::Medium) if !is_falcon || is_outer(at, of) => "Q4_K",
        ("Q3_K", Mix::Large) if is_falcon => "Q4_K",
        ("Q3_K", Mix::Large) => "Q5_K",
        ("Q4_K", Mix::Medium) if is_falcon && at < of / 16 => "Q6_K",
        ("Q4_K", Mix::Medium) if is_falcon && is_outer(at, of) => "Q5_K",
        ("Q4_K", Mix::Medium) if is_falcon => base,
        ("Q4_K" | "Q5_K", Mix::Medium) if is_outer(at, of) => "Q6_K",
        ("Q4_K", Mix::Small) if !is_falcon && at < of / 8 => "Q5_K",
        _ => base,
    }
}

/// Returns the number of the block of a tensor.
fn block_of(name: &str, blocks: u64) -> Result<u64, String> {
    let rest = name.strip_prefix("blk.");
    let digits = rest.map_or("", |rest| rest.split('.').next().unwrap_or_default());
    let block = digits.parse::<u64>().ok().filter(|&block| block < blocks);
    block.ok_or_else(|| format!("its name tells none of the {blocks} blocks, on which its type hangs"))
}
