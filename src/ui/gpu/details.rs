//! One GPU: memory and who holds it, the last minute, link, clocks, and whether it computes.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::{WIDE, shares};
use crate::app::App;
use crate::engine::Held;
use crate::engine::cuda::probe::Card;
use crate::gauges::{GpuProcess, GpuSample, Reading, Vram};
use crate::name::{cut_middle, escape};
use crate::ui::gauge_bar::{bar, gib, gib_per_second};
use crate::ui::pane::wrap;
use crate::ui::spark::spark;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of the words before a line.
const LABEL: usize = 11;

/// Cells of a figure that has a history behind it: `700 of 700 W`.
const FIGURE: usize = 12;

/// A piece of a line: it goes to the next one as a whole.
type Piece = (Role, String);

/// Returns the lines of a GPU.
pub(super) fn lines(app: &App, gpu: &GpuSample, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let details = Details { app, gpu, width, theme };
    let mut lines = details.memory();
    lines.extend(details.load());
    lines.extend(details.power());
    lines.extend(details.clocks());
    lines.extend(details.link());
    lines.extend(details.computing());
    lines.push(Line::default());
    lines.extend(details.processes());
    lines
}

struct Details<'a> {
    app: &'a App,
    gpu: &'a GpuSample,
    width: usize,
    theme: &'a Theme,
}

impl Details<'_> {
    fn span(&self, role: Role, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(role))
    }

    /// Pieces behind a word, as many in a line as fit; a piece that is longer than a line is wrapped.
    fn flow(&self, label: &str, pieces: Vec<Piece>) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let mut line = vec![self.span(Role::Muted, format!("{label:<LABEL$}"))];
        let (mut used, room) = (0, self.width.saturating_sub(LABEL));
        for (role, words) in pieces {
            for words in wrap(&words, room) {
                if used > 0 && used + 3 + words.width() > room {
                    lines.push(Line::from(std::mem::take(&mut line)));
                    line.push(Span::raw(" ".repeat(LABEL)));
                    used = 0;
                }
                if used > 0 {
                    line.push(Span::raw("   "));
                    used += 3;
                }
                used += words.width();
                line.push(self.span(role, words));
            }
        }
        lines.push(Line::from(line));
        lines
    }

    fn missing<T>(&self, label: &str, reading: &Reading<T>) -> Option<Vec<Line<'static>>> {
        let why = reading.as_ref().err()?;
        Some(self.flow(label, vec![(Role::Muted, escape(&why.0).into_owned())]))
    }

    /// The bar: what this program holds, then the others, then what is free.
    fn memory(&self) -> Vec<Line<'static>> {
        let Ok(vram) = self.gpu.vram else {
            return self.missing("memory", &self.gpu.vram).unwrap_or_default();
        };
        let held = self.held();
        let now = held.map(|held| held.now.load(Ordering::Relaxed));
        let listed = self.gpu.own_bytes();
        // A container's driver does not list this program; what its job holds is known all the same.
        let own = listed.or(now);
        let cells = if self.width >= WIDE { 48 } else { 24 };
        let mut lines = vec![Line::from(self.memory_bar(&vram, own.unwrap_or(0), cells))];
        let seen = self.app.gpus.seen(self.gpu);
        let mut pieces = Vec::new();
        if listed.is_some() || held.is_none() {
            pieces.push((Role::BarThis, self.own_words(listed, seen.and_then(|seen| seen.own_most))));
        }
        if let (Some(held), Some(now)) = (held, now) {
            let mark = if listed.is_some() { "of it " } else { "█ " };
            let peak = units::bytes(held.peak.load(Ordering::Relaxed));
            pieces.push((Role::BarThis, format!("{mark}this job {}, at most {peak}", units::bytes(now))));
        }
        if let Some(own) = own {
            let others = units::bytes(vram.used.saturating_sub(own));
            pieces.push((Role::BarOthers, format!("▓ others {others}")));
        }
        if let Some(most) = seen.and_then(|seen| seen.used_most) {
            pieces.push((Role::Muted, format!("all at most {}", units::bytes(most))));
        }
        lines.extend(self.flow("", pieces));
        lines
    }

    /// Returns what the job that runs holds here.
    fn held(&self) -> Option<&Held> {
        let uuid = self.gpu.uuid.as_ref().ok()?;
        let computing = self.app.jobs.running()?.progress.device.get()?;
        computing.held.iter().map(AsRef::as_ref).find(|held: &&Held| held.uuid == *uuid)
    }

    fn memory_bar(&self, vram: &Vram, own: u64, cells: usize) -> Vec<Span<'static>> {
        let [own, others, free] = shares(vram, own, cells, self.theme);
        vec![
            self.span(Role::Muted, format!("{:<LABEL$}", "memory")),
            own,
            others,
            free,
            self.span(Role::Number, format!("  {} of {}", gib(vram.used), gib(vram.total))),
            self.span(Role::Unit, " GiB used"),
            self.span(Role::Number, format!("   {}", units::bytes(vram.free))),
            self.span(Role::Unit, " free"),
        ]
    }

    fn own_words(&self, own: Option<u64>, most: Option<u64>) -> String {
        match (own, most, &self.gpu.processes) {
            (Some(own), Some(most), _) => {
                format!("█ this program {}, at most {}", units::bytes(own), units::bytes(most))
            }
            (Some(own), None, _) => format!("█ this program {}", units::bytes(own)),
            (None, Some(most), _) => format!("█ this program none now, at most {}", units::bytes(most)),
            (None, None, Ok(_)) => "█ this program none".into(),
            (None, None, Err(_)) => "█ this program not known".into(),
        }
    }

    fn load(&self) -> Vec<Line<'static>> {
        let Ok(percent) = &self.gpu.utilization_percent else {
            return self.missing("load", &self.gpu.utilization_percent).unwrap_or_default();
        };
        let mut pieces = vec![(Role::Number, format!("{:<FIGURE$}", format!("{percent}%")))];
        if let Some(load) = self.app.gpus.seen(self.gpu).map(|seen| &seen.load) {
            pieces.extend(self.history(load, 100.0, |cells| format!("last {cells} s")));
        }
        self.flow("load", pieces)
    }

    fn power(&self) -> Vec<Line<'static>> {
        let Ok(watts) = &self.gpu.power_watts else {
            return self.missing("power", &self.gpu.power_watts).unwrap_or_default();
        };
        let limit = self.gpu.power_limit_watts.as_ref().ok();
        let words =
            limit.map_or_else(|| format!("{watts:.0} W"), |limit| format!("{watts:.0} of {limit:.0} W"));
        let mut pieces = vec![(Role::Number, format!("{words:<FIGURE$}"))];
        if let Some(seen) = self.app.gpus.seen(self.gpu) {
            let most = seen.watts.iter().flatten().copied().fold(0.0, f64::max);
            let scale = limit.map_or(most, |&limit| f64::from(limit));
            pieces.extend(self.history(&seen.watts, scale, |_| format!("up to {most:.0} W")));
        }
        self.flow("power", pieces)
    }

    /// The last minute, as much of it as has room beside the figures, and words about as many seconds.
    fn history(
        &self,
        figures: &VecDeque<Option<f64>>,
        most: f64,
        words: impl Fn(usize) -> String,
    ) -> Vec<Piece> {
        let cells = figures.len().min(self.width.saturating_sub(LABEL + FIGURE + 17));
        // A few seconds are no history.
        if cells < 3 {
            return Vec::new();
        }
        let shown = figures.iter().skip(figures.len() - cells).copied();
        vec![(Role::BarThis, spark(shown, most)), (Role::Muted, words(cells))]
    }

    fn clocks(&self) -> Vec<Line<'static>> {
        let mut pieces = Vec::new();
        match &self.gpu.temperature_celsius {
            Ok(celsius) => pieces.push((Role::Number, format!("{celsius} °C"))),
            Err(why) => pieces.push((Role::Muted, escape(&why.0).into_owned())),
        }
        for (word, clock) in [("processors", &self.gpu.processor_mhz), ("memory", &self.gpu.memory_mhz)] {
            if let Ok(mhz) = clock {
                pieces.push((Role::Number, format!("{word} {mhz} MHz")));
            }
        }
        match &self.gpu.slowed {
            Ok(reasons) if reasons.is_empty() => pieces.push((Role::Muted, "not held down".into())),
            Ok(reasons) => pieces.push((Role::Warn, format!("▲ held down by {}", reasons.join(", ")))),
            Err(_) => {}
        }
        self.flow("heat", pieces)
    }

    fn link(&self) -> Vec<Line<'static>> {
        let mut pieces = Vec::new();
        match &self.gpu.pcie_link {
            Ok(link) => {
                pieces.push((Role::Number, format!("{} x{} now", link.generation, link.lanes)));
            }
            Err(why) => pieces.push((Role::Muted, escape(&why.0).into_owned())),
        }
        if let Ok(rate) = &self.gpu.pcie_rate {
            let words = |bytes: u64| format!("{} GiB/s", gib_per_second(bytes as f64).trim());
            pieces.push((Role::Number, format!("to GPU {}", words(rate.to_gpu))));
            pieces.push((Role::Number, format!("from GPU {}", words(rate.from_gpu))));
        } else if let (Ok(_), Err(why)) = (&self.gpu.pcie_link, &self.gpu.pcie_rate) {
            pieces.push((Role::Muted, format!("traffic {}", escape(&why.0))));
        }
        self.flow("PCIe", pieces)
    }

    fn computing(&self) -> Vec<Line<'static>> {
        let piece = match (&self.app.gpus.probed, self.app.gpus.card(self.gpu)) {
            (None, _) => (Role::Muted, "CUDA is being asked …".into()),
            (_, Some(Card { refused: Some(why), ordinal, .. })) => {
                (Role::Warn, format!("▲ no, as cuda:{ordinal}: {}", escape(why)))
            }
            (_, Some(card)) => {
                let [major, minor] = card.capability;
                let processors = card.multiprocessors;
                let words = format!(
                    "✓ as cuda:{}, compute {major}.{minor}, {processors} multiprocessors",
                    card.ordinal
                );
                (Role::Ok, words)
            }
            (Some(probed), None) => {
                let why = probed.why_not().unwrap_or_else(|| "CUDA does not list this one".into());
                (Role::Muted, format!("no: {}", escape(&why)))
            }
        };
        self.flow("computes", vec![piece])
    }

    fn processes(&self) -> Vec<Line<'static>> {
        let Ok(list) = &self.gpu.processes else {
            return self.missing("processes", &self.gpu.processes).unwrap_or_default();
        };
        if list.is_empty() {
            let words = "none on the driver's list; in a container it hides those of others";
            return self.flow("processes", vec![(Role::Muted, words.into())]);
        }
        let name_cells = if self.width >= WIDE { 34 } else { 22 };
        let head = format!("{:<LABEL$}{:>10}  {:<name_cells$}{:>11}", "processes", "pid", "name", "memory");
        let mut lines = vec![Line::from(self.span(Role::Muted, head))];
        let total = self.gpu.vram.as_ref().map_or(0, |vram| vram.total);
        lines.extend(list.iter().map(|process| self.process(process, name_cells, total)));
        lines
    }

    fn process(&self, process: &GpuProcess, name_cells: usize, total: u64) -> Line<'static> {
        let (name, mut role) = match &process.name {
            Ok(name) => (escape(name).into_owned(), Role::Text),
            Err(why) => (escape(&why.0).into_owned(), Role::Muted),
        };
        let name = if process.is_own { format!("{name}, this program") } else { name };
        if process.is_own {
            role = Role::BarThis;
        }
        let name = cut_middle(&name, name_cells - 2).into_owned();
        let pad = " ".repeat(name_cells.saturating_sub(name.width()));
        let memory = process.bytes.as_ref().map_or_else(|_| "n/a".to_owned(), |&bytes| units::bytes(bytes));
        let mut spans = vec![
            Span::raw(" ".repeat(LABEL)),
            self.span(Role::Number, format!("{:>10}", process.pid)),
            self.span(role, format!("  {name}{pad}")),
            self.span(Role::Number, format!("{memory:>11}")),
        ];
        let cells = self.width.saturating_sub(LABEL + 12 + name_cells + 11 + 2).min(24);
        if let (Ok(bytes), true) = (&process.bytes, total > 0 && cells >= 8) {
            let role = if process.is_own { Role::BarThis } else { Role::BarOthers };
            spans.push(self.span(role, format!("  {}", bar(cells, *bytes as f64 / total as f64))));
        }
        Line::from(spans)
    }
}
