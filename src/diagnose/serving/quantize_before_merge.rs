//! R013 quantize-before-merge: a model that still carries its adapter is quantized.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "R013", name: "quantize-before-merge", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Merge],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "A PEFT model keeps the original layer as `base_layer` inside each adapted one. Quantizers look \
          for `self_attn.q_proj` and find a wrapper with other children.",
    messages: &[message("KeyError: 'self_attn.{key}_proj'", "AutoAWQ, AutoGPTQ")],
    outside: "AutoAWQ also says it of architectures that it does not know.",
    remedy: "Merge the adapter first, here or with `merge_and_unload`, and quantize the merged model.",
    sources: "AutoAWQ#303, AutoAWQ#310",
    ..Rule::of_message(&KIND)
};
