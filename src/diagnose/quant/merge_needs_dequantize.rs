//! Q014 merge-needs-dequantize: the base is packed, and upstream merges only into plain weights.

use super::{config_blocks, remedies};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{About, Subject};
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q014", name: "merge-needs-dequantize", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Merge],
    looks_for: "Packed layers in the base; or an adapter whose config names a base that ends in \
                `-bnb-4bit`, `-GPTQ`, `-AWQ` and the like.",
    why: "A merge adds the change to the weights, and packed weights have no room for it: PEFT and the \
          training projects refuse, or decode and pack again with other rounding. Decoded first, the sum is \
          right.",
    messages: &[
        message(
            "quant_method: {method}, quantized model and does not support merge-lora.",
            "ms-swift 3.0 to 3.6",
        ),
        message("{any} is a quantized model and does not support merge-lora.", "ms-swift 2.x"),
        message("int4 model is not supported", "ms-swift 1.x and 2.x"),
        message("int8 model is not supported", "ms-swift 1.x and 2.x"),
        message("awq model is not supported", "ms-swift 1.x and 2.x"),
        message("Cannot merge LORA layers when the model is {method} quantized", "PEFT"),
        message("Cannot merge LORA layers when the model is loaded in 8-bit mode", "PEFT up to 0.5"),
        message("Cannot merge adapters to a quantized model.", "LLaMA-Factory"),
        message("gptq model not support merge lora adapter", "Qwen, LLaMA-Factory 2023"),
        message("Merging LoRA layers is not supported for Eetq layers.", "PEFT"),
        message("Merging LoRA with INC layers is not yet implemented", "PEFT since 0.16"),
        message("in merge raise NotImplementedError", "PEFT, AWQ and AQLM layers"),
        message("Base model should be a 16bits or mxfp4 base model for a 16bit model merge.", "unsloth"),
        message("stores its weights compressed-tensors packed", "unsloth since 2026"),
    ],
    outside: "ms-swift says it as well where `--quant_method` is given on the command line and the base is \
              plain.",
    remedy: "Merge here: packed layers are decoded first and the result is 16-bit. Quantize that again \
             afterwards, if you need it packed.",
    sources: "ms-swift#3859, #966, #1839, #2949, #2344; Qwen#542, LlamaFactory#1545, peft#1853, \
              unsloth-zoo#326; PEFT 0.21 source",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Ends of names of quantized bases, lower case.
const ENDS: [&str; 8] =
    ["-bnb-4bit", "-bnb-8bit", "-4bit", "-gptq", "-gptq-int4", "-gptq-int8", "-awq", "-int4"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (packed, first) = subject.layers_of(|format| !matches!(format, "dense" | "unknown"));
    if subject.model().is_some() && packed > 0 {
        let words = subject.packed_words(packed);
        let title = match subject.held.len() {
            0 => format!("{words}. A merge must decode them first."),
            count => {
                let adapters = units::plural(count, "adapter");
                format!("{words}, and {adapters} would be merged into them. They must be decoded first.")
            }
        };
        let counted = format!("{} packed", units::plural(packed, "layer"));
        let mut finding = Finding::new(rule, title).seen(Seen::tensors(first, counted));
        if let Some(block) = subject.quant_block() {
            let method = block.method.as_deref().unwrap_or_default();
            finding = finding
                .fill("method", if method == "bitsandbytes" { "bnb" } else { method })
                .seen(Seen::config(&block.file, config_blocks::key(block, "quant_method"), method));
        }
        return vec![finding];
    }
    named(rule, subject).into_iter().collect()
}

/// An adapter opened by itself: the name of its base is all there is.
fn named(rule: &'static Rule, subject: &Subject<'_>) -> Option<Finding> {
    let base = subject.facts?.base.as_deref()?;
    let lower = base.trim_end_matches('/').to_ascii_lowercase();
    let end = ENDS.iter().find(|end| lower.ends_with(*end))?;
    let title =
        format!("By its name, the base of this adapter is quantized: {} ends in {end}.", escape(base));
    let seen = Seen::config("adapter_config.json", "base_model_name_or_path", base);
    Some(Finding::new(rule, title).about(About::Checkpoint).seen(seen))
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let mut fixes = Vec::new();
    if subject.model().is_none() {
        fixes.push(Fix::advice(
            "open the base, attach the adapter and merge here: packed layers are decoded first",
        ));
    } else if subject.held.is_empty() {
        fixes.extend(remedies::dequantize(subject, "then merge into that"));
    } else {
        let merge =
            Fix::new("merge the adapter; packed layers are decoded first, the result is 16-bit", Act::Merge);
        fixes.push(merge.loss(remedies::LOSS));
    }
    fixes.push(Fix::advice("merge into the original 16-bit base, if you have it, and quantize the result"));
    fixes
}
