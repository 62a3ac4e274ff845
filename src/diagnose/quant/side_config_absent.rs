//! Q040 quantize-config-absent: the quantization is described in `config.json` alone, and old AutoGPTQ reads
//! `quantize_config.json`.

use super::config_blocks;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::{ProblemKind, Severity};
use crate::quant::QuantBlock;
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q040", name: "quantize-config-absent", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load],
    looks_for: "GPTQ layers and a block in `config.json`, and no `quantize_config.json`.",
    why: "transformers and vLLM read the block in `config.json`. AutoGPTQ up to 0.5 reads a file of its own \
          and stops where it is absent; newer loaders need nothing.",
    messages: &[
        message("No such file or directory: '{file}quantize_config.json'", "AutoGPTQ up to 0.5"),
        message("does not appear to have a file named quantize_config.json", "AutoGPTQ up to 0.5"),
    ],
    remedy: "Write the settings of the block into `quantize_config.json` too, or load with gptqmodel.",
    sources: "GPTQModel#1080; AutoGPTQ source (`BaseQuantizeConfig.from_pretrained` refuses keys that it \
              does not know)",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Keys that AutoGPTQ takes; with others it stops.
const KEYS: [&str; 7] =
    ["bits", "group_size", "damp_percent", "desc_act", "static_groups", "sym", "true_sequential"];
const FILE: &str = "quantize_config.json";

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (count, first) = subject.layers_of(|format| format == "gptq");
    let is_absent = !subject.has_file(FILE) && block_of(subject).is_some();
    if count == 0 || !is_absent || subject.model().is_none() {
        return Vec::new();
    }
    let layers = units::plural(count, "GPTQ layer");
    let title = format!("{layers}, described in config.json and not in {FILE}, which old AutoGPTQ reads.");
    vec![Finding::new(rule, title).seen(Seen::file(FILE, "absent")).seen(Seen::tensors(first, layers))]
}

fn block_of<'a>(subject: &Subject<'a>) -> Option<&'a QuantBlock> {
    config_blocks::all(subject)
        .find(|block| block.file == "config.json" && block.method.as_deref() == Some("gptq"))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let values = block_of(subject).into_iter().flat_map(|block| {
        KEYS.iter().filter_map(|key| Some(((*key).to_owned(), block.any(&[key])?.1.clone())))
    });
    let edits: Vec<Edit> = values
        .map(|(key, value)| Edit::Json { file: FILE.into(), path: vec![key], value: Some(value) })
        .collect();
    let write = Fix::new(format!("write {FILE} with the settings of config.json"), Act::Edit(edits));
    vec![write, Fix::advice(finding.rule.remedy)]
}
