//! Adapter: what the config says, and what the tensors are.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;

use super::pane::{text, wrap};
use super::theme::{Role, Theme};
use crate::adapter::Adapter;
use crate::adapter::base::{Found, Search};
use crate::app::{App, Ready};
use crate::name::{cut_middle, cut_name, escape};
use crate::units;

/// Modules that are listed.
const MODULES_MAX: usize = 2000;

/// Draws the tab.
pub fn draw(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, app: &mut App, theme: &Theme) {
    let Some(ready) = app.ready_mut() else { return };
    let width = usize::from(block.inner(area).width.saturating_sub(2));
    let lines = match &ready.adapter {
        Some(adapter) => facts(ready, adapter, width, theme),
        None => vec![Line::from(" No adapter attached. a attaches one.")],
    };
    ready.tab_top = text(frame, area, block, lines, ready.tab_top);
}

/// What is known of the base: where it is, or where it was looked for, and the key that opens it.
pub(super) fn base_words(search: Option<&Search>) -> Vec<(String, Role)> {
    let Some(search) = search else { return vec![("looking for it".into(), Role::Muted)] };
    if let Some(Found { path, how }) = &search.found {
        let path = escape(path);
        return vec![
            (format!("✓ found {how}: {path}"), Role::Ok),
            ("o opens it with this adapter attached, a chooses another".into(), Role::Text),
        ];
    }
    if search.named.is_none() {
        return vec![("a opens a base with this adapter attached".into(), Role::Text)];
    }
    let mut words = vec![("▲ not found on this machine; looked for".to_owned(), Role::Warn)];
    words.extend(search.looked.iter().map(|place| (format!("  {place}"), Role::Muted)));
    words.push(("a opens a base that you choose, with this adapter attached".into(), Role::Text));
    words
}

fn facts(ready: &Ready, adapter: &Adapter, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let fact = |word: &str, what: String, role: Role| -> Vec<Line<'static>> {
        let words = wrap(&what, width.saturating_sub(16));
        let line = |(at, line): (usize, String)| {
            let word = if at == 0 { word } else { "" };
            Line::from(vec![
                Span::styled(format!(" {word:<15}"), theme.style(Role::Muted)),
                Span::styled(line, theme.style(role)),
            ])
        };
        words.into_iter().enumerate().map(line).collect()
    };
    let number = |value: Option<f64>| value.map_or_else(|| "not given".into(), |v| format!("{v}"));
    let mut kind = escape(adapter.kind()).into_owned();
    if let (Some(declared), Some(by_keys)) = (&adapter.declared, adapter.by_keys)
        && declared != by_keys
    {
        kind = format!("{kind} by the config, {by_keys} by the keys");
    }
    for variation in &adapter.variations {
        kind = format!("{kind}  {variation}");
    }
    let rank = adapter.rank.map_or_else(|| "not given".into(), |r| r.to_string());
    let mut lines = fact("type", kind, Role::Adapter);
    lines.extend(fact(
        "rank",
        format!("{rank}   alpha {}   scaling {}", number(adapter.alpha), number(adapter.scaling)),
        Role::Text,
    ));
    lines.extend(fact("target modules", escape(&adapter.targets.join("  ")).into_owned(), Role::Text));
    lines.extend(fact(
        "base",
        escape(adapter.base.as_deref().unwrap_or("not named")).into_owned(),
        Role::Path,
    ));
    for (words, role) in base_words(ready.base.as_ref()) {
        lines.extend(fact("", words, role));
    }
    lines.extend(fact(
        "PEFT version",
        escape(adapter.peft_version.as_deref().unwrap_or("not told by its fields")).into_owned(),
        Role::Text,
    ));
    let whole = adapter.modules.iter().filter(|m| m.missing.is_empty()).count();
    lines.extend(fact("modules", format!("{whole} of {} complete", adapter.modules.len()), Role::Text));
    lines.extend(fact("also saved", units::plural(adapter.saved.len(), "tensor"), Role::Text));
    lines.push(Line::default());
    let room = width.saturating_sub(34).max(12);
    for module in adapter.modules.iter().take(MODULES_MAX) {
        let (glyph, role) = if module.missing.is_empty() { ("✓", Role::Ok) } else { ("✗", Role::Error) };
        let delta = module.delta.map_or_else(
            || {
                if module.missing.is_empty() {
                    String::new()
                } else {
                    format!("no {}", module.missing.join(", "))
                }
            },
            |delta| units::shape(&delta),
        );
        let rank = module.rank.map_or_else(String::new, |r| format!("r {r}"));
        lines.push(Line::from(vec![
            Span::styled(format!(" {glyph} "), theme.style(role)),
            Span::raw(format!("{:<room$}", cut_name(&escape(&module.name), room))),
            Span::styled(format!("{rank:>8}"), theme.style(Role::Muted)),
            Span::styled(format!("{delta:>18}"), theme.style(Role::Adapter)),
        ]));
    }
    for &tensor in adapter.saved.iter().take(MODULES_MAX) {
        let record = &ready.files().tensors[tensor as usize];
        let name = ready.files().tensor_name(tensor);
        lines.push(Line::from(vec![
            Span::styled(" · ", theme.style(Role::Dense)),
            Span::raw(format!("{:<room$}", cut_middle(&escape(&name), room))),
            Span::styled(format!("{:>8}", record.dtype.name()), theme.style(Role::Muted)),
            Span::styled(
                format!("{:>18}", units::shape(ready.files().shape(record))),
                theme.style(Role::Muted),
            ),
        ]));
    }
    lines
}
