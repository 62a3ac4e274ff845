//! C016 remote-code-missing: `auto_map` names Python files that are not in the folder.

use serde_json::Value;

use super::config_of;
use crate::diagnose::finding::{Finding, SEEN_MAX, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "C016", name: "remote-code-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    looks_for: "Modules in auto_map of config.json (`modeling_x.Class`) without their `.py` file.",
    why: "The architecture is Python code that comes with the model, and a merge or a download took only the \
          weights. trust_remote_code looks for the file in the folder and stops.",
    messages: &[
        message("No module named 'transformers_modules{any}'", "transformers"),
        message("does not appear to have a file named {file}", "transformers"),
        message(
            "This modeling file requires the following packages that were not found in your environment: \
             {any}",
            "transformers",
        ),
    ],
    outside: "A package that the code imports may be missing in Python: the message names it.",
    remedy: "Copy the .py files (and tokenizer and generation files) from the folder of the base.",
    sources: "issues of Qwen-VL, InternLM and MiniCPM; transformers source",
    look,
    ..Rule::new(&KIND)
};

/// Returns the modules that `auto_map` names in this folder; one of another repository has `--` in it.
fn modules(map: &Value) -> Vec<(&str, &str)> {
    let entries = map.as_object().into_iter().flatten();
    let named = entries.flat_map(|(key, value)| {
        let one = value.as_str().into_iter();
        let several = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        one.chain(several).map(move |class| (key.as_str(), class))
    });
    let here = named.filter(|(_, class)| !class.contains("--") && !class.contains('/'));
    here.filter_map(|(key, class)| Some((key, class.rsplit_once('.')?.0))).collect()
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(map) = config_of(subject).and_then(|config| config.get("auto_map")) else { return Vec::new() };
    let files = subject.files();
    if files.path != files.folder && files.index.is_none() {
        return Vec::new();
    }
    let file_of = |module: &str| format!("{}.py", module.replace('.', "/"));
    let is_missing = |(_, module): &(&str, &str)| !files.folder.join(file_of(module)).exists();
    let missing: Vec<(&str, &str)> = modules(map).into_iter().filter(is_missing).collect();
    let mut names: Vec<String> = missing.iter().map(|(_, module)| file_of(module)).collect();
    names.sort();
    names.dedup();
    let Some(first) = names.first() else { return Vec::new() };
    let count = units::plural(names.len(), "Python file");
    let title = format!("auto_map names {count} that this folder lacks: {}.", escape(&names.join(", ")));
    let mut finding = Finding::new(rule, title).fill("file", first.clone());
    for (key, module) in missing.iter().take(SEEN_MAX) {
        finding = finding.seen(Seen::config("config.json", format!("auto_map.{key}"), file_of(module)));
    }
    vec![finding]
}
