//! N013 vision-language-layout: a vision-language model is stored under the names that version 4.52 keeps in
//! memory.

use super::top;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::plan::edit::{Edit, Rename};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "N013", name: "vision-language-layout", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Load, Purpose::Qlora, Purpose::Merge],
    looks_for: "`model.language_model.` in a model of the LLaVA family, Qwen2-VL, Qwen2.5-VL or Mllama.",
    why: "transformers 4.52 moved the language and vision parts under `model.` in memory, and keeps the old \
          names in files. These files have the new names: a state dict was saved directly. Older versions \
          and engines look for the old names.",
    messages: &[
        message("Missing key(s) in state_dict: {any}language_model.{any}", "torch load_state_dict"),
        message("Unexpected key(s) in state_dict: {any}model.language_model.{any}", "torch load_state_dict"),
        message("There is no module or parameter named '{any}' in {class}", "vLLM"),
        message("KeyError: '{any}language_model.{any}'", "vLLM"),
    ],
    outside: "The same messages come where transformers changed the names on the other side: try the version \
              that wrote the files.",
    remedy: "Give the tensors the names that the files of this type have.",
    sources: "colpali#424, vllm#34186 #48019 #39369, mteb#4673, LLaVA-pp#18; transformers 4.52 source",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Types whose files have `language_model.model.` and parts without `model.`.
const LLAVA: [&str; 10] = [
    "aya_vision",
    "gemma3",
    "got_ocr2",
    "internvl",
    "llava",
    "llava_next",
    "llava_onevision",
    "mistral3",
    "mllama",
    "paligemma",
];
/// Types whose files have the language model under `model.` and the vision part under `visual.`.
const QWEN: [&str; 2] = ["qwen2_vl", "qwen2_5_vl"];

/// Returns the name that a tensor has in files of this type, if it is another one.
fn filed(kind: &str, name: &str) -> Option<String> {
    if QWEN.contains(&kind) {
        let language = name.strip_prefix("model.language_model.").map(|rest| format!("model.{rest}"));
        return language.or_else(|| name.strip_prefix("model.visual.").map(|rest| format!("visual.{rest}")));
    }
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        return Some(format!("language_model.model.{rest}"));
    }
    if name.starts_with("lm_head.") {
        return Some(format!("language_model.{name}"));
    }
    name.strip_prefix("model.").map(str::to_owned)
}

/// Returns the type, and how many tensors are under the new name.
fn found<'a>(subject: &Subject<'a>) -> Option<(&'a str, usize)> {
    let files = &subject.model()?.files;
    let kind = files.configs.model_type().filter(|kind| LLAVA.contains(kind) || QWEN.contains(kind))?;
    let node = files.names.find("model.language_model")?;
    let is_mixed = top(files, "language_model").is_some() || top(files, "visual").is_some();
    (!is_mixed).then(|| (kind, files.within(node, files.names.end(node)).len()))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((kind, count)) = found(subject) else { return Vec::new() };
    let files = subject.files();
    let node = files.names.find("model.language_model");
    let first = node.and_then(|node| files.within(node, files.names.end(node)).next());
    let title = format!(
        "{count} tensors are under model.language_model., and files of {} do not have that.",
        escape(kind)
    );
    let first = first.map(|tensor| files.tensor_name(tensor));
    vec![Finding::new(rule, title).seen(Seen::tensors(first, format!("{count} tensors")))]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let Some((kind, _)) = found(subject) else { return Vec::new() };
    let files = subject.files();
    let each = (0..files.tensors.len() as u32).filter_map(|tensor| {
        let name = files.tensor_name(tensor);
        filed(kind, &name).map(|new| (name, new))
    });
    let edit = Edit::Rename(Rename::Each(each.collect()));
    vec![Fix::new(format!("give the tensors the names that files of {kind} have"), Act::Edit(vec![edit]))]
}
