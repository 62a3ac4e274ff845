//! Bars of tasks: one letter a cell, all bars in one scale.

use ratatui::text::Span;

use crate::footprint::{Footprint, PartKind, Task, TaskKind};
use crate::ui::theme::{Role, Theme};

/// What a cell stands for, and how many there are.
pub(super) struct Scale {
    /// Bytes of a cell: a power of two.
    pub(super) cell_bytes: u64,
    cells: usize,
}

impl Scale {
    /// Returns the scale in which every task but full training has room: full training would leave the others
    /// without a cell.
    pub(super) fn of(footprint: &Footprint, cells: usize) -> Self {
        let is_full = |task: &&Task| matches!(task.kind, TaskKind::Full | TaskKind::Full16);
        let largest =
            footprint.tasks.iter().filter(|task| !is_full(task)).map(Task::least).max().unwrap_or(0);
        let cell_bytes =
            largest.div_ceil(cells.max(1) as u64).checked_next_power_of_two().unwrap_or(u64::MAX);
        Self { cell_bytes: cell_bytes.max(1), cells }
    }
}

/// Returns the color of a part, which its letter says too.
pub(super) fn role_of(kind: PartKind) -> Role {
    match kind {
        PartKind::Weights => Role::BarThis,
        PartKind::KvCache => Role::Quant,
        PartKind::Adapter => Role::Adapter,
        PartKind::Gradients => Role::Repair,
        PartKind::Optimizer => Role::Warn,
        PartKind::Activations => Role::Path,
        PartKind::Logits => Role::Ok,
        PartKind::Workspace => Role::Muted,
    }
}

/// Returns the bar of a task in as many cells as the scale has; one that goes beyond ends in `…`.
pub(super) fn bar(task: &Task, scale: &Scale, theme: &Theme) -> Vec<Span<'static>> {
    let cell = |bytes: u64| usize::try_from(bytes.div_ceil(scale.cell_bytes)).unwrap_or(usize::MAX);
    let (mut spans, mut sum, mut used) = (Vec::new(), 0u64, 0);
    for kind in PartKind::ALL {
        let Some(part) = task.part(kind) else { continue };
        sum = sum.saturating_add(part.bytes);
        let end = cell(sum).min(scale.cells);
        if end > used {
            let letters = kind.letter().to_string().repeat(end - used);
            spans.push(Span::styled(letters, theme.style(role_of(kind))));
            used = end;
        }
    }
    if cell(sum) > scale.cells
        && let Some(last) = spans.last_mut()
    {
        let text = last.content.to_mut();
        text.pop();
        text.push('…');
    }
    spans.push(Span::raw(" ".repeat(scale.cells - used)));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::{Known, Part};

    fn task(kind: TaskKind, parts: &[(PartKind, u64)]) -> Task {
        let part = |&(kind, bytes): &(PartKind, u64)| Part {
            kind,
            bytes,
            known: Known::Exact,
            words: String::new(),
        };
        Task { kind, name: String::new(), parts: parts.iter().map(part).collect(), left_out: Vec::new() }
    }

    fn drawn(task: &Task, scale: &Scale) -> String {
        bar(task, scale, &Theme::default()).iter().map(|span| span.content.as_ref()).collect()
    }

    #[test]
    fn bars_have_one_scale_and_say_where_they_are_cut() {
        let small = task(TaskKind::Inference, &[(PartKind::Weights, 1000), (PartKind::KvCache, 100)]);
        let lora = task(TaskKind::Lora, &[(PartKind::Weights, 2000), (PartKind::Activations, 1500)]);
        let full = task(TaskKind::Full, &[(PartKind::Weights, 4000), (PartKind::Gradients, 4000)]);
        let footprint = Footprint { tasks: vec![small, lora, full], unknown: Vec::new() };
        let scale = Scale::of(&footprint, 16);
        assert_eq!(scale.cell_bytes, 256);
        let bars: Vec<String> = footprint.tasks.iter().map(|task| drawn(task, &scale)).collect();
        assert_eq!(bars, ["WWWWk           ", "WWWWWWWWAAAAAA  ", "WWWWWWWWWWWWWWW…"]);
        let huge = task(TaskKind::Lora, &[(PartKind::Weights, u64::MAX), (PartKind::Logits, u64::MAX)]);
        let scale = Scale::of(&Footprint { tasks: vec![huge.clone()], unknown: Vec::new() }, 12);
        assert_eq!(drawn(&huge, &scale).chars().count(), 12);
    }
}
