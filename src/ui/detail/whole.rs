//! The whole checkpoint: what it is, its config, formats, files and metadata.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::{LIST_MAX, Page};
use crate::container::Value;
use crate::name::{cut_middle, escape};
use crate::ui::adapter::base_words;
use crate::ui::theme::Role;
use crate::units;

impl Page<'_> {
    /// What the model's config says of its sizes.
    fn config(&self) -> Vec<Line<'static>> {
        const SIZES: [(&str, &str); 8] = [
            ("num_hidden_layers", "layers"),
            ("hidden_size", "hidden"),
            ("intermediate_size", "mlp"),
            ("num_attention_heads", "heads"),
            ("num_key_value_heads", "kv heads"),
            ("num_local_experts", "experts"),
            ("vocab_size", "vocab"),
            ("max_position_embeddings", "context"),
        ];
        let configs = &self.ready.files().configs;
        let sizes = SIZES.iter().filter_map(|(key, word)| Some((*word, configs.model_int(key)?)));
        let sizes: Vec<String> =
            sizes.map(|(word, value)| format!("{word} {}", units::exact(value))).collect();
        let mut lines = Vec::new();
        if !sizes.is_empty() {
            lines.extend(self.fact("config", sizes.join("  "), Role::Text));
        }
        for block in &configs.quant.blocks {
            let gap = if block.key.is_empty() { "" } else { " " };
            let method = block.method.as_deref().unwrap_or("no method named");
            let words = format!("{method}, by {}{gap}{}", block.file, block.key);
            lines.extend(self.fact("quant", escape(&words).into_owned(), Role::Text));
        }
        lines
    }

    pub(super) fn whole_file(&self) -> Vec<Line<'static>> {
        let (checkpoint, files, summary) = (&self.ready.checkpoint, self.ready.files(), &self.ready.summary);
        let mut lines = vec![self.heading("whole checkpoint")];
        let architecture = checkpoint.architecture().unwrap_or("not known");
        lines.extend(self.fact(
            "what",
            format!("{}, {}", checkpoint.kind.name(), files.container.name()),
            Role::Text,
        ));
        lines.extend(self.fact("model", escape(architecture).into_owned(), Role::Text));
        lines.extend(self.base());
        lines.extend(self.fact(
            "weights",
            format!("{} params   {}", units::exact(summary.parameters), units::bytes(summary.bytes)),
            Role::Text,
        ));
        let mut bits = format!("{:.2} whole file", summary.bits_per_weight_file);
        if summary.formats.iter().any(|sum| sum.is_quantized) {
            bits = format!("{:.2} quantized   {bits}", summary.bits_per_weight);
        }
        lines.extend(self.fact("bit/w", bits, Role::Text));
        lines.extend(self.config());
        lines.extend(self.fact("path", escape(&files.path.display().to_string()).into_owned(), Role::Path));
        lines.push(Line::default());
        lines.push(self.heading("formats"));
        lines.extend(self.formats(&summary.formats));
        lines.push(Line::default());
        lines.push(self.heading("files"));
        lines.extend(self.files_list());
        lines.extend(self.metadata());
        lines
    }

    /// The base of an adapter: what the config names, and whether it is here.
    fn base(&self) -> Vec<Line<'static>> {
        let Some(adapter) = &self.ready.adapter else { return Vec::new() };
        let named = escape(adapter.base.as_deref().unwrap_or("not named"));
        let named = cut_middle(&named, self.width * 3).into_owned();
        let mut lines = self.fact("base", named, Role::Path);
        let words = base_words(self.ready.base.as_ref());
        // Where it was looked for is said on the tab of the adapter.
        let is_list = words.len() > 2;
        for (words, role) in words.into_iter().filter(|(words, _)| !is_list || !words.starts_with(' ')) {
            lines.extend(self.fact("", words.trim_end_matches("; looked for").to_owned(), role));
        }
        lines
    }

    fn files_list(&self) -> Vec<Line<'static>> {
        let files = self.ready.files();
        let room = self.width.saturating_sub(26).max(12);
        let mut lines: Vec<Line<'static>> = Vec::new();
        for shard in files.shards.iter().take(LIST_MAX) {
            let name = cut_middle(&escape(&shard.name), room).into_owned();
            let role = if shard.unreadable { Role::Error } else { Role::Path };
            lines.push(Line::from(vec![
                self.style(format!("  {name:<room$}"), role),
                self.style(format!("{:>9}", units::bytes(shard.bytes)), Role::Number),
                self.style(format!(" {:>13}", units::plural(shard.tensors as usize, "tensor")), Role::Muted),
            ]));
        }
        for (name, bytes) in files.others.iter().take(LIST_MAX) {
            let name = cut_middle(&escape(name), room).into_owned();
            lines.push(Line::from(vec![
                self.style(format!("  {name:<room$}"), Role::Muted),
                self.style(format!("{:>9}", units::bytes(*bytes)), Role::Muted),
            ]));
        }
        let left = files.shards.len().saturating_sub(LIST_MAX) + files.others.len().saturating_sub(LIST_MAX);
        if left > 0 {
            lines.push(Line::from(self.style(format!("  {left} more"), Role::Muted)));
        }
        lines
    }

    fn metadata(&self) -> Vec<Line<'static>> {
        let Some(shard) = self.ready.files().shards.iter().find(|s| !s.metadata.is_empty()) else {
            return Vec::new();
        };
        let mut lines = vec![Line::default(), self.heading("metadata")];
        for (key, value) in shard.metadata.iter().take(LIST_MAX) {
            let key = cut_middle(&escape(key), 30).into_owned();
            let room = self.width.saturating_sub(key.width() + 4).max(8);
            let value = value_words(value);
            lines.push(Line::from(vec![
                self.style(format!("  {key}  "), Role::Path),
                Span::raw(cut_middle(&escape(&value), room).into_owned()),
            ]));
        }
        if shard.metadata.len() > LIST_MAX {
            lines.push(Line::from(
                self.style(format!("  {} more", shard.metadata.len() - LIST_MAX), Role::Muted),
            ));
        }
        lines
    }
}

/// Returns a metadata value in one line.
fn value_words(value: &Value) -> String {
    match value {
        // A chat template has kilobytes: its beginning is enough for one line.
        Value::Text(text) => text.chars().take(200).collect::<String>().replace('\n', "⏎"),
        Value::Int(i) => i.to_string(),
        Value::Unsigned(u) => u.to_string(),
        Value::Float(f) => format!("{f}"),
        Value::Bool(b) => b.to_string(),
        Value::Array { element, len, first } => {
            let first: Vec<String> = first.iter().take(4).map(value_words).collect();
            format!("{} × {element}: {}…", units::exact(*len), first.join(", "))
        }
    }
}
