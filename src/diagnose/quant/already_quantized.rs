//! Q001 already-quantized: QLoRA quantizes a 16-bit base while loading, and this base is quantized by another
//! method.

use super::{config_blocks, remedies};
use crate::diagnose::config_class;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::matrix;
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "Q001", name: "already-quantized", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "Packed layers of another format than bitsandbytes, and the method that the config names.",
    why: "QLoRA in transformers quantizes a 16-bit base with bitsandbytes while loading, and refuses a base \
          that carries another quantization. Where it does not refuse, parameters that no tensor fills stay \
          on the meta device.",
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
        message(
            "Cannot copy out of meta tensor; no data!",
            "torch; AWQ or GPTQ layers under a bitsandbytes request, transformers up to 4.57",
        ),
        message(
            "You cannot combine Quantization and loading a model from a GGUF file",
            "transformers since 4.41",
        ),
    ],
    outside: "Offloading by `device_map`, DeepSpeed ZeRO-3 and `low_cpu_mem_usage` also leave tensors on \
              the meta device, of any base.",
    remedy: "Dequantize to 16-bit in a new folder and train on that, or drop `quantization_config=` from \
             the call and train on the base as it is where the matrix allows it (`ckpt diagnose --for \
             qlora`).",
    sources: "Qwen3#795, transformers#39939, LlamaFactory#939, axolotl#783, Qwen3-VL#888, MiniCPM-V#635; \
              reproduced on 4.37, 4.46, 4.57, 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if subject.model().is_none() {
        return Vec::new();
    }
    let is_foreign = |format: &str| !matches!(format, "dense" | "unknown") && !format.starts_with("bnb-");
    let (packed, first) = subject.layers_of(is_foreign);
    if packed == 0 {
        return Vec::new();
    }
    let title = format!(
        "This base is already quantized: {}. bitsandbytes does not quantize it again.",
        subject.packed_words(packed),
    );
    let mut finding = Finding::new(rule, title).fill("class", "BitsAndBytesConfig");
    if let Some(block) = subject.quant_block() {
        let method = block.method.as_deref().unwrap_or_default();
        finding = finding
            .fill("method", config_class::class_of(method).unwrap_or(method))
            .seen(Seen::config(&block.file, config_blocks::key(block, "quant_method"), method));
    }
    let counted = format!("{} packed", units::plural(packed, "layer"));
    vec![finding.seen(Seen::tensors(first, counted))]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let packed = remedies::pack_nf4(subject).into_iter();
    let mut fixes: Vec<Fix> =
        packed.chain(remedies::dequantize(subject, "then train on the result")).collect();
    match matrix::row_of(subject.checkpoint) {
        Some(row) if row.trains_now() => fixes.push(Fix::advice(format!(
            "train on it as it is: leave quantization_config= out of the call (PEFT has a layer for {} since {})",
            row.format, row.layer_since,
        ))),
        _ => fixes.push(Fix::advice("take the original 16-bit base, if you have it")),
    }
    fixes
}
