//! `ckpt explain CODE`: what a rule looks for, why it matters, what upstream says, what helps. Printed from the rule.

use std::io::Write;

use super::{DONE, stdout_error};
use crate::diagnose::{self, Purpose, RULES, Rule};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::ui::pane::wrap;

/// Cells of a line of running text.
const WIDTH: usize = 96;

/// Runs the command.
///
/// # Errors
/// No rule has this code or name, or stdout fails.
pub fn run(code: Option<&str>, is_markdown: bool, out: &mut dyn Write) -> Result<u8> {
    let text = match code {
        Some(code) => text(find(code)?),
        None if is_markdown => markdown(),
        None => table(),
    };
    out.write_all(text.as_bytes()).map_err(|e| stdout_error(&e))?;
    Ok(DONE)
}

fn find(code: &str) -> Result<&'static Rule> {
    diagnose::find(code).ok_or_else(|| {
        let near: Vec<String> = diagnose::nearest(code).iter().map(|rule| format!("{rule:?}")).collect();
        let near = if near.is_empty() { String::new() } else { format!("; nearest: {}", near.join(", ")) };
        Error::input(format!("explain {}: no rule has this code or name{near}", escape(code)))
    })
}

/// Returns every rule, sorted by its code.
fn sorted() -> Vec<&'static Rule> {
    let mut rules = RULES.to_vec();
    rules.sort_by_key(|rule| rule.code());
    rules
}

/// Returns a line for each rule.
fn table() -> String {
    let line = |rule: &&Rule| {
        let silent = if rule.is_silent { "  silent" } else { "" };
        format!(
            "{}  {:<34} {:<8} {}{silent}\n",
            rule.code(),
            rule.kind.name,
            rule.kind.severity.name(),
            purposes(rule)
        )
    };
    sorted().iter().map(line).collect()
}

/// Returns the table of all codes as Markdown: `src/diagnose/CODES.md`, which a test holds against this.
#[must_use]
pub fn markdown() -> String {
    let head = ["| code | name | severity | matters for | what it looks for |", "|---|---|---|---|---|"];
    let line = |rule: &Rule| {
        let silent = if rule.is_silent { "**Silent.** " } else { "" };
        let outside = if rule.is_outside { "*Known by its message.* " } else { "" };
        let looks = rule.looks_for.replace('|', "\\|");
        let (code, name, severity) = (rule.code(), rule.kind.name, rule.kind.severity.name());
        format!("| {code} | {name} | {severity} | {} | {silent}{outside}{looks} |", purposes(rule))
    };
    let lines: Vec<String> =
        head.into_iter().map(str::to_owned).chain(sorted().into_iter().map(line)).collect();
    format!("{}\n", lines.join("\n"))
}

/// Returns for what a rule matters, in one word or a few.
fn purposes(rule: &Rule) -> String {
    if rule.purposes.len() == Purpose::ALL.len() {
        return "everything".into();
    }
    rule.purposes.iter().map(|purpose| purpose.name()).collect::<Vec<_>>().join(", ")
}

/// Returns all that a rule says, as plain text.
#[must_use]
pub fn text(rule: &Rule) -> String {
    let mut lines = vec![format!("{rule:?}"), scope(rule)];
    part(&mut lines, "what it looks for", rule.looks_for);
    part(&mut lines, "why it matters", rule.why);
    if !rule.messages.is_empty() {
        lines.extend([String::new(), "what upstream says".to_owned()]);
        for message in rule.messages {
            lines.push(format!("  {}", message.text));
            lines.push(format!("      {}", message.seen_in));
        }
    }
    part(&mut lines, "where else these messages come from", rule.outside);
    part(&mut lines, "what helps", rule.remedy);
    part(&mut lines, "sources", rule.sources);
    lines.push(String::new());
    lines.join("\n")
}

/// Adds a titled part of running text, if there is any.
fn part(lines: &mut Vec<String>, title: &str, body: &str) {
    if !body.is_empty() {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(wrap(body, WIDTH).into_iter().map(|line| format!("  {line}")));
    }
}

/// Returns how bad it is and for what, in one line.
fn scope(rule: &Rule) -> String {
    let mut text = format!("{} for {}", rule.kind.severity.name(), purposes(rule));
    if !rule.milder.is_empty() {
        let milder: Vec<&str> = rule.milder.iter().map(|purpose| purpose.name()).collect();
        text = format!("{text}; only a warning for {}", milder.join(", "));
    }
    if rule.is_silent {
        text.push_str("; silent: no loader says it");
    }
    if rule.is_outside {
        text.push_str("; known by its message alone, no file shows it");
    }
    text
}
