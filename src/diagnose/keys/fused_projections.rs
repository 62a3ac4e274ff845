//! N010 projections-fused-or-split: projections are stored fused where the architecture has them split, or
//! split where it has them fused.

use super::tensors_with;
use crate::checkpoint::config::ONE_RULE;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "N010", name: "projections-fused-or-split", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "qkv_proj, gate_up_proj, query_key_value, c_attn or W_pack in a Llama, Mistral or Qwen; \
                q_proj or gate_proj in a Phi-3.",
    why: "The config names an architecture that keeps these projections in another form than the files. \
          Loaders do not find them: transformers fills them with random values, engines stop with a KeyError.",
    messages: &[
        message("KeyError: '{any}qkv_proj{any}'", "vLLM, sglang"),
        message("KeyError: '{any}gate_up_proj{any}'", "vLLM, sglang"),
        message("KeyError: '{any}W_pack{any}'", "vLLM"),
        message(
            "size mismatch for {any}query_key_value.{any}: copying a param with shape {any}",
            "torch load_state_dict",
        ),
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             {any}qkv_proj{any}",
            "transformers up to 4.57",
        ),
        message(
            "qkv_proj.weight | UNEXPECTED{any}can be ignored when loading from different task/architecture; \
             not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
    ],
    outside: "A KeyError about qkv_proj in vLLM also comes from a quantization or an adapter that the \
              engine's fused layer does not take.",
    remedy: "Use the config of the model that the weights come from, or convert them: rows of qkv are \
             queries, keys, values; rows of gate_up are gate, up.",
    sources: "vllm#4715 #4915, sglang#6585 #16134, peft#1705",
    look,
    ..Rule::new(&KIND)
};

const FUSED: [&str; 6] = ["qkv_proj", "gate_up_proj", "query_key_value", "c_attn", "W_pack", "Wqkv"];
const SPLIT: [&str; 5] = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"];

/// Returns the architecture, and the parts that it does not have.
pub(super) fn found<'a>(subject: &Subject<'a>) -> Option<(&'a str, Vec<&'static str>)> {
    let files = &subject.model()?.files;
    let architecture = files.configs.architecture()?;
    let foreign: &[&str] = match architecture {
        "Phi3ForCausalLM" => &SPLIT,
        name if ONE_RULE.contains(&name) => &FUSED,
        _ => return None,
    };
    let parts: Vec<&str> =
        foreign.iter().copied().filter(|part| files.names.find_label(part).is_some()).collect();
    (!parts.is_empty()).then_some((architecture, parts))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((architecture, parts)) = found(subject) else { return Vec::new() };
    let mut finding = Finding::new(rule, String::new());
    let mut all = 0;
    for part in &parts {
        let (count, first) = tensors_with(subject.files(), part);
        all += count;
        finding = finding.seen(Seen::tensors(first, format!("{count} of {part}")));
    }
    let form = if architecture == "Phi3ForCausalLM" { "split" } else { "fused" };
    let parts = parts.join(", ");
    finding.title =
        format!("{all} tensors are {form} projections ({parts}), which {architecture} does not have.");
    vec![finding]
}
