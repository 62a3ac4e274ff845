//! A032 adapter-old-oft: OFT as PEFT wrote it up to 0.15, which later versions refuse.

use super::views;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "A032", name: "adapter-old-oft", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Tensors oft_r and oft_s.",
    why: "PEFT 0.16 changed how OFT computes its rotations and what it stores: oft_R with half of a skew matrix stands for \
          oft_r with whole blocks. Versions from 0.16 on refuse the old form; 0.21.2 does not find its keys, warns about \
          missing ones, and the adapter has no effect.",
    messages: &[
        message(
            "Trying to load old OFT checkpoint, which is no longer supported. Please install PEFT <= v0.15.2 to load it or \
             train a new OFT adapter.",
            "PEFT since 0.16",
        ),
        message(
            "Found missing adapter keys while loading the checkpoint: ['{key}.oft_R.{any}'",
            "PEFT 0.21.2, a warning",
        ),
    ],
    outside: "",
    remedy: "Load it with PEFT 0.15.2 and merge it there (merge_and_unload), or train it anew.",
    sources: "PEFT 0.21 `tuners/oft/model.py`; measured on PEFT 0.21.2: loaded without effect",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let old = views::parts(view, |part| part == "oft_r");
    let first = *old.first()?;
    let title = format!(
        "{} of OFT are in the form of PEFT before 0.16, such as {}.",
        crate::units::plural(old.len(), "module"),
        views::shown(&view.checkpoint.files.tensor_name(first))
    );
    Some(views::of_tensors(rule, view, &old, title))
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice("pip install 'peft<=0.15.2', load and merge it there"), Fix::advice(finding.rule.remedy)]
}
