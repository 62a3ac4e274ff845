//! What keys do in the tab of values.

use super::super::{App, Effect, Focus, Overlay, Tab, shell_path, shell_word};
use super::numbers::walked;
use super::{Values, words};
use crate::stats::summary::Axis;
use crate::stats::{Of, Part};

pub(in crate::app) fn in_values(app: &App) -> bool {
    app.tab == Tab::Values && app.is_readable()
}

/// The map has the focus.
pub(in crate::app) fn on_map(app: &App) -> bool {
    in_values(app) && app.focus == Focus::Side && app.values.list.is_none() && app.values.vector().is_none()
}

/// There is a map, and the tree has the focus.
pub(in crate::app) fn beside_map(app: &App) -> bool {
    in_values(app) && app.focus == Focus::Tree && app.values.list.is_none() && has_map(app).is_ok()
}

/// There are the numbers of a vector, and the tree has the focus.
pub(in crate::app) fn beside_vector(app: &App) -> bool {
    app.focus == Focus::Tree && has_vector(app).is_ok()
}

pub(in crate::app) fn has_vector(app: &App) -> Result<(), String> {
    needs_values(app)?;
    let is_vector = app.values.vector().is_some();
    if is_vector { Ok(()) } else { Err("these values are no vector: they have a map".into()) }
}

pub(in crate::app) fn is_running(app: &App) -> bool {
    in_values(app) && can_stop(app).is_ok()
}

pub(in crate::app) fn is_stopped(app: &App) -> bool {
    in_values(app) && can_read_on(app).is_ok()
}

/// The tab shows.
pub(in crate::app) fn needs_values(app: &App) -> Result<(), String> {
    if in_values(app) { Ok(()) } else { Err("only in Values (2)".into()) }
}

pub(in crate::app) fn has_map(app: &App) -> Result<(), String> {
    needs_values(app)?;
    match (app.values.sides(), app.values.figures()) {
        (Some(_), _) => Ok(()),
        (None, Some(figures)) if figures.summary.shape.len() > 1 && figures.summary.count < figures.total => {
            Err("the map comes when all values are read".into())
        }
        (None, Some(figures)) if figures.summary.shape.len() < 2 => {
            Err("a vector has no map: its numbers stand in a row".into())
        }
        (None, Some(_)) => Err("rows and columns are too many or too long to map".into()),
        (None, None) => Err("no values are read yet".into()),
    }
}

pub(in crate::app) fn can_choose(app: &App) -> Result<(), String> {
    needs_values(app)?;
    match app.values.figures() {
        None => Err("no values are read yet".into()),
        Some(figures) if figures.parts.len() < 2 && figures.summary.sides.is_none() => {
            Err("there are just these values: nothing is packed".into())
        }
        Some(_) => Ok(()),
    }
}

pub(in crate::app) fn can_stop(app: &App) -> Result<(), String> {
    needs_values(app)?;
    if app.values.running.is_some() { Ok(()) } else { Err("nothing is being read".into()) }
}

pub(in crate::app) fn can_read_on(app: &App) -> Result<(), String> {
    needs_values(app)?;
    if app.values.is_stopped { Ok(()) } else { Err("reading was not stopped".into()) }
}

/// What the tab can show of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A part of them.
    Part(Part),
    /// The norms of all rows or columns of that.
    Norms(Axis),
}

impl Choice {
    /// Returns what it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Part(part) => part.name(),
            Self::Norms(Axis::Rows) => "norms of all rows",
            Self::Norms(Axis::Columns) => "norms of all columns",
        }
    }
}

/// Opens the menu of parts.
pub(in crate::app) fn choose_part(app: &mut App) -> Vec<Effect> {
    let shown = match &app.values.list {
        Some(list) => Some(Choice::Norms(list.axis)),
        None => app.values.figures().map(|figures| Choice::Part(figures.part)),
    };
    let at = app.values.choices().iter().position(|choice| Some(*choice) == shown);
    app.overlay = Some(Overlay::PartMenu(at.unwrap_or(0)));
    Vec::new()
}

/// Ends reading; what was seen stays.
pub(in crate::app) fn stop(app: &mut App) -> Vec<Effect> {
    app.values.running = None;
    app.values.is_stopped = true;
    vec![Effect::StopValues]
}

/// Reads what was stopped, from its begin.
pub(in crate::app) fn read_on(app: &mut App) -> Vec<Effect> {
    (app.values.is_stopped, app.values.rests) = (false, false);
    vec![app.values.ask()]
}

/// Turns between counts and their logarithms.
pub(in crate::app) fn switch_scale(app: &mut App) -> Vec<Effect> {
    app.values.is_log = !app.values.is_log;
    Vec::new()
}

pub(in crate::app) fn zoom_in(app: &mut App) -> Vec<Effect> {
    zoom(app, true)
}

pub(in crate::app) fn zoom_out(app: &mut App) -> Vec<Effect> {
    zoom(app, false)
}

fn zoom(app: &mut App, is_in: bool) -> Vec<Effect> {
    if let Err(why) = has_map(app) {
        app.toast = Some(why);
        return Vec::new();
    }
    (app.focus, app.values.list) = (Focus::Side, None);
    let Some(sides) = app.values.sides() else { return Vec::new() };
    if is_in && !app.values.view.can_zoom_in(sides) {
        app.toast = Some("a cell is a value here: there is nothing closer".into());
    }
    app.values.view.zoom(sides, is_in);
    Vec::new()
}

impl Values {
    /// Returns what the tab can show of the values that it shows.
    #[must_use]
    pub fn choices(&self) -> Vec<Choice> {
        let Some(figures) = self.figures() else { return Vec::new() };
        let mut choices: Vec<Choice> = figures.parts.iter().copied().map(Choice::Part).collect();
        if figures.summary.sides.is_some() {
            choices.extend(Axis::BOTH.map(Choice::Norms));
        }
        choices
    }
}

impl App {
    /// Moves the cursor on the map, by cells down and to the right.
    pub(in crate::app) fn step_on_map(&mut self, by: [isize; 2]) -> Vec<Effect> {
        if let Some(all) = self.values.vector() {
            let at = &mut self.values.view.cursor[1];
            *at = walked(*at, all, self.values.number_room[1], by);
        } else if let Some(sides) = self.values.sides() {
            self.values.view.step(sides, by);
        }
        Vec::new()
    }

    /// Goes into the map, the numbers of a vector or the list of norms, or says why there is none.
    pub(in crate::app) fn enter_map(&mut self) -> Vec<Effect> {
        match has_map(self) {
            Err(why) if self.values.vector().is_none() => self.toast = Some(why),
            _ => self.focus = Focus::Side,
        }
        Vec::new()
    }

    /// Puts the cursor on a cell of the map, or on a line of the list in its place.
    pub(in crate::app) fn click_cell(&mut self, cell: [usize; 2]) -> Vec<Effect> {
        if self.values.list.is_some() {
            return self.click_norm(cell[0]);
        }
        if let Some(sides) = self.values.sides() {
            self.focus = Focus::Side;
            self.values.view.click(sides, cell);
        }
        Vec::new()
    }

    /// Takes a key for the menu of parts.
    pub(in crate::app) fn part_key(&mut self, at: usize, key: &str) -> Vec<Effect> {
        let choices = self.values.choices();
        let last = choices.len().saturating_sub(1);
        match key {
            "esc" | "q" | "f" => {}
            "j" | "down" => self.overlay = Some(Overlay::PartMenu((at + 1).min(last))),
            "k" | "up" => self.overlay = Some(Overlay::PartMenu(at.saturating_sub(1))),
            "enter" => match choices.get(at) {
                Some(Choice::Norms(axis)) => self.show_norms(*axis),
                Some(Choice::Part(part)) => (self.values.part, self.values.list) = (*part, None),
                None => {}
            },
            _ => self.overlay = Some(Overlay::PartMenu(at)),
        }
        Vec::new()
    }

    /// Returns the figures that show as a text.
    pub(in crate::app) fn values_in_words(&self) -> Option<String> {
        self.values.figures().map(words::text)
    }

    /// Returns the command line that prints what the tab shows.
    pub(in crate::app) fn values_command(&self) -> Option<String> {
        let open = self.opens.get(self.current)?;
        let ready = self.ready()?;
        let files = ready.files();
        let (name, tensors) = match self.values_of_row().ok()? {
            Of::Layer(layer) => (ready.checkpoint.layers.name(&files.names, layer), ""),
            Of::Tensor(tensor) => (files.tensor_name(tensor), " --tensors"),
        };
        let part = self.values.figures().map(|figures| figures.part).filter(|part| *part != Part::Weights);
        let part = part.map_or_else(String::new, |part| format!(" --part {}", part.name().replace(' ', "-")));
        let norms = self.values.list.as_ref();
        let norms = norms.map_or_else(String::new, |list| format!(" --norms {}", list.axis.name()));
        // Layers that are marked are asked for together; norms are of one.
        let marked = ready.marks.patterns(&ready.checkpoint).ok();
        let marked = marked.filter(|list| !list.is_empty() && norms.is_empty() && tensors.is_empty());
        let names = marked.unwrap_or_else(|| vec![name]);
        let names = names.iter().map(|name| shell_word(name)).collect::<Vec<_>>().join(" ");
        Some(format!("ckpt stats {} {names}{tensors}{part}{norms}", shell_path(&open.path)))
    }
}
