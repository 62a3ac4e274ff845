//! The command line that carries out a fix.

use super::convert::default_output;
use super::shell_path;
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::subject::{About, Subject};

/// Returns the command line of a fix; `None` for advice. `path` is what the checkpoint was opened by, `adapters` are
/// what the adapters were attached by, in their order.
#[must_use]
pub fn fix_command(
    fix: &Fix,
    finding: &Finding,
    subject: &Subject<'_>,
    (path, adapters): (&str, &[String]),
) -> Option<String> {
    let base = shell_path(path);
    let attached = |number: usize| adapters.get(number).map(|adapter| format!(" -a {}", shell_path(adapter)));
    let all: String = (0..adapters.len()).filter_map(attached).collect();
    let own = match finding.about {
        About::Checkpoint => String::new(),
        About::Adapter(number) => attached(number).unwrap_or_default(),
    };
    let files = match finding.about {
        About::Adapter(number) => &subject.held.get(number)?.adapter.files,
        About::Checkpoint => subject.files(),
    };
    let out = |files, what| shell_path(&default_output(files, what));
    Some(match fix.act {
        Act::Advice => return None,
        Act::Dequantize => format!("ckpt convert {base} --to dense -o {}", out(subject.files(), "dense")),
        Act::Pack(name) => format!("ckpt convert {base} --to {name} -o {}", out(subject.files(), name)),
        Act::Merge if adapters.is_empty() => return None,
        Act::Merge => format!("ckpt merge {base}{all} -o {}", out(subject.files(), "merged")),
        Act::Repair if own.is_empty() => return None,
        Act::Repair => format!("ckpt align {base}{own} --repair -o {}", out(files, "repaired")),
        Act::Edit(_) => {
            // Without a number it is the first fix that can be carried out.
            let at = finding.fixes.iter().position(|other| other == fix).unwrap_or(0);
            let is_first = finding.fixes.iter().position(Fix::applies) == Some(at);
            let number = if is_first { String::new() } else { format!(":{}", at + 1) };
            format!("ckpt fix {base}{own} {}{number} -o {}", finding.rule.code(), out(files, "fixed"))
        }
    })
}
