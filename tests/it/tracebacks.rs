//! Pasted texts against the messages of the rules: whole tracebacks as users paste them, wrapped, colored, cut off.
//!
//! `tracebacks/Q001-cut-off.txt` must be recognized as a message of Q001, `K002+K003-….txt` as one that both know,
//! `unknown-….txt` as none that is known.

use std::path::{Path, PathBuf};

use ckpt::diagnose::RULES;
use ckpt::diagnose::message::template::Template;
use ckpt::diagnose::message::text::Text;
use ckpt::diagnose::message::{Answer, Verdict, explain};

/// Returns the texts with the codes that their names say.
fn texts() -> Vec<(PathBuf, Vec<String>, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tracebacks");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let codes = stem.split('-').next().unwrap().split('+').map(str::to_owned).collect();
        let text = std::fs::read_to_string(&path).unwrap();
        (path, codes, text)
    };
    files.into_iter().map(read).collect()
}

fn what(answer: &Answer) -> String {
    let said = answer.matched.as_ref().map_or("nothing", |matched| matched.message.text);
    format!("{:?}: {said}", answer.codes())
}

#[test]
fn every_pasted_text_is_recognized() {
    let texts = texts();
    let mut wrong = Vec::new();
    for (path, codes, text) in &texts {
        let answer = explain(text, None);
        let name = path.file_name().unwrap().to_string_lossy();
        let is_right = if codes == &["unknown"] {
            answer.verdict == Verdict::Unknown
        } else {
            answer.verdict == Verdict::NotShown
                && codes.iter().all(|code| answer.codes().contains(&code.as_str()))
        };
        if !is_right {
            wrong.push(format!("{name}: {}", what(&answer)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), texts.len(), wrong.join("\n"));
}

#[test]
fn wrapping_colors_and_prefixes_change_nothing() {
    for (path, codes, text) in texts() {
        if codes == ["unknown"] {
            continue;
        }
        let wrap = |width: usize| {
            let mut wrapped = String::new();
            for line in text.lines() {
                let chars: Vec<char> = line.chars().collect();
                for part in chars.chunks(width) {
                    wrapped.extend(part);
                    wrapped.push('\n');
                }
            }
            wrapped
        };
        let each = |change: &dyn Fn(&str) -> String| text.lines().map(change).collect::<Vec<_>>().join("\n");
        let changed = [
            wrap(79),
            wrap(40),
            each(&|line| format!("\u{1b}[31m{line}\u{1b}[0m")),
            each(&|line| format!("[rank0]: {line}")),
            each(&|line| format!("  41 | {line}")),
            each(&|line| format!("2026-11-21T10:00:00.123Z {line}")),
            each(&|line| format!("│ {line} │")),
            text.replace('\n', "\r\n"),
        ];
        for (number, changed) in changed.iter().enumerate() {
            let answer = explain(changed, None);
            let has = codes.iter().all(|code| answer.codes().contains(&code.as_str()));
            assert!(has, "{} changed by {number}: {}", path.display(), what(&answer));
        }
    }
}

#[test]
fn a_message_with_other_words_is_not_taken_for_it() {
    for (path, codes, text) in texts() {
        // Another letter for every third one: what is left has the form of a traceback and none of its words.
        let mut count = 0;
        let mutated: String = text
            .chars()
            .map(|c| {
                count += usize::from(c.is_alphabetic());
                if c.is_alphabetic() && count % 3 == 0 { 'j' } else { c }
            })
            .collect();
        let answer = explain(&mutated, None);
        assert_eq!(answer.verdict, Verdict::Unknown, "{} {codes:?}: {}", path.display(), what(&answer));
    }
}

#[test]
fn every_wording_of_every_rule_stands_in_a_pasted_text() {
    let texts: Vec<Text> = texts().iter().map(|(.., text)| Text::new(text)).collect();
    let mut without = Vec::new();
    for rule in RULES {
        for message in rule.messages {
            let template = Template::new(message.text);
            if !texts.iter().any(|text| !template.find(text).is_empty()) {
                without.push(format!("{}|{}|{}", rule.code(), message.seen_in, message.text));
            }
        }
    }
    assert!(without.is_empty(), "{}:\n{}", without.len(), without.join("\n"));
}
