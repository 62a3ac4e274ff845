//! Keys that go into text fields and menus: help, palette, sort menu, picker, filter line, and pastes.

use std::sync::Arc;

use tui_input::Input;

use super::picker::{self, Picker, Purpose};
use super::{App, Effect, Overlay, command, keys};
use crate::checkpoint::tree::Filter;

impl App {
    pub(super) fn overlay_key(&mut self, key: &str) -> Vec<Effect> {
        let Some(overlay) = self.overlay.take() else { return Vec::new() };
        match overlay {
            Overlay::Help(input, top) => self.help_key(input, top, key),
            Overlay::Palette(input, at) => self.palette_key(input, at, key),
            Overlay::SortMenu(at) => self.sort_key(at, key),
            Overlay::StatesMenu(at) => self.states_key(at, key),
            Overlay::OrderMenu(at) => self.order_key(at, key),
            Overlay::PartMenu(at) => self.part_key(at, key),
            Overlay::ShowMenu(at) => self.show_key(at, key),
            Overlay::NormOrderMenu(at) => self.norm_order_key(at, key),
            Overlay::PurposeMenu(at) => self.purpose_key(at, key),
            Overlay::Matrix(top) => self.matrix_key(top, key),
            Overlay::Error => self.error_key(key),
            Overlay::Picture(input) => self.picture_key(input, key),
            Overlay::Export(input) => self.export_key(input, key),
            Overlay::Log => {
                if !matches!(key, "esc" | "q" | "@") {
                    self.overlay = Some(Overlay::Log);
                }
                Vec::new()
            }
            Overlay::Picker(picker) => self.picker_key(picker, key),
            Overlay::Ask(question) => self.question_key(question, key),
        }
    }

    fn help_key(&mut self, mut input: Input, top: usize, key: &str) -> Vec<Effect> {
        let closes = key == "esc" || key == "f1" || (matches!(key, "?" | "q") && input.value().is_empty());
        if closes {
            return Vec::new();
        }
        let page = self.page_rows.max(2) / 2;
        let top = match key {
            "down" => top + 1,
            "up" => top.saturating_sub(1),
            "pgdn" | "ctrl-d" => top + page,
            "pgup" => top.saturating_sub(page),
            _ if keys::edit(&mut input, key) => 0,
            _ => top,
        };
        self.overlay = Some(Overlay::Help(input, top));
        Vec::new()
    }

    fn palette_key(&mut self, mut input: Input, at: usize, key: &str) -> Vec<Effect> {
        let found = command::search(input.value());
        let at = at.min(found.len().saturating_sub(1));
        match key {
            "esc" => Vec::new(),
            "enter" => found.get(at).map_or_else(Vec::new, |command| self.run(command)),
            "down" | "tab" | "ctrl-n" => {
                self.overlay = Some(Overlay::Palette(input, (at + 1).min(found.len().saturating_sub(1))));
                Vec::new()
            }
            "up" | "backtab" | "ctrl-p" => {
                self.overlay = Some(Overlay::Palette(input, at.saturating_sub(1)));
                Vec::new()
            }
            _ => {
                keys::edit(&mut input, key);
                self.overlay = Some(Overlay::Palette(input, 0));
                Vec::new()
            }
        }
    }

    fn sort_key(&mut self, at: usize, key: &str) -> Vec<Effect> {
        let sorts = self.sorts();
        match key {
            "esc" | "q" | "s" => {}
            "j" | "down" => self.overlay = Some(Overlay::SortMenu((at + 1).min(sorts.len() - 1))),
            "k" | "up" => self.overlay = Some(Overlay::SortMenu(at.saturating_sub(1))),
            "enter" => {
                if let Some(ready) = self.ready_mut() {
                    let checkpoint = Arc::clone(&ready.checkpoint);
                    ready.tree.set_sort(&checkpoint, sorts[at.min(sorts.len() - 1)]);
                }
            }
            _ => self.overlay = Some(Overlay::SortMenu(at)),
        }
        Vec::new()
    }

    fn picker_key(&mut self, mut picker: Box<Picker>, key: &str) -> Vec<Effect> {
        match picker.key(key) {
            picker::Answer::Stay => {
                self.overlay = Some(Overlay::Picker(picker));
                Vec::new()
            }
            picker::Answer::Quit => super::jobs::quit(self),
            // Esc never quits, and there is nothing behind the picker to go back to.
            picker::Answer::Close if self.opens.is_empty() => {
                self.overlay = Some(Overlay::Picker(picker));
                self.toast = Some("q quits".into());
                Vec::new()
            }
            picker::Answer::Close => Vec::new(),
            picker::Answer::Open(path) if picker.purpose == Purpose::Compare => match picker.name_map() {
                Ok(names) => self.compare_with(&path, names),
                Err(why) => {
                    picker.refused = Some(why);
                    self.overlay = Some(Overlay::Picker(picker));
                    Vec::new()
                }
            },
            picker::Answer::Open(path) => match picker.purpose {
                Purpose::Open | Purpose::Compare => self.open(&path),
                Purpose::Attach => self.attach(&path),
                Purpose::Base => self.open_base(&path),
                Purpose::Merge => self.add_adapter(&path),
            },
        }
    }

    pub(super) fn filter_key(&mut self, key: &str) -> Vec<Effect> {
        let Some(mut input) = self.filter_input.take() else { return Vec::new() };
        match key {
            "enter" => {}
            "esc" => self.set_filter(""),
            "down" | "up" => {
                if let Some(ready) = self.ready_mut() {
                    ready.tree.move_cursor(if key == "down" { 1 } else { -1 });
                }
                self.filter_input = Some(input);
            }
            _ => {
                if keys::edit(&mut input, key) {
                    self.set_filter(input.value());
                }
                self.filter_input = Some(input);
            }
        }
        self.explain()
    }

    /// Filters the tree; a text that is no filter leaves the last one and says why.
    pub fn set_filter(&mut self, text: &str) {
        let parsed = Filter::parse(text);
        let Some(ready) = self.ready_mut() else { return };
        let checkpoint = Arc::clone(&ready.checkpoint);
        match parsed {
            Ok(filter) => ready.tree.set_filter(&checkpoint, (!filter.is_empty()).then_some(filter)),
            Err(why) => self.toast = Some(why),
        }
    }

    pub(super) fn paste(&mut self, text: &str) -> Vec<Effect> {
        // Several lines are an error's: no field takes them.
        if matches!(self.overlay, Some(Overlay::Error)) || text.trim().contains(['\n', '\r']) {
            return self.paste_error(text);
        }
        // A paste is text only inside a field: control characters and line ends would be keys there.
        let line: String = text.chars().filter(|c| !c.is_control()).take(4096).collect();
        let in_text = |form: &mut Box<super::form::Form>| form.text().is_some();
        let is_in_form = self.is_form_open && self.form.as_mut().is_some_and(in_text);
        match (&mut self.overlay, &mut self.filter_input) {
            (Some(Overlay::Picker(picker)), _) => picker.insert(&line),
            (
                Some(
                    Overlay::Palette(input, _)
                    | Overlay::Help(input, _)
                    | Overlay::Picture(input)
                    | Overlay::Export(input),
                ),
                _,
            ) => keys::insert(input, &line),
            (None, _) if is_in_form => return self.paste_into_form(&line),
            (None, Some(input)) => {
                keys::insert(input, &line);
                let value = input.value().to_owned();
                self.set_filter(&value);
            }
            _ => return self.paste_error(text),
        }
        self.explain()
    }
}
