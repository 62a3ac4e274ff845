//! R012 meta-tensor-placement: tensors were left on the meta device by the way of loading, and not by the
//! files.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "R012", name: "meta-tensor-placement", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "A model is first built without values, on the meta device, and filled tensor by tensor. \
          Offloading, `device_map=\"auto\"` under DeepSpeed and `low_cpu_mem_usage` leave some for later; \
          moving the model before that copies tensors that hold nothing.",
    messages: &[
        message("Cannot copy out of meta tensor; no data!", "torch"),
        message("Tensor.item() cannot be called on meta tensors", "torch"),
    ],
    outside: "First look at the files: packed layers under another request, missing shards, missing quant \
              states and blocks left behind give the same message.",
    remedy: "Leave `device_map` out under DeepSpeed, set `low_cpu_mem_usage=False`, or load on one GPU that \
             is large enough.",
    sources: "LlamaFactory#2940, #3062, FastChat#1741, llm-compressor#1432, textgen#5736",
    ..Rule::of_message(&KIND)
};
