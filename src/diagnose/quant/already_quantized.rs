//! Q001 already-quantized: QLoRA quantizes a 16-bit base while loading, and this base is quantized by another method.

use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "Q001", name: "already-quantized", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "A quantization block that names another method than bitsandbytes, and packed layers of that format.",
    why: "QLoRA in transformers quantizes a 16-bit base with bitsandbytes while loading, and refuses a base that \
          carries another quantization. Parameters that no file fills in that way stay on the meta device.",
    messages: &[
        message(
            "'BitsAndBytesConfig' object has no attribute 'get_loading_attributes'",
            "transformers 4.32 to 4.55",
        ),
        message(
            "The model is quantized with {method} but you are passing a {class} config.",
            "transformers since about 4.56",
        ),
        message(
            "The model is already quantized with {method}. You can't quantize it again with {class}",
            "transformers 4.3x",
        ),
    ],
    remedy: "Dequantize to 16-bit in a new folder and train on that, or drop `quantization_config=` from the call \
             and train on the base as it is where the matrix allows it (`ckpt diagnose --for qlora`).",
    sources: "Qwen3#795, transformers#39939, LlamaFactory#939, axolotl#783, Qwen3-VL#888; reproduced on 4.37, 4.46, \
              4.57, 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// The name of the config class that transformers prints for a method.
fn class_of(method: &str) -> &'static str {
    match method {
        "gptq" => "GPTQConfig",
        "awq" => "AwqConfig",
        "fp8" => "FineGrainedFP8Config",
        "compressed-tensors" => "CompressedTensorsConfig",
        "mxfp4" => "Mxfp4Config",
        _ => "…",
    }
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.model() else { return Vec::new() };
    let (packed, first) = subject.layers_of(|format| format != "dense" && !format.starts_with("bnb-"));
    if packed == 0 {
        return Vec::new();
    }
    let format = model.headline();
    let title = format!(
        "This base is already quantized: {} of {} are {}, which bitsandbytes can't quantize again.",
        units::plural(packed, "layer"),
        units::exact(model.layers.len() as u64),
        escape(&format),
    );
    let mut finding = Finding::new(rule, title);
    if let Some(block) = subject.quant_block() {
        let method = block.method.as_deref().unwrap_or_default();
        let key =
            if block.key.is_empty() { "quant_method".into() } else { format!("{}.quant_method", block.key) };
        finding = finding
            .fill("method", class_of(method))
            .fill("class", "BitsAndBytesConfig")
            .seen(Seen::config(&block.file, key, method));
    }
    let counted = format!("{} packed", units::plural(packed, "layer"));
    vec![finding.seen(Seen::tensors(first, counted))]
}

fn fixes(_: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    vec![
        Fix::new("dequantize to 16-bit, then train on the result", Act::Dequantize)
            .loss("what quantization lost stays lost: values are those of the packed layers"),
        Fix::advice("load it as it is: leave quantization_config= out of the call"),
    ]
}
