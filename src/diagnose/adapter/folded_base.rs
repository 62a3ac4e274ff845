//! A025 adapter-on-folded-base: the base's norms are folded into its linears, or its weights are rotated.

use super::views;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::side::FileSide;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::quant::{Side, SideData};
use crate::tensor::Dtype;
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "A025", name: "adapter-on-folded-base", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "A quantization block with rotations (transform_config, rotation), or norms of a large model that are 1 in \
                every place.",
    why: "QuaRot, SpinQuant and their kin multiply the norms' weights into the linears behind them and turn the weights by \
          an orthogonal matrix, so that quantization loses less. The model computes the same as before, but its layers see \
          other inputs: an adapter that was trained on the original base gets inputs it does not know. Shapes and names \
          fit, and nothing says so.",
    messages: &[],
    remedy: "Attach the adapter to the original 16-bit base, merge it there, and rotate and quantize the result anew. An \
             adapter that was trained on this very base is right as it is.",
    sources: "QuaRot (arXiv 2404.00456), SpinQuant (arXiv 2405.16406); compressed-tensors `transform_config`",
    look,
    ..Rule::new(&KIND)
};

/// Norms of smaller models are often all ones because nobody trained them.
const HIDDEN_MIN: u64 = 512;
/// Norms that are looked at: the first, and others spread over the model.
const NORMS_MAX: usize = 8;
/// Bytes of a norm's weight that are read.
const BYTES_MAX: u64 = 64 << 10;

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let attached: Vec<AdapterView<'_>> = subject.adapters().filter(|view| view.held.is_some()).collect();
    if attached.is_empty() {
        return Vec::new();
    }
    let Some(finding) = rotated(rule, subject).or_else(|| folded(rule, subject.checkpoint)) else {
        return Vec::new();
    };
    attached.iter().map(|view| finding.clone().about(view.about)).collect()
}

/// Rotations that the config names.
fn rotated(rule: &'static Rule, subject: &Subject<'_>) -> Option<Finding> {
    let is_set = |value: &serde_json::Value| match value {
        serde_json::Value::Object(object) => {
            object.values().any(|value| !value.is_null() && *value != serde_json::json!({}))
        }
        serde_json::Value::Array(list) => !list.is_empty(),
        serde_json::Value::Bool(is) => *is,
        _ => false,
    };
    subject.files().configs.quant.blocks.iter().find_map(|block| {
        let (key, value) = ["transform_config", "rotation"]
            .into_iter()
            .find_map(|key| Some((key, block.value.get(key).filter(|value| is_set(value))?)))?;
        let place = if block.key.is_empty() { key.to_owned() } else { format!("{}.{key}", block.key) };
        let title = format!(
            "The weights of this base are rotated ({} {place}), and the adapter sits on it as if they were not.",
            block.file
        );
        Some(Finding::new(rule, title).seen(Seen::config(&block.file, place, views::short(value))))
    })
}

/// Norms that are 1 in every place: a warning, for it is a guess.
fn folded(rule: &'static Rule, base: &Checkpoint) -> Option<Finding> {
    base.files.configs.model_int("hidden_size").filter(|&size| size >= HIDDEN_MIN)?;
    let norms = norms(base);
    let step = norms.len().div_ceil(NORMS_MAX).max(1);
    let values = FileSide::new(&base.files);
    let looked: Vec<u32> = norms.iter().copied().step_by(step).collect();
    if looked.len() < 2 || !looked.iter().all(|&tensor| is_ones(base, &values, tensor)) {
        return None;
    }
    let first = base.files.tensor_name(looked[0]);
    let title = format!(
        "{} of {} norms were read and are 1 in every place: it looks as if they were folded into the linears behind them, \
         and an adapter of the original base does not fit then.",
        looked.len(),
        units::exact(norms.len() as u64)
    );
    let seen = Seen::tensors(Some(first), "1 in every place");
    Some(Finding::new(rule, title).severity(Severity::Warning).seen(seen))
}

/// Returns the weights of the norms before attention and before the MLP.
fn norms(base: &Checkpoint) -> Vec<u32> {
    const LABELS: [&str; 3] = ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm"];
    let layers = &base.layers;
    let names = &base.files.names;
    let is_norm = |layer: &u32| LABELS.contains(&layers.label(names, *layer));
    (0..layers.len() as u32)
        .filter(is_norm)
        .filter_map(|layer| layers.tensors(layer).first().copied())
        .collect()
}

fn is_ones(base: &Checkpoint, values: &FileSide<'_>, tensor: u32) -> bool {
    let record = &base.files.tensors[tensor as usize];
    let one: &[u8] = match record.dtype {
        Dtype::BF16 => &[0x80, 0x3f],
        Dtype::F16 => &[0x00, 0x3c],
        Dtype::F32 => &[0x00, 0x00, 0x80, 0x3f],
        _ => return false,
    };
    let Side::Bytes(bytes) = values.read(tensor, 0, record.bytes.min(BYTES_MAX)) else { return false };
    !bytes.is_empty() && bytes.chunks(one.len()).all(|value| value == one)
}
