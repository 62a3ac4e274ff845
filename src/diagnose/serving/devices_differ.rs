//! R007 devices-differ: parts of one product are on two devices.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "R007", name: "devices-differ", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Merge],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "`device_map=\"auto\"` spreads a model over GPUs and the CPU. A merge, or code of the model that \
          makes tensors by itself, then adds or multiplies tensors of two devices.",
    messages: &[
        message("Expected all tensors to be on the same device, but found at least two devices,", "torch"),
        message(
            "Expected all tensors to be on the same device, but got {any} is on {any}, different from other \
             tensors on {any}",
            "torch since 2.7",
        ),
    ],
    outside: "Inputs that are left on the CPU are the commonest cause.",
    remedy: "Load on one device (`device_map={\"\": 0}`, or `\"cpu\"` for a merge), or merge here, where no \
             device is needed.",
    sources: "torch source; PEFT issues on split device_map",
    ..Rule::of_message(&KIND)
};
