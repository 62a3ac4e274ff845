//! K026 metadata-format: a safetensors file that does not say for which framework it was saved.

use super::{is_safetensors, written_anew};
use crate::container::Value;
use crate::diagnose::finding::{Finding, Fix, SEEN_MAX, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::kind;
use crate::units;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "safetensors files without `format` in `__metadata__`, or with another word than pt, tf, flax \
                or mlx.",
    why: "transformers before 4.50 looks there for the framework: without `__metadata__` it stops with an \
          AttributeError, and up to 4.57 an unknown word is a ValueError. Version 5 ignores it, and other \
          loaders that index it stop.",
    messages: &[
        message("'NoneType' object has no attribute 'get'", "transformers up to 4.46"),
        message(
            "The safetensors archive passed at {file} does not contain the valid metadata. Make sure you \
             save your model with the `save_pretrained` method.",
            "transformers up to 4.57",
        ),
        message(
            "Incompatible safetensors file. File metadata is not ['pt', 'tf', 'flax', 'mlx'] but {any}",
            "transformers up to 4.57",
        ),
        message("KeyError: 'format'", "fastsafetensors and other fast loaders"),
    ],
    outside: "`'NoneType' object has no attribute 'get'` is a message of any Python code; it is this rule \
              only where the traceback ends in `load_state_dict` or `metadata.get(\"format\")`.",
    remedy: "Write the files anew with `{\"format\": \"pt\"}`. The tensors stay as they are.",
    sources: "LlamaFactory#1988 #6803, mlx#743, safetensors#549, fastsafetensors#89 #96; measured on 4.37, \
              4.46, 4.57, 5.23",
    look,
    fixes,
    ..Rule::new(&kind::METADATA_FORMAT)
};

/// Words that transformers 4 takes.
const KNOWN: [&str; 4] = ["pt", "tf", "flax", "mlx"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let files = subject.files();
    let is_damaged = subject.has_problem(&[&kind::HEADER_DAMAGED, &kind::HEADER_LENGTH]);
    if !is_safetensors(subject) || files.tensors.is_empty() || is_damaged {
        return Vec::new();
    }
    let format = |shard: &crate::checkpoint::files::Shard| {
        let found = shard.metadata.iter().find(|(key, _)| key == "format");
        found.and_then(|(_, value)| Value::as_str(value)).map(str::to_owned)
    };
    let readable = files.shards.iter().filter(|shard| !shard.unreadable && shard.tensors > 0);
    let odd: Vec<(&str, Option<String>)> = readable
        .map(|shard| (shard.name.as_str(), format(shard)))
        .filter(|(_, format)| !format.as_deref().is_some_and(|word| KNOWN.contains(&word)))
        .collect();
    let Some((first, word)) = odd.first() else { return Vec::new() };
    let what = |word: &Option<String>| match word {
        Some(word) => format!("the metadata's format is {}", escape(word)),
        None => "no format in the metadata".to_owned(),
    };
    let more = match odd.len() {
        1 => String::new(),
        count => format!(" ({} in all)", units::plural(count, "file")),
    };
    let title = format!("{}: {}{more}; transformers before version 5 wants pt.", escape(first), what(word));
    let mut finding = Finding::new(rule, title).fill("file", *first);
    for (file, word) in odd.iter().take(SEEN_MAX) {
        finding = finding.seen(Seen {
            key: Some("__metadata__.format".into()),
            ..Seen::file(*file, word.clone().unwrap_or_else(|| "absent".into()))
        });
    }
    vec![finding]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    written_anew(subject, "write the files anew with {\"format\": \"pt\"} in their metadata")
        .into_iter()
        .collect()
}
