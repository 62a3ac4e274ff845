//! Q028 quant-config-aside: the quantization is described beside `config.json` only, where transformers does
//! not look.

use super::{config_blocks, remedies};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::kind;
use crate::problem::{ProblemKind, Severity};
use crate::quant::QuantBlock;
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q028", name: "quant-config-aside", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    is_silent: true,
    looks_for: "`quantize_config.json` or `quant_config.json` over packed layers, and no quantization block \
                in `config.json`.",
    why: "AutoGPTQ and AutoAWQ of 2023 wrote a file of their own and read it again. transformers reads \
          `config.json` alone: it builds plain layers, finds no plain weights for them and fills them with \
          random numbers. Only a warning about unused `qweight` tells.",
    messages: &[
        message(
            "Some weights of the model checkpoint at {file} were not used when initializing {class}: \
             ['{key}.g_idx'",
            "transformers up to 4.57",
        ),
        message(
            "Some weights of the model checkpoint at {file} were not used when initializing {class}: \
             ['{key}.qweight'",
            "transformers up to 4.57",
        ),
    ],
    remedy: "Copy the block into `config.json` under `quantization_config`, with its `quant_method`.",
    sources: "AutoGPTQ#133, textgen#2306, GPTQModel#1080; transformers reads `config.quantization_config` \
              only",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (packed, first) = subject.layers_of(|format| matches!(format, "gptq" | "awq"));
    let Some(block) = block_of(subject).filter(|_| packed > 0 && subject.model().is_some()) else {
        return Vec::new();
    };
    let method = block.method.as_deref().unwrap_or_default();
    let title = format!(
        "{} says {method}, config.json says nothing: transformers would fill {} with random numbers.",
        block.file,
        units::plural(packed, "packed layer"),
    );
    let place = Seen::config("config.json", "quantization_config", "absent");
    let words = units::plural(packed, "packed layer");
    let aside = Seen::file(&block.file, format!("describes {method}"));
    vec![Finding::new(rule, title).seen(place).seen(aside).seen(Seen::tensors(first, words))]
}

/// Returns the side file's block, if `config.json` is there and has none.
fn block_of<'a>(subject: &Subject<'a>) -> Option<&'a QuantBlock> {
    let has_config = subject.json("config.json").is_some();
    let in_config = config_blocks::all(subject).any(|block| block.file == "config.json");
    let mut aside = config_blocks::all(subject).filter(|block| block.method.is_some());
    aside.next().filter(|_| has_config && !in_config)
}

/// The block goes in as it is; one that contradicts the tensors is mended first.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let disputed = [&kind::QUANT_METHOD_DISAGREES, &kind::QUANT_METHOD_UNKNOWN, &kind::QUANT_BITS_DISAGREE];
    let is_disputed = disputed.into_iter().any(|kind| subject.has_problem(&[kind]));
    let mut fixes = Vec::new();
    if let Some(block) = block_of(subject).filter(|_| !is_disputed) {
        let mut value = block.value.clone();
        if let (Some(object), Some(method)) = (value.as_object_mut(), &block.method) {
            object.insert("quant_method".into(), method.as_str().into());
        }
        let path = vec!["quantization_config".to_owned()];
        let edit = Edit::Json { file: "config.json".into(), path, value: Some(value) };
        let what = format!("copy the block of {} into config.json", block.file);
        fixes.push(Fix::new(what, Act::Edit(vec![edit])));
    }
    fixes.extend(remedies::dequantize(subject, "which needs no config"));
    remedies::or_advice(fixes, finding)
}
