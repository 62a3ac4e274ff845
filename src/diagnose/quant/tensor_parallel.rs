//! Q029 tensor-parallel-splits-groups: tensor parallelism would cut through groups of quantized inputs.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::quant::LayerSpec;
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q029", name: "tensor-parallel-splits-groups", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "Inputs and groups of layers that are split along their inputs (`o_proj`, `down_proj`), and \
                packed outputs of the others, divided by 2, 4 and 8 GPUs.",
    why: "Tensor parallelism gives each GPU a share of the inputs of `down_proj`, and a share must hold \
          whole groups, since a group has one scale. Where the number of groups cannot be divided, vLLM \
          stops while it builds the layers.",
    messages: &[
        message(
            "The input size is not aligned with the quantized weight shape. This can be caused by too large \
             tensor parallel size.",
            "vLLM, GPTQ and AWQ",
        ),
        message(
            "The output size is not aligned with the quantized weight shape. This can be caused by too \
             large tensor parallel size.",
            "vLLM, GPTQ and AWQ",
        ),
        message(
            "Weight input_size_per_partition = {n} is not divisible by min_thread_k = {n}",
            "vLLM, Marlin kernels",
        ),
        message(
            "Weight input_size_per_partition = {n} is not divisible by group_size = {n}",
            "vLLM, Marlin kernels",
        ),
        message(
            "The tensor parallel size is not aligned with the quantized weight shape. Please use a \
             different tensor parallel size.",
            "vLLM 0.1",
        ),
    ],
    remedy: "Use a smaller `--tensor-parallel-size`, or pipeline parallelism; or quantize again with the \
             inner size padded to a multiple of group size times GPUs.",
    sources: "vllm#13640, vllm#21695, vllm#1816, vllm#5675, Qwen3#698, Qwen3#986; vLLM source (`gptq.py`, \
              `awq.py`, `marlin_utils.py`)",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Modules that are split along their inputs, by the last component of their names.
const SPLIT_INPUTS: [&str; 8] =
    ["o_proj", "down_proj", "out_proj", "c_proj", "wo", "w2", "dense_4h_to_h", "fc2"];
/// Modules that are split along their outputs; key and value heads are copied where they are too few.
const SPLIT_OUTPUTS: [&str; 7] = ["q_proj", "gate_proj", "up_proj", "w1", "w3", "fc1", "gate_up_proj"];
/// Numbers of GPUs that are tried.
const SIZES: [u64; 4] = [2, 4, 8, 16];
/// Outputs that one packed word of zero points or weights holds, at 4 bits.
const PACKED: u64 = 8;

/// Layers of one kind of module and one shape.
struct Kind {
    label: String,
    inputs: u64,
    outputs: u64,
    group: u64,
    count: usize,
    first: String,
}

impl Kind {
    fn splits(&self, size: u64) -> bool {
        if SPLIT_INPUTS.contains(&self.label.as_str()) {
            self.inputs.is_multiple_of(size.saturating_mul(self.group))
        } else {
            self.outputs.is_multiple_of(size.saturating_mul(PACKED))
        }
    }

    fn words(&self, size: u64) -> String {
        let layers = format!("{} ({})", self.label, units::plural(self.count, "layer"));
        if SPLIT_INPUTS.contains(&self.label.as_str()) {
            let groups = units::plural(self.inputs.div_ceil(self.group) as usize, "group");
            let inputs = units::exact(self.inputs);
            format!("{layers}: {inputs} inputs in {groups} of {}, which {size} GPUs cannot share", self.group)
        } else {
            let outputs = units::exact(self.outputs);
            format!("{layers}: {outputs} outputs in words of {PACKED}, which {size} GPUs cannot share")
        }
    }
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if subject.model().is_none() {
        return Vec::new();
    }
    let heads = subject.files().configs.model_int("num_attention_heads");
    let heads_allow = |size: u64| heads.is_none_or(|heads| heads.is_multiple_of(size));
    let kinds = kinds(subject);
    let all_split = |size: u64| kinds.iter().all(|kind| kind.splits(size));
    // Sizes that the heads allow and the groups do not.
    let Some(fails) = SIZES.into_iter().find(|&size| size <= 8 && heads_allow(size) && !all_split(size))
    else {
        return Vec::new();
    };
    let works = SIZES.into_iter().rev().find(|&size| heads_allow(size) && all_split(size)).unwrap_or(1);
    let Some(kind) = kinds.iter().find(|kind| !kind.splits(fails)) else { return Vec::new() };
    let title = format!("{}. The largest tensor-parallel size that works is {works}.", kind.words(fails));
    let severity = if fails == SIZES[0] { Severity::Warning } else { Severity::Info };
    let mut finding = Finding::new(rule, title).severity(severity);
    for kind in kinds.iter().filter(|kind| !kind.splits(fails)) {
        let value = format!("{} inputs, {} outputs, groups of {}", kind.inputs, kind.outputs, kind.group);
        finding = finding.seen(Seen::tensors(Some(kind.first.clone()), value));
    }
    vec![finding]
}

/// Returns the packed modules that are split, alike ones once. Modules that no group divides are told elsewhere.
fn kinds(subject: &Subject<'_>) -> Vec<Kind> {
    let (layers, names) = (&subject.checkpoint.layers, &subject.files().names);
    let mut kinds: Vec<Kind> = Vec::new();
    if !layers.specs().iter().any(|spec| grouped(spec).is_some()) {
        return kinds;
    }
    for layer in 0..layers.len() as u32 {
        let Some((outputs, inputs, group)) = grouped(layers.spec(layer)) else { continue };
        let label = layers.label(names, layer);
        if !SPLIT_INPUTS.contains(&label) && !SPLIT_OUTPUTS.contains(&label) || !inputs.is_multiple_of(group)
        {
            continue;
        }
        let is_it = |kind: &&mut Kind| {
            kind.label == label && (kind.outputs, kind.inputs, kind.group) == (outputs, inputs, group)
        };
        if let Some(kind) = kinds.iter_mut().find(is_it) {
            kind.count += 1;
        } else {
            let first = layers.name(names, layer);
            kinds.push(Kind { label: label.to_owned(), inputs, outputs, group, count: 1, first });
        }
    }
    kinds
}

/// Returns outputs, inputs and group size of a layer that is packed in groups along its inputs.
pub(super) fn grouped(spec: &LayerSpec) -> Option<(u64, u64, u64)> {
    let is_ours = matches!(spec.format.get().name(), "gptq" | "awq");
    let &[outputs, inputs] = spec.shape.as_slice() else { return None };
    let group = spec.group_size.filter(|&group| group > 0)?;
    is_ours.then_some((outputs, inputs, group))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let advice = Fix::advice(finding.rule.remedy);
    [advice].into_iter().chain(remedies::dequantize(subject, "which has no groups")).collect()
}
