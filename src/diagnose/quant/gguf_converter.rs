//! Q039 gguf-converter-refuses: the converter of llama.cpp maps plain weights, and meets parts of packed
//! layers.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "Q039", name: "gguf-converter-refuses", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[],
    looks_for: "Packed layers of safetensors or pickles: a conversion to GGUF has to decode them.",
    why: "`convert_hf_to_gguf.py` has a name for each plain tensor and none for scales, zero points and \
          quant states. Newer versions decode some formats themselves (FP8, GPTQ, compressed-tensors), \
          bitsandbytes not.",
    messages: &[
        message("Can not map tensor '{key}.absmax'", "llama.cpp"),
        message("Can not map tensor '{key}.SCB'", "llama.cpp"),
        message("Can not map tensor '{key}.weight_scale_inv'", "llama.cpp"),
        message("Can not map tensor '{key}.weight_scale'", "llama.cpp"),
        message("Can not map tensor '{key}._scale'", "llama.cpp"),
        message("Can not map tensor '{key}.qweight'", "llama.cpp"),
        message("Can not map tensor '{key}.qzeros'", "llama.cpp"),
    ],
    remedy: "Dequantize first, then convert the result; or write GGUF here.",
    sources: "llama.cpp#5647, #12923, #12341, #11122, #9252, #7505",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (packed, first) = subject.layers_of(|format| !matches!(format, "dense" | "ggml" | "unknown"));
    if packed == 0 || subject.model().is_none() {
        return Vec::new();
    }
    let words = subject.packed_words(packed);
    let title = format!("{words}: the converter of llama.cpp may not take them.");
    vec![Finding::new(rule, title).seen(Seen::tensors(first, format!("{packed} packed")))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let decoded = remedies::dequantize(subject, "then convert the result to GGUF");
    remedies::or_advice(decoded, finding)
}
