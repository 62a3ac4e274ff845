//! The mouse: what a click or the wheel does, by what was under it.

use std::sync::Arc;

use super::{App, Effect, Focus, Overlay, Tab};

impl App {
    pub(super) fn click_row(&mut self, row: usize) -> Vec<Effect> {
        self.focus = Focus::Tree;
        if let Some(ready) = self.ready_mut() {
            let checkpoint = Arc::clone(&ready.checkpoint);
            if ready.tree.cursor() == row {
                ready.tree.toggle(&checkpoint, row);
            } else {
                ready.tree.set_cursor(row);
                ready.detail_top = 0;
            }
        }
        self.explain()
    }

    pub(super) fn click_place(&mut self, place: usize) -> Vec<Effect> {
        match &mut self.overlay {
            Some(Overlay::Picker(picker)) if picker.cursor == place => self.overlay_key("enter"),
            Some(Overlay::Picker(picker)) => {
                picker.cursor = place;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn wheel(&mut self, focus: Focus, lines: isize) -> Vec<Effect> {
        if let Some(Overlay::Picker(_)) = self.overlay {
            return self.overlay_key(if lines > 0 { "down" } else { "up" });
        }
        if let Some(form) = self.form.as_mut().filter(|_| self.is_form_open) {
            // Where it ends the view knows; it stops there.
            form.top = form.top.saturating_add_signed(lines);
            return Vec::new();
        }
        if self.step_beside([lines, 0]) {
            return Vec::new();
        }
        let tab = self.tab;
        if tab == Tab::Jobs {
            // Where it ends the view knows; it stops there.
            self.jobs.top = self.jobs.top.saturating_add_signed(lines);
            return Vec::new();
        }
        if tab == Tab::Gpu {
            self.gpus.top = self.gpus.top.saturating_add_signed(lines);
            return Vec::new();
        }
        if let Some(board) = self.board_mut().filter(|_| tab == Tab::Adapter) {
            board.step(lines);
            return Vec::new();
        }
        if tab == Tab::Findings {
            if let Some(findings) = self.findings_mut() {
                // Where it ends the view knows; it stops there.
                findings.top = findings.top.saturating_add_signed(lines);
            }
            return Vec::new();
        }
        if tab == Tab::Values && focus == Focus::Side && self.values.list.is_some() {
            return self.step_norms(lines);
        }
        if tab == Tab::Values && focus == Focus::Side {
            return self.step_on_map([lines.signum(), 0]);
        }
        let Some(ready) = self.ready_mut() else { return Vec::new() };
        let top = match (focus, tab) {
            (Focus::Tree, _) => {
                ready.tree.move_cursor(lines);
                ready.detail_top = 0;
                return self.explain();
            }
            (Focus::Side, Tab::Detail) => &mut ready.detail_top,
            (Focus::Side, _) => &mut ready.tab_top,
        };
        *top = top.saturating_add_signed(lines);
        Vec::new()
    }

    /// Marks a finding; a second click opens the plan of its fix.
    pub(super) fn click_finding(&mut self, row: usize) -> Vec<Effect> {
        self.focus = Focus::Side;
        let Some(findings) = self.findings_mut() else { return Vec::new() };
        let was_here = findings.row == row && findings.item.is_none();
        (findings.row, findings.item) = (row, None);
        if was_here {
            return self.enter_on_finding();
        }
        if let Some(findings) = self.findings_mut() {
            findings.top = 0;
        }
        Vec::new()
    }

    /// Marks a job; a second click opens its result.
    pub(super) fn click_job(&mut self, row: usize) -> Vec<Effect> {
        if self.jobs.cursor != row {
            self.jobs.step(row as isize - self.jobs.cursor as isize);
            return Vec::new();
        }
        if super::jobs::can_open_result(self).is_ok() { super::jobs::open_result(self) } else { Vec::new() }
    }
}
