//! C023 adapter-tokenizer-differs: the adapter was trained with another tokenizer than the base has.

use super::{added_tokens, embedding_rows, end_token};
use crate::checkpoint::files::Files;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::name::{cut_middle, escape};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "C023", name: "adapter-tokenizer-differs", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Merge, Purpose::Vllm],
    is_silent: true,
    looks_for: "tokenizer_config.json of an attached adapter against that of its base: end of text, chat \
                template, added tokens.",
    why: "An adapter learns with the tokenizer it was trained with. With that of the base, or merged into a \
          folder that keeps it, the prompt looks otherwise than in training or the answer does not end: the \
          model talks nonsense and no loader says a word.",
    remedy: "Use the tokenizer files of the adapter with the merged model; if it added tokens, resize the \
             embeddings first.",
    sources: "unsloth#1804 #3444 #219 #188, peft#1035",
    look,
    ..Rule::new(&KIND)
};

const FILE: &str = "tokenizer_config.json";

fn template(files: &Files) -> Option<&str> {
    files.configs.get(FILE)?.get("chat_template")?.as_str()
}

/// Says how the adapter's tokenizer differs from the base's, with the places.
fn differences(subject: &Subject<'_>, adapter: &AdapterView<'_>) -> Vec<(String, Seen)> {
    let (own, base) = (&adapter.checkpoint.files, subject.files());
    let mut found = Vec::new();
    if let (Some(own), Some(base)) = (end_token(own), end_token(base))
        && own != base
    {
        let words = format!("it ends a text with {}, the base with {}", escape(own), escape(base));
        found.push((words, Seen::config(FILE, "eos_token", own)));
    }
    if let (Some(own), Some(base)) = (template(own), template(base))
        && own != base
    {
        let (own, base) = (own.len(), base.len());
        let words = format!("its chat template is another one ({own} bytes, the base's {base})");
        found.push((words, Seen::config(FILE, "chat_template", format!("{own} bytes"))));
    }
    let highest = added_tokens(own).into_iter().max();
    if let (Some((id, text)), Some((rows, _))) = (highest, embedding_rows(subject))
        && id >= rows
    {
        let text = cut_middle(&text, 40).into_owned();
        let rows = units::exact(rows);
        let words =
            format!("its token {} has id {id}, the base's embeddings have {rows} rows", escape(&text));
        found.push((words, Seen::config(FILE, "added_tokens_decoder", format!("highest id {id}"))));
    }
    found
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let attached = subject.adapters().filter(|adapter| adapter.held.is_some());
    let finding = |adapter: AdapterView<'_>| {
        let found = differences(subject, &adapter);
        let words: Vec<&str> = found.iter().map(|(words, _)| words.as_str()).collect();
        let title = format!("The adapter has another tokenizer: {}.", words.join("; "));
        let finding = Finding::new(rule, title).about(adapter.about);
        (!found.is_empty()).then(|| found.iter().map(|(_, seen)| seen.clone()).fold(finding, Finding::seen))
    };
    attached.filter_map(finding).collect()
}
