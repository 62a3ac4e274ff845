//! K028 narrow-dtype: dtypes of 4, 6 or 8 bits that loaders of last year do not know.

use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::tensor::Dtype;
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "K028", name: "narrow-dtype", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "safetensors files with tensors of dtype F4, F6_E2M3, F6_E3M2 or F8_E8M0.",
    why: "safetensors has these dtypes since 0.6, and torch has them since 2.7 or later. Older versions of \
          either, and transformers before 4.56, stop at the name of the dtype though the file is right.",
    messages: &[
        message("Cannot load safetensors of unknown dtype {any}", "transformers 4.45 to 4.55"),
        message("unknown variant `F8_E8M0`, expected one of `BOOL`", "safetensors before 0.6"),
        message("unknown variant `F4`, expected one of `BOOL`", "safetensors before 0.6"),
    ],
    outside: "The versions of safetensors, torch and transformers decide; the files are fine.",
    remedy: "Upgrade safetensors to 0.6 or later and torch with it, or dequantize to 16-bit.",
    sources: "transformers and safetensors source",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    const NARROW: [Dtype; 4] = [Dtype::F4, Dtype::F6E2M3, Dtype::F6E3M2, Dtype::F8E8M0];
    let files = subject.files();
    let is_narrow = |dtype: Dtype| super::is_safetensors(subject) && NARROW.contains(&dtype);
    let narrow: Vec<u32> =
        (0..files.tensors.len() as u32).filter(|&t| is_narrow(files.tensors[t as usize].dtype)).collect();
    let Some(&first) = narrow.first() else { return Vec::new() };
    let dtype = files.tensors[first as usize].dtype.name();
    let count = units::plural(narrow.len(), "tensor");
    let title = format!("{count} of a dtype that only recent loaders know, first {dtype}.");
    let seen = Seen::tensors(Some(files.tensor_name(first)), format!("{count}, {dtype}"));
    vec![Finding::new(rule, title).seen(seen)]
}
