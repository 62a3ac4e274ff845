//! D004 distributed-checkpoint: shares of torch.distributed.checkpoint lie in the folder.

use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "D004", name: "distributed-checkpoint", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Files that end in `.distcp` beside the weights.",
    why: "FSDP and Megatron save the shares of all ranks as `.distcp` files with a `.metadata` that joins \
          them. No loader of models reads them, so what they hold is not part of the model that is loaded \
          from here.",
    messages: &[
        message("CheckpointException ranks:{any}", "torch.distributed.checkpoint"),
        message("[Errno 2] No such file or directory: '{any}.metadata'", "torch.distributed.checkpoint"),
    ],
    remedy: "Join them with `python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER \
             model.pt`, then open the result.",
    sources: "torch 2.15 source",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let shares: Vec<&(String, u64)> =
        subject.files().others.iter().filter(|(name, _)| name.ends_with(".distcp")).collect();
    let Some((first, _)) = shares.first() else { return Vec::new() };
    let bytes = shares.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let count = units::plural(shares.len(), "share");
    let title =
        format!("{count} of torch.distributed.checkpoint ({}) that loaders ignore.", units::bytes(bytes));
    vec![Finding::new(rule, title).seen(Seen::file(first, count))]
}
