//! R005 zero3-with-quantized: DeepSpeed ZeRO-3 and a way of loading that it does not go with.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "R005", name: "zero3-with-quantized", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "ZeRO-3 cuts parameters apart while they are made. A `device_map`, `low_cpu_mem_usage` and most \
          quantizers place or pack whole parameters, so one of the two has to go.",
    messages: &[
        message(
            "DeepSpeed Zero-3 is not compatible with `low_cpu_mem_usage=True` or with passing a \
             `device_map`.",
            "transformers 4.2x to 4.57",
        ),
        message("DeepSpeed ZeRO-3 or FSDP is incompatible with PTQ-quantized models.", "LLaMA-Factory"),
    ],
    remedy: "Use ZeRO-2 or no DeepSpeed for a quantized base, or train on 16-bit weights with ZeRO-3; leave \
             `device_map` out.",
    sources: "transformers `modeling_utils.py`; LLaMA-Factory `quantization.py`",
    ..Rule::of_message(&KIND)
};
