//! The row under the cursor: its keys as found and as needed, why that is so, and what a repair would do.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use crate::adapter::align::{Aligned, Repair, State};
use crate::adapter::board::{is_fine, ranges};
use crate::app::board::{Board, Row};
use crate::name::{cut_middle, escape};
use crate::ui::command_line;
use crate::ui::pane::wrap;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of the words before the lines of a small pane.
const LABEL: usize = 8;
/// Modules of a fold that are named.
const NAMED_MAX: usize = 200;

/// How the lines are written.
struct Page<'a> {
    board: &'a Board,
    width: usize,
    is_brief: bool,
    theme: &'a Theme,
    lines: Vec<Line<'static>>,
}

/// Returns the title and the lines of the row under the cursor; `repair` is the command that repairs.
pub(super) fn lines(
    board: &Board,
    repair: &str,
    width: usize,
    is_brief: bool,
    theme: &Theme,
) -> (String, Vec<Line<'static>>) {
    let mut page = Page { board, width, is_brief, theme, lines: Vec::new() };
    let title = match board.row() {
        None | Some(Row::Rule) => String::new(),
        Some(Row::Problem(at)) => page.problem(at),
        Some(Row::Unused(tensor)) => page.unused(tensor),
        Some(Row::Untouched(at)) => page.untouched(at),
        Some(Row::Fold(fold)) => page.fold(fold),
        Some(row) => board.module_of(row).map_or_else(String::new, |module| page.module(module, repair)),
    };
    (title, page.lines)
}

impl Page<'_> {
    /// A paragraph below a heading, or beside it where there is little room.
    fn say(&mut self, heading: &str, words: &str, role: Role) {
        let indent = if self.is_brief { LABEL } else { 2 };
        if !self.is_brief {
            self.head(heading);
        }
        let wrapped = wrap(words, self.width.saturating_sub(indent));
        for (at, line) in wrapped.into_iter().enumerate() {
            let label = if self.is_brief && at == 0 { heading } else { "" };
            self.lines.push(Line::from(vec![
                Span::styled(format!("{label:<indent$}"), self.theme.style(Role::Muted)),
                Span::styled(line, self.theme.style(role)),
            ]));
        }
    }

    fn head(&mut self, words: &str) {
        self.lines.push(Line::from(Span::styled(words.to_owned(), self.theme.style(Role::Heading))));
    }

    /// A key, and what stands beside it at the right.
    fn key(&mut self, label: &str, key: &str, beside: &str, role: Role) {
        let indent = if self.is_brief { LABEL } else { 2 };
        let label = if self.is_brief { label } else { "" };
        let room = self.width.saturating_sub(indent + beside.width() + 2);
        let key = cut_middle(&escape(key), room).into_owned();
        let pad = if beside.is_empty() { 0 } else { (room + 2).saturating_sub(key.width()) };
        self.lines.push(Line::from(vec![
            Span::styled(format!("{label:<indent$}"), self.theme.style(Role::Muted)),
            Span::styled(key, self.theme.style(role)),
            Span::raw(" ".repeat(pad)),
            Span::styled(beside.to_owned(), self.theme.style(Role::Muted)),
        ]));
    }

    fn module(&mut self, module: &Aligned, repair: &str) -> String {
        let files = &self.board.held.adapter.files;
        let file = files.shards.first().map(|shard| escape(&shard.name).into_owned()).unwrap_or_default();
        if !self.is_brief {
            self.head(&format!("keys in {file}"));
        }
        // Where there is little room the first key stands for all of the module.
        let shown = if self.is_brief { 1 } else { module.parts.len() };
        for part in module.parts.iter().take(shown) {
            let record = &files.tensors[part.tensor as usize];
            let turned = if part.is_transposed { "  transposed" } else { "" };
            let beside = format!("{}  {}{turned}", record.dtype.name(), units::shape(files.shape(record)));
            self.key("has", &files.tensor_name(part.tensor), &beside, Role::Text);
        }
        let renames: Vec<&str> = module.parts.iter().filter_map(|part| part.rename.as_deref()).collect();
        if !renames.is_empty() && !self.is_brief {
            self.head("keys that PEFT looks for");
        }
        for rename in renames.iter().take(shown) {
            self.key("needs", rename, "", Role::Repair);
        }
        let role = match module.repair {
            Repair::No(_) => Role::Error,
            _ if is_fine(module) => Role::Text,
            _ => Role::Warn,
        };
        let mut why = escape(&module.evidence).into_owned();
        if module.has_nan {
            why = format!("{why}; some of its values are NaN");
        }
        if module.zero_delta {
            why = format!("{why}; a factor is all zero, so it changes nothing");
        }
        self.say("why", if why.is_empty() { "keys and shapes fit" } else { &why }, role);
        if let Some(words) = upstream(module).filter(|_| !self.is_brief) {
            self.say("what happens upstream", words, Role::Text);
        }
        self.repair(module, renames.len(), repair);
        if is_fine(module) && !self.is_brief {
            self.lands(module);
        }
        if let Some(words) = self.board.weighed.of(&module.name) {
            self.say("changes", &words, Role::Adapter);
        }
        format!("{}: {}", escape(&module.path), module.state.name())
    }

    fn repair(&mut self, module: &Aligned, renames: usize, command: &str) {
        let how = if self.is_brief {
            "r lists all changes."
        } else {
            "r lists all that a repair changes, and writes a new folder."
        };
        let words = match &module.repair {
            Repair::Nothing => return,
            Repair::No(why) if *why == module.evidence => "not possible".into(),
            Repair::Rename => {
                format!("rename {}; the values stay as they are. {how}", units::plural(renames, "key"))
            }
            Repair::Config => format!("correct adapter_config.json; the tensors stay as they are. {how}"),
            Repair::No(why) => format!("not possible: {}", escape(why)),
        };
        let is_possible = !matches!(module.repair, Repair::No(_));
        self.say("repair", &words, if is_possible { Role::Repair } else { Role::Text });
        if is_possible && !self.is_brief {
            let lines = command_line::lines(command, self.width.saturating_sub(2), self.theme);
            self.lines.extend(lines.into_iter().map(|mut line| {
                line.spans.insert(0, Span::raw("  "));
                line
            }));
        }
    }

    /// How a module that fits is added.
    fn lands(&mut self, module: &Aligned) {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value}"));
        let rank = module.rank.map_or_else(|| "-".into(), |rank| rank.to_string());
        let mut words = format!(
            "{}  rank {rank}  alpha {}  scaling {}",
            module.method,
            number(module.alpha),
            number(module.scaling)
        );
        if module.is_transposed {
            words.push_str("  added transposed");
        }
        if module.is_tied {
            words.push_str("  tied: it changes embeddings and head");
        }
        self.say(if self.is_brief { "adds" } else { "how it is added" }, &words, Role::Adapter);
    }

    fn fold(&mut self, fold: u32) -> String {
        let Some(found) = self.board.folds.get(fold as usize) else { return String::new() };
        let (stack, tail) = &found.kind;
        let count = units::plural(found.modules.len(), "module");
        let Some(module) = found.modules.first().map(|&at| self.board.module(at)) else {
            return String::new();
        };
        self.say("fits", &format!("{count} alike, keys and shapes fit. Enter unfolds them."), Role::Ok);
        self.lands(module);
        let modules = found.modules.iter().map(|&at| &*self.board.module(at).name);
        if let Some(words) = self.board.weighed.of_all(modules) {
            self.say("changes", &words, Role::Adapter);
        }
        if !self.is_brief {
            self.head("modules");
            for &at in found.modules.iter().take(NAMED_MAX) {
                let name = self.board.module(at).name.clone();
                self.key("", &name, "", Role::Muted);
            }
        }
        format!("{} {}  {}: {}", escape(stack), ranges(&found.numbers), escape(tail), module.state.name())
    }

    fn unused(&mut self, tensor: u32) -> String {
        let files = &self.board.held.adapter.files;
        let record = &files.tensors[tensor as usize];
        let name = files.tensor_name(tensor);
        let beside = format!("{}  {}", record.dtype.name(), units::shape(files.shape(record)));
        self.key("has", &name, &beside, Role::Text);
        self.say(
            "why",
            "No module of an adapter has a tensor of this name: PEFT does not use it.",
            Role::Text,
        );
        "unused tensor".into()
    }

    fn untouched(&mut self, at: u32) -> String {
        let name = self.board.held.alignment.untouched.get(at as usize).cloned().unwrap_or_default();
        self.key("target", &name, "", Role::Text);
        self.say(
            "why",
            "target_modules of the config names it, and the adapter has no tensors for it.",
            Role::Text,
        );
        "untouched target".into()
    }

    fn problem(&mut self, at: u32) -> String {
        let Some(problem) = self.board.held.problems.get(at as usize) else { return String::new() };
        let role = if problem.is_error() { Role::Error } else { Role::Warn };
        self.say("seen", &escape(&problem.message), role);
        if let Some(file) = &problem.file {
            self.key("file", file, "", Role::Path);
        }
        if let Some(tensor) = &problem.tensor {
            self.key("tensor", tensor, "", Role::Text);
        }
        format!("{} {}", problem.kind.code, problem.kind.name)
    }
}

/// What PEFT does with a module that does not fit, where that is known.
fn upstream(module: &Aligned) -> Option<&'static str> {
    match module.state {
        _ if module.is_applied => None,
        State::Wrapped | State::Renamed => Some(
            "PEFT warns \"Found missing adapter keys while loading the checkpoint\" and goes on: this module would \
             change nothing.",
        ),
        State::Shape | State::Padded => Some("PEFT stops: size mismatch, and this module's name."),
        State::Dropped => Some("PEFT drops it and says nothing."),
        _ => None,
    }
}
