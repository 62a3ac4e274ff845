//! D003 deepspeed-folder: the states of DeepSpeed's ranks lie beside the weights.

use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "D003", name: "deepspeed-folder", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "`zero_to_fp32.py` in the folder: DeepSpeed writes it beside its `global_step…` folder.",
    why: "The folder is a checkpoint of a training run: the full weights in F32 are split among the files of \
          the ranks. The weights that lie beside them are a copy in 16 bits, if the run gathered them.",
    messages: &[
        message("Unable to find 'latest' file at {any}", "zero_to_fp32.py"),
        message("Expected {n} of '*_model_states.pt' under '{any}' but found {n} files", "zero_to_fp32.py"),
        message(
            "saving the full checkpoint instead, use zero_to_fp32.py to recover weights",
            "transformers Trainer with ZeRO-3",
        ),
    ],
    remedy: "If the weights here are empty or incomplete, run `python zero_to_fp32.py . model.bin` in this \
             folder.",
    sources: "DeepSpeed#1896, DeepSpeed source",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    const SCRIPT: &str = "zero_to_fp32.py";
    if !subject.has_file(SCRIPT) {
        return Vec::new();
    }
    let title =
        format!("{SCRIPT} is here: the full weights of the run lie in the files of DeepSpeed's ranks.");
    vec![Finding::new(rule, title).seen(Seen::file(SCRIPT, "in the folder"))]
}
