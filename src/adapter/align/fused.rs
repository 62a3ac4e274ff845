//! Fused: modules whose layer the base holds as a part of another tensor, or in pieces.
//!
//! PEFT addresses modules, not parts of them: such an adapter does not apply as it is. Where the rows are known,
//! they are named, so that a merge can put them there.

use super::build::Context;
use super::check::Verdict;
use super::missing::missing;
use super::{Aligned, Place, State};
use crate::adapter::dims::Dims;
use crate::adapter::names::{Found, PREFIX};

/// Linears that models keep in one tensor: its names, the pieces in their order, and whether its rows lie piece
/// after piece (or interleaved by heads).
const FUSED: [(&[&str], &[&str], bool); 5] = [
    (&["qkv_proj", "W_pack", "Wqkv", "in_proj", "c_attn"], &["q_proj", "k_proj", "v_proj"], true),
    (&["query_key_value", "linear_qkv", "qkv"], &["q_proj", "k_proj", "v_proj"], false),
    (&["query_key_value", "qkv"], &["query", "key", "value"], false),
    (&["gate_up_proj", "linear_fc1"], &["gate_proj", "up_proj"], true),
    (&["w12"], &["w1", "w2"], true),
];

/// Decides where a module goes that has no layer of its own name.
pub(super) fn place(context: &Context<'_>, module: &mut Aligned, found: &Found, dims: Dims) -> Verdict {
    module.delta = dims.out.zip(dims.inputs).map(|(out, inputs)| [out, inputs]);
    let path = module.path.strip_prefix(PREFIX).unwrap_or(&module.path).to_owned();
    if found.path().is_some() && !matches!(module.method, "LORA" | "ADALORA" | "LOHA" | "LOKR" | "DIFF") {
        return Verdict::new(State::Aligned, "it belongs to a module that has no weight of its own".into());
    }
    expert(context, module, &path)
        .or_else(|| part(context, module, &path))
        .or_else(|| pieces(context, module, &path))
        .unwrap_or_else(|| {
            Verdict::new(State::Missing, missing(found, &path, (context.base, &context.names)))
        })
        .with(if module.layer.is_none() || module.places.is_empty() { "" } else { KNOWN })
}

/// What a merge can do with a part of a layer.
const KNOWN: &str = "; no repair makes an adapter for PEFT of it, a merge puts it into its rows";

/// A module that is a part of a fused layer: `q_proj` where the base has `qkv_proj`.
fn part(context: &Context<'_>, module: &mut Aligned, path: &str) -> Option<Verdict> {
    let (parent, label) = path.rsplit_once('.')?;
    let (layer, whole, pieces, at, in_order) = FUSED.iter().find_map(|(names, pieces, in_order)| {
        let at = pieces.iter().position(|piece| *piece == label)?;
        names.iter().find_map(|name| {
            Some((context.names.layer(&format!("{parent}.{name}"))?, *name, *pieces, at, *in_order))
        })
    })?;
    module.layer = Some(layer);
    module.path = format!("{parent}.{whole}");
    let shape = context.base.layers.spec(layer).shape.clone();
    module.base_shape = Some(shape.clone());
    let evidence = format!(
        "the base keeps {} in one {whole} {shape:?}: PEFT finds no module {label}",
        pieces.join(", ")
    );
    let (Some([rows, columns]), [out, inputs]) = (module.delta, &shape[..]) else {
        return Some(Verdict::new(State::Fused, evidence));
    };
    if columns != *inputs || rows > *out {
        return Some(Verdict::new(State::Shape, format!("{evidence}; and the delta is {rows} × {columns}")));
    }
    if let Some(start) = start_of(context, (at, pieces.len()), rows, *out).filter(|_| in_order) {
        module.places = vec![Place {
            layer,
            expert: None,
            slab: None,
            delta_rows: 0..rows,
            layer_rows: start..start + rows,
        }];
    }
    Some(Verdict::new(State::Fused, evidence))
}

/// Returns the first row of a piece: equal pieces, or queries before two smaller ones.
fn start_of(context: &Context<'_>, (at, count): (usize, usize), rows: u64, out: u64) -> Option<u64> {
    let start = if rows.checked_mul(count as u64) == Some(out) {
        rows * at as u64
    } else {
        let configs = &context.base.files.configs;
        let heads = configs.model_int("num_attention_heads")?;
        let hidden = configs.model_int("hidden_size")?;
        let head = configs.model_int("head_dim").or_else(|| hidden.checked_div(heads))?;
        let queries = heads.checked_mul(head)?;
        let keys = out.checked_sub(queries)? / 2;
        let (starts, sizes) = ([0, queries, queries.checked_add(keys)?], [queries, keys, keys]);
        (count == 3 && sizes[at] == rows).then_some(starts[at])?
    };
    (start.checked_add(rows)? <= out).then_some(start)
}

/// A fused module where the base has the pieces: `qkv_proj` where the base has `q_proj`, `k_proj`, `v_proj`.
fn pieces(context: &Context<'_>, module: &mut Aligned, path: &str) -> Option<Verdict> {
    let (parent, label) = path.rsplit_once('.')?;
    let parent = parent.replace("self_attention", "self_attn");
    // Megatron's, in whatever wraps it.
    let parent = parent
        .find("decoder.layers.")
        .map_or_else(|| parent.clone(), |at| format!("model.{}", &parent[at + "decoder.".len()..]));
    let (layers, pieces, in_order) =
        FUSED.iter().filter(|(names, ..)| names.contains(&label)).find_map(|(_, pieces, in_order)| {
            let layers: Option<Vec<u32>> =
                pieces.iter().map(|piece| context.names.layer(&format!("{parent}.{piece}"))).collect();
            Some((layers?, *pieces, *in_order))
        })?;
    let mut row = 0;
    let mut places = Vec::new();
    for &layer in &layers {
        let rows = context.base.layers.spec(layer).shape.first().copied().unwrap_or(0);
        let end = rows.saturating_add(row);
        places.push(Place { layer, expert: None, slab: None, delta_rows: row..end, layer_rows: 0..rows });
        row = end;
    }
    module.layer = layers.first().copied();
    let split = if in_order {
        ""
    } else {
        "; its rows are interleaved by groups of heads: export it to PEFT's form with what wrote it, which splits them"
    };
    let evidence = format!("the base keeps {} apart: PEFT finds no module {label}{split}", pieces.join(", "));
    if module.delta.is_some_and(|[rows, _]| rows != row) {
        return Some(Verdict::new(
            State::Shape,
            format!("{evidence}; and the delta has not their {row} rows"),
        ));
    }
    module.places = if in_order { places } else { Vec::new() };
    Some(Verdict::new(State::Fused, evidence))
}

/// A module of one expert where the base has one tensor for all: `experts.3.gate_proj`, and unsloth's
/// `experts.gate_up_projs.3`.
fn expert(context: &Context<'_>, module: &mut Aligned, path: &str) -> Option<Verdict> {
    let (parent, label) = path.rsplit_once('.')?;
    let (experts, middle) = parent.rsplit_once('.')?;
    let (holder, number, name) = match label.parse::<u64>() {
        Ok(number) => (experts, number, middle.strip_suffix('s')?),
        Err(_) => (experts, middle.parse::<u64>().ok()?, label),
    };
    let fused = if matches!(name, "gate_proj" | "up_proj") { "gate_up_proj" } else { name };
    let layer = context.names.layer(&format!("{holder}.{fused}"))?;
    let shape = context.base.layers.spec(layer).shape.clone();
    let [experts, a, b] = shape[..] else { return None };
    module.layer = Some(layer);
    module.path = format!("{holder}.{fused}");
    module.base_shape = Some(shape.clone());
    if number >= experts {
        return Some(Verdict::new(State::Missing, format!("the base has {experts} experts")));
    }
    let evidence =
        format!("the base keeps all {experts} experts in one {fused} {shape:?}: PEFT finds no module of one");
    let delta = module.delta?;
    if fused == name && [b, a] == delta || [a, b] == delta {
        module.is_transposed = [b, a] == delta;
        module.places = vec![Place {
            layer,
            expert: None,
            slab: Some(number),
            delta_rows: 0..delta[0],
            layer_rows: 0..delta[0],
        }];
    }
    Some(Verdict::new(State::Fused, evidence))
}
