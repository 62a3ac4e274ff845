//! Row 1, which says what this is and what is wrong with it, and the last row, which says what can be done.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::findings;
use super::theme::{Role, Theme};
use crate::app::attach::{AttachState, Attached};
use crate::app::board::Board;
use crate::app::command::{COMMANDS, Command};
use crate::app::form::{Kind, Task};
use crate::app::jobs::Question;
use crate::app::keys::keys_of;
use crate::app::picker::Purpose as Picking;
use crate::app::{App, OpenState, Overlay};
use crate::diagnose::Diagnosis;
use crate::diagnose::rule::Purpose;
use crate::name::{cut_middle, escape};
use crate::units;

/// From this width on the header has all facts, and blanks between them.
const WIDE: u16 = 100;

/// Draws the header row.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    if let Some(compare) = app.compare() {
        return super::compare::header::draw(frame, area, app, compare, theme);
    }
    let gap = if area.width >= WIDE { "   " } else { "  " };
    let verdict = verdict(app, area.width >= WIDE, theme);
    let room = usize::from(area.width).saturating_sub(width_of(&verdict) + 2);
    let facts = facts(app, area.width >= WIDE);
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    for (index, fact) in facts.iter().enumerate() {
        let role = match index {
            0 => Role::Heading,
            _ if fact.starts_with("+ ") => Role::Adapter,
            1 => Role::Quant,
            _ => Role::Text,
        };
        // The name is cut to leave room for the rest; facts that do not fit are left out.
        let rest: usize = facts[1..].iter().take(3).map(|f| f.width() + gap.len()).sum();
        let fact = if index == 0 {
            cut_middle(fact, room.saturating_sub(rest).max(12))
        } else {
            fact.as_str().into()
        };
        let blank = if index == 0 { "" } else { gap };
        if used + blank.len() + fact.width() > room {
            break;
        }
        used += blank.len() + fact.width();
        spans.push(Span::raw(blank));
        spans.push(Span::styled(fact.into_owned(), theme.style(role)));
    }
    spans.push(Span::raw(" ".repeat((room + 1).saturating_sub(used))));
    spans.extend(verdict);
    frame.render_widget(Line::from(spans), area);
}

/// Returns the facts of the checkpoint that is shown: name, format, size …, in the order of what they say; with room
/// the adapter that is attached stands behind them.
#[must_use]
pub fn facts(app: &App, is_wide: bool) -> Vec<String> {
    let Some(open) = app.opens.get(app.current) else {
        return vec![format!("ckpt {}", env!("CARGO_PKG_VERSION")), "no checkpoint open".into()];
    };
    let count = |facts: &mut Vec<String>| {
        if app.opens.len() > 1 {
            facts.push(format!("{} of {}", app.current + 1, app.opens.len()));
        }
    };
    let mut facts = Vec::new();
    match &open.state {
        OpenState::Ready(ready) => {
            let summary = &ready.summary;
            facts.push(escape(&ready.files().title).into_owned());
            if !app.is_readable() {
                count(&mut facts);
                return facts;
            }
            if let Some(adapter) = &ready.adapter {
                facts.push(adapter.headline());
            }
            facts.push(escape(&ready.headline).into_owned());
            if let Some(attached) = app.attached() {
                let words = attached_words(attached);
                if is_wide {
                    facts.push(units::count(summary.parameters));
                    facts.push(words);
                } else {
                    facts.insert(1, words);
                }
                count(&mut facts);
                return facts;
            }
            count(&mut facts);
            facts.push(format!("{} params", units::count(summary.parameters)));
            facts.push(units::bytes(summary.bytes));
            facts.push(format!("{:.2} bit/w", summary.bits_per_weight));
            return facts;
        }
        _ => facts.push(escape(&open.path).into_owned()),
    }
    count(&mut facts);
    facts
}

/// Returns the adapter that is attached: `+ support-lora  LoRA r16 α32`.
fn attached_words(attached: &Attached) -> String {
    let path = attached.path.trim_end_matches('/');
    let name = |text: &str| cut_middle(&escape(text.rsplit('/').next().unwrap_or(text)), 24).into_owned();
    match &attached.state {
        AttachState::Ready(board) => {
            let title = &board.held.adapter.files.title;
            format!("+ {}  {}", name(title), board.held.facts.headline())
        }
        AttachState::Aligning => format!("+ {}  aligning", name(path)),
        AttachState::Failed(_) => format!("+ {}  ✗ not attached", name(path)),
    }
}

/// Returns the right side of the header: for what it is good.
#[must_use]
pub fn verdict(app: &App, is_wide: bool, theme: &Theme) -> Vec<Span<'static>> {
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    match &open.state {
        OpenState::Opening(_) => vec![Span::styled("opening ", theme.style(Role::Muted))],
        OpenState::Failed(_) => vec![Span::styled("✗ not opened ", theme.style(Role::Error))],
        OpenState::Ready(ready) => {
            let findings = app.findings();
            let is_settled = |diagnosis: &&Diagnosis| {
                // Before the examination ends more can be found, and nothing is said to be fine.
                ready.checkpoint.examined || diagnosis.count(Purpose::Load).0 > 0
            };
            let diagnosis = findings.and_then(|findings| findings.diagnosis.as_deref()).filter(is_settled);
            let Some(diagnosis) = diagnosis else {
                let words = if ready.checkpoint.examined { "rules look " } else { "reading quant states " };
                return vec![Span::styled(words, theme.style(Role::Muted))];
            };
            // An adapter by itself is loaded; the rest is of its base.
            let purposes: &[Purpose] = match (&ready.adapter, app.board()) {
                (Some(_), _) => &[Purpose::Load],
                _ => &[Purpose::Load, Purpose::Qlora, Purpose::Merge],
            };
            let mut spans = Vec::new();
            for purpose in purposes {
                let (mut words, mut role) = findings::standing(diagnosis, *purpose);
                let stands_in_way = |board: &Board| board.odd() > 0 || board.unmergeable.is_some();
                if *purpose == Purpose::Merge && role != Role::Error && app.board().is_some_and(stands_in_way)
                {
                    (words, role) = ("merge ✗".into(), Role::Error);
                }
                spans.push(Span::styled(words, theme.style(role)));
                spans.push(Span::raw(if is_wide { "   " } else { " " }));
            }
            if let Some(last) = spans.last_mut() {
                *last = Span::raw(" ");
            }
            spans
        }
    }
}

fn width_of(spans: &[Span<'_>]) -> usize {
    spans.iter().map(|span| span.content.width()).sum()
}

/// Draws the footer: the toast, the filter line, or what can be done now.
pub fn footer(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    if let Some(input) = &app.filter_input {
        let hits = app.ready().and_then(|ready| ready.tree.hits());
        let note = match (&app.toast, hits) {
            (Some(why), _) => why.clone(),
            (None, Some(hits)) => format!("{}   Enter keeps, Esc clears", units::plural(hits, "hit")),
            (None, None) => "words, dtype: format: shape: shard: bits: is:broken, ~fuzzy, -not".into(),
        };
        let typed = input.value().width().clamp(12, usize::from(area.width) / 2);
        let note = cut_middle(&note, usize::from(area.width).saturating_sub(typed + 6)).into_owned();
        let field = usize::from(area.width).saturating_sub(note.width() + 4).max(8);
        let (text, cursor) = field_text(input.value(), input.visual_cursor(), field);
        let line = Line::from(vec![
            Span::styled(" /", theme.style(Role::Key)),
            Span::styled(format!("{text:<field$}"), theme.style(Role::Input)),
            Span::raw(" "),
            Span::styled(note, theme.style(if app.toast.is_some() { Role::Error } else { Role::Muted })),
        ]);
        frame.render_widget(line, area);
        frame.set_cursor_position((area.x + 2 + cursor as u16, area.y));
        return;
    }
    if let Some(toast) = &app.toast {
        let text = cut_middle(&escape(toast), usize::from(area.width).saturating_sub(2)).into_owned();
        return frame
            .render_widget(Line::from(Span::styled(format!(" {text}"), theme.style(Role::Heading))), area);
    }
    frame.render_widget(hints(app, usize::from(area.width), theme), area);
}

/// Returns the end of a text that fits into a field of `width` cells, and the cursor's cell in it.
#[must_use]
pub fn field_text(value: &str, cursor: usize, width: usize) -> (String, usize) {
    let shown = escape(value);
    let skip = cursor.saturating_sub(width.saturating_sub(1));
    let text: String = shown.chars().skip(skip).take(width).collect();
    (text, cursor - skip)
}

fn hints(app: &App, width: usize, theme: &Theme) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    if let Some(fixed) = overlay_hints(app).or_else(|| form_hints(app)) {
        spans.push(Span::styled(fixed, theme.style(Role::Muted)));
        return Line::from(spans);
    }
    let commands = app.footer();
    let cells = |command: &Command| key_name(command, app).width() + command.words(app).width() + 3;
    // Help and quit, the last two, are never crowded out.
    let kept = commands.len().saturating_sub(2);
    let reserved: usize = commands[kept..].iter().map(|command| cells(command)).sum();
    for (index, command) in commands.iter().enumerate() {
        let key = key_name(command, app);
        let is_ready = (command.ready)(app).is_ok();
        let text = format!(" {}  ", command.words(app));
        let room = if index < kept { width.saturating_sub(reserved) } else { width + 2 };
        if used + key.width() + text.width() > room {
            continue;
        }
        used += key.width() + text.width();
        spans.push(Span::styled(key, theme.style(if is_ready { Role::Key } else { Role::Muted })));
        spans.push(Span::styled(text, theme.style(if is_ready { Role::Text } else { Role::Muted })));
    }
    Line::from(spans)
}

fn overlay_hints(app: &App) -> Option<&'static str> {
    Some(match app.overlay.as_ref()? {
        Overlay::Help(..) => "type to filter   ↑↓ scroll   ? or Esc close",
        Overlay::Palette(..) => "type to search   ↑↓ choose   Enter run   Esc close",
        Overlay::SortMenu(_) | Overlay::OrderMenu(_) | Overlay::NormOrderMenu(_) => {
            "j k choose   Enter sort   Esc close"
        }
        Overlay::Matrix(_) => "j k row   PgDn PgUp page   Esc close",
        Overlay::Error if app.error.is_in_answer && app.fixes_of_error().is_none() => {
            "j k scroll   Tab text   y copy   Ctrl-u clear   Esc close (kept)"
        }
        Overlay::Error if app.error.is_in_answer => {
            "Enter plan of the fix   j k fix   Tab text   Ctrl-u clear   Esc close (kept)"
        }
        Overlay::Error => "paste or type   Tab answer   PgUp PgDn scroll   Ctrl-u clear   Esc close (kept)",
        Overlay::StatesMenu(_) | Overlay::PurposeMenu(_) | Overlay::PartMenu(_) | Overlay::ShowMenu(_) => {
            "j k choose   Enter show   Esc close"
        }
        Overlay::Picture(_) | Overlay::Export(_) => "type the name of a new file   Enter make it   Esc close",
        Overlay::Log => "Esc close",
        Overlay::Ask(Question::Cancel(_)) => "Enter cancel the job   Esc let it run",
        Overlay::Ask(Question::Quit) => "q cancel the job and quit   Esc stay",
        Overlay::Picker(_) if app.opens.is_empty() => {
            "Enter open   ↑↓ choose   type to filter, or a path   Tab complete   q quit"
        }
        Overlay::Picker(picker) if picker.purpose == Picking::Compare => {
            "Enter compare with it   ↑↓ choose   Tab complete, then names   Esc back"
        }
        Overlay::Picker(picker) if picker.purpose == Picking::Base => {
            "Enter open it as the base   ↑↓ choose   type to filter, or a path   Esc back"
        }
        Overlay::Picker(picker) if picker.purpose == Picking::Merge => {
            "Enter merge it too   ↑↓ choose   type to filter, or a path   Tab complete   Esc back"
        }
        Overlay::Picker(picker) if picker.purpose == Picking::Attach => {
            "Enter attach   ↑↓ choose   type to filter, or a path   Tab complete   Esc back"
        }
        Overlay::Picker(_) => "Enter open   ↑↓ choose   type to filter, or a path   Tab complete   Esc back",
    })
}

fn form_hints(app: &App) -> Option<&'static str> {
    let form = app.form()?;
    Some(match form.field().kind {
        Kind::Button(_) if form.task == Task::Repair && form.startable().is_err() && !form.is_planning() => {
            "↑↓ list, fields   PgDn page   Y copy command   Esc back (kept)"
        }
        Kind::Button(_) if form.task == Task::Repair => {
            "Enter start   ↑↓ list, fields   PgDn page   Y copy command   Esc back (kept)"
        }
        Kind::Button(_) if form.takes_adapters() => {
            "Enter start   ↑↓ field   a another adapter   Y copy command   Esc back (kept)"
        }
        Kind::Wish { .. } => "type a number   Enter next   Ctrl-u clear   ↑↓ field   Esc back (kept)",
        Kind::Scale(_) => "type a number   a another adapter   x take it out   ↑↓ field   Esc back (kept)",
        Kind::Folder => "type a path   Enter next   Ctrl-u clear   ↑↓ field   Esc back (kept)",
        Kind::Globs { .. } => "type names   Enter next   Ctrl-u clear   ↑↓ field   Esc back (kept)",
        Kind::Button(_) => "Enter start   ↑↓ field   Y copy command   PgDn plan   Esc back (values kept)",
        Kind::Choice(_) => "←→ change   Enter next   ↑↓ field   Y copy command   Esc back (values kept)",
    })
}

/// Returns how the first key that runs a command is written on screen.
#[must_use]
pub fn key_name(command: &Command, app: &App) -> String {
    let own = keys_of(&app.keymap, command);
    // What has no key of its own is run by that of another command, where it stands in for that.
    let other = COMMANDS.iter().find(|other| !command.via.is_empty() && other.name == command.via);
    let of_other = other.map(|other| keys_of(&app.keymap, other)).unwrap_or_default();
    pretty(own.first().or(of_other.first()).copied().unwrap_or("-"))
}

/// Returns a key as people write it: `Enter`, `Ctrl-d`, `PgDn`.
#[must_use]
pub fn pretty(key: &str) -> String {
    match key {
        "enter" => "Enter".into(),
        "esc" => "Esc".into(),
        "tab" => "Tab".into(),
        "backtab" => "Shift-Tab".into(),
        "space" => "Space".into(),
        "up" => "↑".into(),
        "down" => "↓".into(),
        "left" => "←".into(),
        "right" => "→".into(),
        "home" => "Home".into(),
        "end" => "End".into(),
        "pgup" => "PgUp".into(),
        "pgdn" => "PgDn".into(),
        "f1" => "F1".into(),
        key => key.strip_prefix("ctrl-").map_or_else(|| key.to_owned(), |rest| format!("Ctrl-{rest}")),
    }
}
