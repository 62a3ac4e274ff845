//! R004 no-adapter-on-quantized: a quantized model is trained without an adapter.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "R004", name: "no-adapter-on-quantized", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "Packed weights have no gradient. The Trainer accepts a quantized model only with adapters on top, \
          which hold the weights that are trained.",
    messages: &[
        message(
            "You cannot perform fine-tuning on purely quantized models. Please attach trainable adapters on \
             top of",
            "transformers since 4.32",
        ),
        message("The model you want to train is loaded in 8-bit precision.", "transformers 4.2x"),
    ],
    outside: "The script forgot `get_peft_model`, or PEFT wrapped another object than the one that is \
              trained.",
    remedy: "Attach a LoRA before the Trainer is made; for full fine-tuning dequantize to 16-bit first.",
    sources: "transformers `trainer_utils.py`, `trainer.py`",
    ..Rule::of_message(&KIND)
};
