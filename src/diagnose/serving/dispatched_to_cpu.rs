//! R003 dispatched-to-cpu: the quantized model does not fit on the GPU, and `device_map` puts layers where
//! bitsandbytes does not run them.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "R003", name: "dispatched-to-cpu", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "`device_map=\"auto\"` gives what does not fit to the CPU or the disk. bitsandbytes layers run on \
          the GPU only, so transformers stops.",
    messages: &[message(
        "Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit \
             the quantized model.",
        "transformers 4.30 and newer",
    )],
    outside: "Free memory of the GPU at that moment, and `max_memory`, decide it; other processes count.",
    remedy: "Free the GPU, take a smaller or more strongly quantized model, or allow it with \
             `llm_int8_enable_fp32_cpu_offload=True` and a `device_map` of your own. `ckpt` shows the \
             memory that the weights need.",
    sources: "llama-cookbook#56, #333, unsloth#1629; transformers `quantizer_bnb_4bit.py`",
    ..Rule::of_message(&KIND)
};
