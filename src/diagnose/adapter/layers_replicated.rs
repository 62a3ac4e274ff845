//! A024 adapter-layers-replicated: `layer_replication`: layers that share weights and have deltas of their own.

use super::views;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A024", name: "adapter-layers-replicated", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Merge],
    is_silent: true,
    looks_for: "layer_replication in adapter_config.json.",
    why: "PEFT repeats layers of the base when it loads the adapter: the copies share their weights, and each has a delta \
          of its own. Its merge adds the deltas of all copies to the one shared tensor, so every copy gets the sum, and \
          nothing says so.",
    messages: &[message(
        "Cannot merge LORA layers when base model layers are replicated",
        "PEFT; its check looks at the wrong place and never fires",
    )],
    outside: "",
    remedy: "Keep base and adapter apart and load them with PEFT. A merge first needs a base in which each copy is a \
             layer of its own.",
    sources: "PEFT 0.21 `tuners/lora/model.py`; measured: w0 becomes w0 + d0 + d2",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let ranges =
        view.config("layer_replication").filter(|value| value.as_array().is_some_and(|r| !r.is_empty()))?;
    let title = format!(
        "layer_replication is {}: a merge adds the deltas of all copies of a layer to one shared tensor.",
        views::short(ranges)
    );
    let seen = Seen::config(views::CONFIG, "layer_replication", views::short(ranges));
    Some(Finding::new(rule, title).about(view.about).seen(seen))
}
