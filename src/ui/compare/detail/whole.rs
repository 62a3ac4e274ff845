//! What is said once, on the first row of the tree: how names were matched, what only one side has.

use ratatui::text::Line;

use super::{LIST_MAX, Page, without_name};
use crate::app::compare::Stage;
use crate::name::escape;
use crate::stats::matched::Side;
use crate::ui::theme::Role;
use crate::units;

impl Page<'_> {
    /// What is said once, on the first row: how names were matched, what only one side has, why some have no values.
    pub(super) fn whole(&self) -> Vec<Line<'static>> {
        let Some(facts) = &self.compare.facts else { return Vec::new() };
        let matched = &facts.matched;
        let mut lines = Vec::new();
        if let Stage::Stopped(why) = &self.compare.stage {
            let words = why
                .as_ref()
                .map_or_else(|| "stopped before all were compared".into(), |why| format!("ended: {why}"));
            lines.push(Line::default());
            lines.extend(self.words(&escape(&words), Role::Warn));
        }
        if !matched.notes.is_empty() {
            lines.extend([Line::default(), self.line("names", Role::Heading)]);
        }
        for note in &matched.notes {
            lines.extend(self.words(note, Role::Warn));
        }
        if let Some((side, prefix)) = self.compare.strippable() {
            let words = format!("Enter matches again without {} in {}", escape(prefix), side.name());
            lines.extend(self.words(&words, Role::Key));
        }
        for (side, only) in [(Side::A, &matched.only_a), (Side::B, &matched.only_b)] {
            if only.is_empty() {
                continue;
            }
            let of = &facts.of[side as usize];
            let count = units::exact(only.len() as u64);
            lines.extend([
                Line::default(),
                self.line(&format!("only in {}: {count}", side.name()), Role::Heading),
            ]);
            for layer in only.iter().take(LIST_MAX) {
                let name = of.layers.name(&of.files.names, *layer);
                lines.push(self.listed(&name, &escape(&of.layers.spec(*layer).label())));
            }
            lines.extend(self.more(only.len()));
        }
        if !matched.lone_biases.is_empty() {
            lines.extend([Line::default(), self.line("biases of one side", Role::Heading)]);
            for (side, tensor) in matched.lone_biases.iter().take(LIST_MAX) {
                lines.push(self.listed(&facts.of[*side as usize].files.tensor_name(*tensor), side.name()));
            }
            lines.extend(self.more(matched.lone_biases.len()));
        }
        let known = self.compare.table.known.iter().zip(&matched.pairs);
        let why: Vec<_> =
            known.filter_map(|(known, pair)| Some((pair, known.as_ref()?.as_ref().err()?))).collect();
        if !why.is_empty() {
            lines.extend([Line::default(), self.line("incomparable", Role::Heading)]);
        }
        for (pair, why) in why.iter().take(LIST_MAX) {
            lines.extend({
                let why = without_name(why, &pair.name);
                self.words(&format!("× {}: {}", escape(&pair.name), escape(why)), Role::Text)
            });
        }
        lines.extend(self.more(why.len()));
        lines
    }

    pub(super) fn more(&self, count: usize) -> Option<Line<'static>> {
        (count > LIST_MAX)
            .then(|| self.line(&format!("  {} more", units::exact((count - LIST_MAX) as u64)), Role::Muted))
    }
}
