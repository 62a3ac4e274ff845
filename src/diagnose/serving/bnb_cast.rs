//! R010 bnb-cast: a bitsandbytes model is cast or moved after loading.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "R010", name: "bnb-cast", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "A cast would turn packed codes into numbers, so transformers refuses `.to(dtype)`, `.half()` and \
          `.float()` on a quantized model, and moves of 8-bit models. The dtype is given when the model is \
          loaded.",
    messages: &[
        message(
            "You cannot cast a bitsandbytes model in a new `dtype`. Make sure to load the model using \
             `from_pretrained`",
            "transformers",
        ),
        message("You cannot cast a GPTQ model in a new `dtype`.", "transformers"),
        message("`.half()` is not supported for quantized model.", "transformers"),
        message("`.float()` is not supported for quantized model.", "transformers"),
        message(
            "`.to` is not supported for `4-bit` or `8-bit` bitsandbytes models.",
            "transformers 4.3x to 4.4x",
        ),
        message("Calling `cuda()` is not supported for `8-bit` quantized models.", "transformers"),
    ],
    outside: "A trainer or launcher may do the cast, and not your own script.",
    remedy: "Give the dtype and the device to `from_pretrained`, and take the cast out.",
    sources: "axolotl#2511; transformers `modeling_utils.py`",
    ..Rule::of_message(&KIND)
};
