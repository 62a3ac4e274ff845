//! A007 adapter-base-not-here: the base that the adapter names is a path that is not on this disk.

use std::path::Path;

use super::views;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{About, AdapterView, Subject};
use crate::name::escape;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load],
    looks_for: "A base_model_name_or_path that is a path (of the machine that trained it), and no such folder here.",
    why: "AutoPeftModel and the servers that take an adapter alone open this path first. A name that is no folder is \
          taken for a repository of the Hub, and the error then speaks of repository names.",
    messages: &[
        message(
            "Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{file}'. Use `repo_type` argument if \
             needed.",
            "huggingface_hub, all versions",
        ),
        message(
            "{file} is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
            "transformers, all versions",
        ),
        message(
            "Incorrect path_or_model_id: '{file}'. Please provide either the path to a local folder or the repo_id of \
                 a model on the Hub.",
            "transformers since 4.45",
        ),
    ],
    outside: "A wrong path of the adapter itself brings the same messages.",
    remedy: "Load the base yourself and the adapter on it: PeftModel.from_pretrained(base, adapter) does not look at the \
             name. Or write the base's name on the Hub into base_model_name_or_path.",
    sources: "PEFT 0.21 `auto.py`; huggingface_hub `utils/_validators.py`",
    look,
    fixes,
    ..Rule::new(&kind::ADAPTER_BASE)
};

/// Only of an adapter that was opened alone: one that is attached has its base.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let alone = subject.adapters().filter(|view| view.about == About::Checkpoint);
    alone.filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let base = view.facts.base.as_deref().filter(|base| is_path(base))?;
    if view.checkpoint.files.folder.join(base).exists() || Path::new(base).exists() {
        return None;
    }
    let title = format!("The adapter names {} as its base, and there is no such folder here.", escape(base));
    let seen = Seen::config(views::CONFIG, "base_model_name_or_path", base);
    Some(Finding::new(rule, title).about(view.about).seen(seen).fill("file", base))
}

/// Returns true for what cannot be the name of a repository.
fn is_path(base: &str) -> bool {
    base.starts_with(['/', '.', '~', '\\']) || base.contains(":\\") || base.split('/').count() > 2
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![
        Fix::advice("attach it to a base: ckpt diagnose BASE --adapter ADAPTER"),
        Fix::advice(finding.rule.remedy),
    ]
}
