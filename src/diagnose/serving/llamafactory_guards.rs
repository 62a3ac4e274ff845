//! R009 llamafactory-guards: LLaMA-Factory refuses a combination with a quantized base before it starts.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "R009", name: "llamafactory-guards", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora, Purpose::Merge],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "The project checks the arguments first. On a quantized base it takes one adapter, no new adapter \
          on top of it, and no resized vocabulary.",
    messages: &[
        message("Cannot resize embedding layers of a quantized model.", "LLaMA-Factory"),
        message("Quantized model only accepts a single adapter. Merge them first.", "LLaMA-Factory"),
        message("Cannot create new adapter upon a quantized model.", "LLaMA-Factory"),
        message("Please merge adapters before quantizing the model.", "LLaMA-Factory"),
    ],
    outside: "The files are right; the arguments of the run do not go with a quantized base.",
    remedy: "Merge the adapters into the base here, decoded to 16-bit, and train on the result.",
    sources: "LLaMA-Factory source (`parser.py`, `adapter.py`)",
    ..Rule::of_message(&KIND)
};
