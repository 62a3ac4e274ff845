//! R011 bnb-too-old: the installed bitsandbytes cannot read packed checkpoints.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "R011", name: "bnb-too-old", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "Packed 4-bit weights can be read since bitsandbytes 0.41.3, and 8-bit ones since 0.37.2. Older \
          versions quantize while loading and nothing else.",
    messages: &[
        message(
            "Detected int4 weights but the version of bitsandbytes is not compatible with int4 \
             serialization.",
            "transformers 4.36 and newer",
        ),
        message(
            "Detected int8 weights but the version of bitsandbytes is not compatible with int8 \
             serialization.",
            "transformers 4.28 and newer",
        ),
    ],
    outside: "transformers says it too where bitsandbytes is installed and its library does not load.",
    remedy: "Update bitsandbytes, or dequantize, which leaves plain weights.",
    sources: "transformers `quantizer_bnb_4bit.py`, `quantizer_bnb_8bit.py`",
    ..Rule::of_message(&KIND)
};
