//! What a repair does: what stands in its way, each key as it is and as it will be, the config, and what is left out.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::fact;
use crate::adapter::repair::{Rekeyed, Repair};
use crate::app::form::{Planned, in_form_words};
use crate::name::escape;
use crate::plan::Plan;
use crate::ui::pane::wrap;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Keys that are shown: more than any adapter of a dense model has.
const KEYS_MAX: usize = 20_000;

/// Returns what the title of the plan says.
pub(super) fn verdict(planned: &Planned) -> &'static str {
    let Some(repair) = &planned.repair else { return "" };
    match (repair.refused.is_empty(), repair.is_empty()) {
        (false, _) => "✗ not everything can be repaired",
        (true, true) => "✓ nothing to repair",
        (true, false) if planned.obstacle.is_some() => "✗ not yet",
        (true, false) if planned.options.force => "▲ replaces",
        (true, false) => "✓ ready",
    }
}

/// Returns the lines of a repair, and of the folder that it makes.
pub(super) fn lines(repair: &Repair, plan: &Plan, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let head = |lines: &mut Vec<Line<'static>>, words: String, role: Role| {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        let wrapped = wrap(&words, width);
        lines.extend(wrapped.into_iter().map(|l| Line::from(Span::styled(l, theme.style(role)))));
    };
    let listed = |lines: &mut Vec<Line<'static>>, words: &str, role: Role| {
        for (at, line) in wrap(words, width.saturating_sub(4)).into_iter().enumerate() {
            let indent = if at == 0 { "  " } else { "    " };
            lines.push(Line::from(vec![Span::raw(indent), Span::styled(line, theme.style(role))]));
        }
    };
    if !repair.refused.is_empty() {
        let words = "✗ In the way, so that nothing is written: an adapter that loads in part would be wrong";
        head(&mut lines, words.into(), Role::Error);
        for refused in &repair.refused {
            listed(&mut lines, &in_form_words(&escape(refused)), Role::Text);
        }
    }
    let keys = repair.renames();
    if keys == 0 && repair.changes.is_empty() {
        let words = if repair.refused.is_empty() {
            "✓ Every key is one that PEFT looks for, and the config agrees with the tensors."
        } else {
            "Nothing else would change."
        };
        head(&mut lines, words.into(), Role::Text);
    }
    if keys > 0 {
        let words = format!("{} renamed; the values stay as they are", units::plural(keys, "key"));
        head(&mut lines, words, Role::Heading);
        for key in repair.keys.iter().filter(|key| key.is_changed()).take(KEYS_MAX) {
            lines.extend(rename(key, width, theme));
        }
        if keys > KEYS_MAX {
            listed(
                &mut lines,
                &format!("… {} more; the command below prints all", keys - KEYS_MAX),
                Role::Muted,
            );
        }
    }
    if !repair.changes.is_empty() {
        head(&mut lines, "adapter_config.json".into(), Role::Heading);
        for change in &repair.changes {
            listed(&mut lines, change, Role::Repair);
        }
    }
    if !repair.left_out.is_empty() {
        head(&mut lines, "left out".into(), Role::Heading);
        for left in &repair.left_out {
            listed(&mut lines, left, Role::Text);
        }
    }
    if repair.refused.is_empty() && !repair.is_empty() {
        lines.push(Line::default());
        lines.extend(folder(repair, plan, width, theme));
    }
    lines
}

/// A key as it is, and below it as it will be: what goes and what comes stands out.
fn rename(key: &Rekeyed, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let (from, to) = (escape(&key.from).into_owned(), escape(&key.to).into_owned());
    let (before, after) = alike(&from, &to);
    let mut lines = Vec::new();
    let turned = if key.is_transposed { "  transposed" } else { "" };
    for (mark, text, role, beside) in [("  ", &from, Role::Warn, ""), ("→ ", &to, Role::Repair, turned)] {
        let plain = theme.style(Role::Text);
        let mut spans = vec![Span::styled(mark, theme.style(role))];
        if mark.width() + text.width() + beside.width() <= width {
            let end = text.len() - after;
            spans.push(Span::styled(text[..before].to_owned(), plain));
            spans.push(Span::styled(text[before..end].to_owned(), theme.style(role)));
            spans.push(Span::styled(text[end..].to_owned(), plain));
            spans.push(Span::styled(beside, theme.style(Role::Muted)));
            lines.push(Line::from(spans));
            continue;
        }
        // Nothing of a key is left out: one that is too long goes on in the next line.
        for (at, part) in wrap(&format!("{text}{beside}"), width.saturating_sub(4)).into_iter().enumerate() {
            let mark = if at == 0 { mark } else { "    " };
            lines.push(Line::from(vec![Span::styled(mark, theme.style(role)), Span::styled(part, plain)]));
        }
    }
    lines
}

/// Returns how many bytes two texts have in common at their beginnings and at their ends, at whole characters.
fn alike(a: &str, b: &str) -> (usize, usize) {
    let same = |(x, y): &(char, char)| x == y;
    let before: usize = a.chars().zip(b.chars()).take_while(same).map(|(c, _)| c.len_utf8()).sum();
    let ends = a[before..].chars().rev().zip(b[before..].chars().rev());
    (before, ends.take_while(same).map(|(c, _)| c.len_utf8()).sum())
}

/// What the folder holds.
fn folder(repair: &Repair, plan: &Plan, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let kept = repair.keys.len() - repair.renames();
    let mut lines = Vec::new();
    if kept > 0 {
        let words = format!("{} as they are", units::plural(kept, "key"));
        lines.extend(fact("keeps", &words, Role::Text, width, theme));
    }
    let bytes = units::bytes(plan.bytes_written());
    let words = format!("adapter_model.safetensors, adapter_config.json   {bytes} in all");
    lines.extend(fact("writes", &words, Role::Text, width, theme));
    if !plan.copies.is_empty() {
        let names: Vec<&str> = plan.copies.iter().map(|copied| copied.file.as_str()).collect();
        lines.extend(fact("copies", &escape(&names.join(", ")), Role::Text, width, theme));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::alike;

    #[test]
    fn what_two_keys_share_is_found_at_both_ends_and_never_twice() {
        for (a, b, wanted) in [
            ("q.base_layer.lora_A", "q.lora_A", (2, 6)),
            ("module.q.a", "q.a", (0, 3)),
            ("aa", "a", (1, 0)),
            ("same", "same", (4, 0)),
            ("ä.x", "ö.x", (0, 2)),
            ("", "x", (0, 0)),
        ] {
            assert_eq!(alike(a, b), wanted, "{a} {b}");
        }
    }
}
