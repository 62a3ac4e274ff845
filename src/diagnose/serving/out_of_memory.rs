//! R008 out-of-memory: the GPU has no room left.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "R008", name: "out-of-memory", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Merge, Purpose::Vllm],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "Weights, the cache, gradients and the work space of the largest tensor are in memory at once. A \
          merge or a dequantization needs four bytes for each weight of the largest tensor besides.",
    messages: &[
        message("CUDA out of memory. Tried to allocate", "torch"),
        message("CUDA error: out of memory", "torch"),
    ],
    outside: "Batch size, length of the texts and other processes on the GPU decide it.",
    remedy: "`ckpt` shows what the weights, a LoRA and the cache take on this GPU. Dequantize and merge \
             here: both go layer by layer and need little memory.",
    sources: "memory formulas of the workbench; torch source",
    ..Rule::of_message(&KIND)
};
