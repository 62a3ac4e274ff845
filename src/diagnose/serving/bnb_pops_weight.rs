//! R001 bnb-0.41.2-pops-weight: one release of bitsandbytes takes a key out of the adapter that was never in
//! it.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "R001", name: "bnb-0.41.2-pops-weight", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "bitsandbytes 0.41.2 removes the weight of each 4-bit layer from the incoming tensors without \
          testing that it is there. PEFT hands over the LoRA tensors alone, so the key is missing: the \
          adapter is right, and so is the base.",
    messages: &[
        message(
            "KeyError: 'base_model.model.{key}.base_layer.weight'",
            "bitsandbytes 0.41.2 with PEFT since 0.6",
        ),
        message("KeyError: 'base_model.model.{key}_proj.weight'", "bitsandbytes 0.41.2 with PEFT up to 0.6"),
    ],
    outside: "An adapter whose own keys hold `base_layer` can bring the same KeyError: that shows in the \
              files.",
    remedy: "The files are fine. Install another bitsandbytes than 0.41.2 (0.41.2.post2 repairs it), or \
             merge the adapter here, which needs no bitsandbytes.",
    sources: "launchables#7, peft#1095, DB-GPT-Hub#188, bitsandbytes#860; reproduced with PEFT 0.6.2 and \
              0.7.1, gone with 0.41.2.post2",
    ..Rule::of_message(&KIND)
};
