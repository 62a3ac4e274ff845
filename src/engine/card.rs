//! The model card's note: what a packed result was made of, how, and what that took. It is written when the proof has
//! measured it, behind what the input's own card says.

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::{Action, CARD, Plan, To};
use crate::units;

use super::verify::Proven;
use super::verify::totals::Totals;

/// A card that is longer goes over as it is.
const CARD_BYTES_MAX: u64 = 16 << 20;
/// Layers that stay plain and are named.
const NAMED_MAX: usize = 12;

/// Returns the card of a result, or `None` if it needs none or the input's is too long for a note.
///
/// # Errors
/// The input's card cannot be read.
pub(super) fn card(
    plan: &Plan,
    (checkpoint, adapters): (&Checkpoint, &[&Checkpoint]),
    proof: Option<&Proven>,
) -> Result<Option<Vec<u8>>> {
    if !plan.makes_card() {
        return Ok(None);
    }
    let mut text = Vec::new();
    if let Some(card) = plan.copies.iter().find(|copied| copied.file == CARD) {
        if card.bytes > CARD_BYTES_MAX {
            return Ok(None);
        }
        text = std::fs::read(&card.from).map_err(|e| Error::io("read", &card.from, &e))?;
        while text.last().is_some_and(u8::is_ascii_whitespace) {
            text.pop();
        }
        text.extend_from_slice(b"\n\n");
    }
    text.extend_from_slice(note(plan, checkpoint, adapters, proof).as_bytes());
    Ok(Some(text))
}

fn note(plan: &Plan, checkpoint: &Checkpoint, adapters: &[&Checkpoint], proof: Option<&Proven>) -> String {
    let mut from: Vec<&str> = plan.packed().iter().map(|step| step.from.as_str()).collect();
    from.sort_unstable();
    from.dedup();
    let mut rows = Vec::new();
    let title = escape(&checkpoint.files.title).into_owned();
    rows.push(("made of", format!("{title} ({})", from.join(", "))));
    if !adapters.is_empty() {
        let names: Vec<String> = adapters.iter().map(|a| escape(&a.files.title).into_owned()).collect();
        rows.push(("merged", names.join(", ")));
    }
    match (&plan.target, &plan.order.to) {
        (Some(target), To::Packed(aim)) => {
            let method = target.method();
            let method = if method.is_empty() { method } else { format!(", {method}") };
            rows.push(("packed as", format!("{}{method}", target.label())));
            rows.push(("options", format!("`{}`", options(plan, &aim.flags()))));
        }
        _ => rows.push(("packed as", "the base's own format and block sizes (`--to same`)".to_owned())),
    }
    let plain: Vec<String> = plan
        .steps
        .iter()
        .filter_map(|step| Some(format!("{} ({})", escape(&step.layer), escape(step.note.as_ref()?))))
        .collect();
    let packed = units::plural(plan.packed().len(), "layer");
    let kept = plan.steps.iter().filter(|step| step.to != "dense" && step.action == Action::Copy).count();
    let kept =
        if kept > 0 { format!("; {} as they were", units::plural(kept, "layer")) } else { String::new() };
    rows.push(("packed", format!("{packed}{kept}")));
    if !plain.is_empty() {
        let more = plain.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        rows.push(("plain", format!("{}{more}", plain[..plain.len().min(NAMED_MAX)].join(", "))));
    }
    let quality = proof.and_then(|proof| Totals::of(&proof.quality));
    let quality = match quality {
        Some(totals) => {
            let mut words = totals.words(None);
            words.extend(totals.warning());
            let words = words.iter().map(|words| squeezed(words)).collect::<Vec<_>>().join("; ");
            words.strip_prefix("quality ").map_or(words.clone(), str::to_owned)
        }
        None => "not measured".to_owned(),
    };
    rows.push(("quality", quality));
    rows.push(("by", format!("ckpt {}", env!("CARGO_PKG_VERSION"))));
    let rows: Vec<String> =
        rows.iter().map(|(word, what)| format!("| {word} | {} |", what.replace('|', "\\|"))).collect();
    format!("## Quantization\n\n| | |\n|---|---|\n{}\n", rows.join("\n"))
}

/// Returns what was asked, with the layers that were chosen.
fn options(plan: &Plan, flags: &str) -> String {
    let order = &plan.order;
    let mut words = flags.to_owned();
    for (flag, globs) in [("--keep", &order.keep), ("--also", &order.also)] {
        for glob in globs {
            words.extend([" ", flag, " '", &escape(glob), "'"]);
        }
    }
    words
}

/// Returns a line with its runs of blanks as one.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
