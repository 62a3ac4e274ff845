//! Q026 format-not-in-transformers: the format belongs to another engine, and transformers has no loader for
//! it.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q026", name: "format-not-in-transformers", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Vllm],
    looks_for: "Layers of EXL2, EXL3 or MLX.",
    why: "These formats are read by the engine that wrote them: ExLlama, or MLX on Apple machines. \
          transformers and vLLM build plain layers instead and find no weights for them.",
    messages: &[
        message("Unknown quantization type, got {method} - supported types are:", "transformers"),
        message("Unknown quantization method: {method}. Must be one of {any}", "vLLM"),
    ],
    remedy: "Dequantize to 16-bit, which transformers and vLLM load, or use the engine of the format.",
    sources: "list of quantizers of transformers 5.23, of quantization methods of vLLM 0.33",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const FORMATS: [(&str, &str); 3] = [("exl2", "ExLlamaV2"), ("exl3", "ExLlamaV3"), ("mlx", "MLX")];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let found = FORMATS.iter().find_map(|(format, engine)| {
        let (count, first) = subject.layers_of(|name| name == *format);
        let words = units::plural(count, "layer");
        (count > 0).then(|| {
            let title = format!("{words} of {engine}: transformers and vLLM have no loader for {format}.");
            Finding::new(rule, title).fill("method", *format).seen(Seen::tensors(first, words.clone()))
        })
    });
    found.into_iter().collect()
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let decoded = remedies::dequantize(subject, "which transformers and vLLM load");
    decoded.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
