//! A041 head-lost-from-architectures: `architectures` names the backbone, and the file has a head: saved from
//! `AutoModel`.

use serde_json::json;

use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::plan::edit::Edit;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A041", name: "head-lost-from-architectures", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "architectures in config.json that ends in Model (a class without a head), and an lm_head in the tensors.",
    why: "The merged model was saved from AutoModel, which writes the backbone's class into architectures. Engines choose \
          their implementation by that name: they know none for the backbone, or serve it as an embedding model.",
    messages: &[
        message("Model architectures ['{any}Model'] are not supported for now.", "vLLM"),
        message("Model architectures ['{any}Model'] failed to be inspected.", "vLLM"),
    ],
    outside: "A model that vLLM does not know under any name.",
    remedy: "Write the class with the head into architectures, as the base's own config.json has it, and copy auto_map and \
             the .py files of the base where it has them.",
    sources: "MiniCPM#241",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Returns the class that the config names, and what it is with a head.
fn class(subject: &Subject<'_>) -> Option<(String, String)> {
    let config = subject.model()?.files.configs.get("config.json")?;
    let class = config.get("architectures")?.get(0)?.as_str()?;
    let stem = class.strip_suffix("Model").filter(|stem| !stem.is_empty() && !stem.ends_with("LMHead"))?;
    Some((class.to_owned(), format!("{stem}ForCausalLM")))
}

/// Returns the name of the head's layer.
fn head(subject: &Subject<'_>) -> Option<String> {
    let model = subject.model()?;
    let names = (0..model.layers.len() as u32).map(|layer| model.layers.name(&model.files.names, layer));
    names.into_iter().find(|name| name.rsplit('.').next() == Some("lm_head"))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (Some((class, _)), Some(head)) = (class(subject), head(subject)) else { return Vec::new() };
    let title = format!(
        "architectures names {}, a class without a head, and {} is in the file.",
        escape(&class),
        escape(&head)
    );
    let finding = Finding::new(rule, title)
        .seen(Seen::config("config.json", "architectures", class))
        .seen(Seen::tensors(Some(head), "the head"));
    vec![finding]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some((_, with_head)) = class(subject) else { return Vec::new() };
    let summary = format!("write {} into architectures, in a new folder", escape(&with_head));
    let edit = Edit::Json {
        file: "config.json".into(),
        path: vec!["architectures".into()],
        value: Some(json!([with_head])),
    };
    vec![Fix::new(summary, Act::Edit(vec![edit])), Fix::advice(finding.rule.remedy)]
}
