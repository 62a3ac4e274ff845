//! The gauges row: what the machine does now, and the job.
//!
//! One row, laid out for its width. A list of layouts, richest first, is tried in order, and the first
//! that fits is drawn: sensors go first, then utilization, then RAM, then the bar, never the job. Live
//! numbers have a fixed width, so a figure that changes does not move its neighbors; the third digit of
//! `100%` takes the blank before the divider.
//!
//! `gauge_bar/weights.rs` is the weights part of the Memory tab, from the same sample.

pub mod weights;

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::theme::{Role, Theme};
use crate::gauges::{GpuSample, Io, Ram, Reading, Sample, Vram};
use crate::name::cut_middle;
use crate::units;

pub use weights::format_lines;

/// Cells of a bar in the row.
const BAR_CELLS: usize = 10;
/// A GPU's short name is cut here.
const NAME_CELLS_MAX: usize = 12;
const GIB: f64 = (1u64 << 30) as f64;

/// What the row says of the running job.
#[derive(Clone, Copy, Debug)]
pub struct JobSummary<'a> {
    /// The verb: `merge`.
    pub verb: &'a str,
    /// The share that is done; `None` while the whole is not known.
    pub ratio: Option<f64>,
    /// How fast it goes; `None` while that is unstable.
    pub bytes_per_second: Option<f64>,
    /// What is left; `None` while that is unstable.
    pub left: Option<Duration>,
}

/// The gauges row, over borrowed figures.
pub struct GaugeBar<'a> {
    /// The figures; `None` before the first sample.
    pub sample: Option<&'a Sample>,
    /// The running job.
    pub job: Option<JobSummary<'a>>,
    /// The colors.
    pub theme: &'a Theme,
}

impl Widget for GaugeBar<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        self.line(usize::from(area.width)).render(area, buffer);
    }
}

/// How a GPU is drawn.
#[derive(Clone, Copy, PartialEq)]
enum GpuForm {
    /// `GPU0 L4 ████████▊░ 19.8/22.5 GiB 63% 41 °C  58 W`
    Sensors,
    /// `GPU0 L4 ████████▊░ 19.8/22.5 GiB 63%`
    Wide,
    /// `GPU0 L4 ████████▊░ 19.8/22.5 GiB`
    WideIdle,
    /// `GPU0 19.8/22.5 GiB ████████▊░ 63%`, the others `GPU1  0.4/22.5`
    Compact,
    /// `GPU0 19.8/22.5 GiB ████████▊░`, the others `GPU1  0.4/22.5`
    CompactIdle,
    /// `GPU0 19.8/22.5 GiB`, the others `GPU1  0.4/22.5`
    Numbers,
    /// `8 GPUs ███▏░░░░░░  350/1128 GiB`
    Sum,
    /// `8 GPUs  350/1128 GiB`
    SumNumbers,
    Hidden,
}

#[derive(Clone, Copy, PartialEq)]
enum RamForm {
    Bar,
    Numbers,
    Hidden,
}

#[derive(Clone, Copy, PartialEq)]
enum JobForm {
    /// `merge ██████▊░░░ 68% 1.39 GiB/s 0:31 left`
    Full,
    /// `merge ██████▊░░░ 68% 0:31 left`
    NoRate,
    /// `merge 68% 0:31 left`
    NoBar,
    /// `merge 68%`
    Least,
}

/// Layouts of a row with GPUs, richest first.
const GPU_LAYOUTS: [(GpuForm, RamForm); 13] = [
    (GpuForm::Sensors, RamForm::Bar),
    (GpuForm::Wide, RamForm::Bar),
    (GpuForm::Compact, RamForm::Numbers),
    (GpuForm::CompactIdle, RamForm::Numbers),
    (GpuForm::CompactIdle, RamForm::Hidden),
    (GpuForm::Sum, RamForm::Bar),
    (GpuForm::Numbers, RamForm::Hidden),
    (GpuForm::Sum, RamForm::Numbers),
    (GpuForm::Sum, RamForm::Hidden),
    (GpuForm::SumNumbers, RamForm::Hidden),
    (GpuForm::Hidden, RamForm::Bar),
    (GpuForm::Hidden, RamForm::Numbers),
    (GpuForm::Hidden, RamForm::Hidden),
];

/// The same beside a job, which takes the place of RAM: `GPU0 … │ GPU1 … │ merge …`.
const JOB_LAYOUTS: [(GpuForm, RamForm, JobForm); 14] = [
    (GpuForm::Sensors, RamForm::Bar, JobForm::Full),
    (GpuForm::Wide, RamForm::Bar, JobForm::Full),
    (GpuForm::Wide, RamForm::Hidden, JobForm::Full),
    (GpuForm::WideIdle, RamForm::Hidden, JobForm::Full),
    (GpuForm::Compact, RamForm::Hidden, JobForm::Full),
    (GpuForm::CompactIdle, RamForm::Hidden, JobForm::Full),
    (GpuForm::Numbers, RamForm::Hidden, JobForm::Full),
    (GpuForm::Sum, RamForm::Hidden, JobForm::Full),
    (GpuForm::SumNumbers, RamForm::Hidden, JobForm::Full),
    (GpuForm::Hidden, RamForm::Numbers, JobForm::Full),
    (GpuForm::Hidden, RamForm::Hidden, JobForm::Full),
    (GpuForm::Hidden, RamForm::Hidden, JobForm::NoRate),
    (GpuForm::Hidden, RamForm::Hidden, JobForm::NoBar),
    (GpuForm::Hidden, RamForm::Hidden, JobForm::Least),
];

impl GaugeBar<'_> {
    /// Returns the row for `width` cells.
    #[must_use]
    pub fn line(&self, width: usize) -> Line<'static> {
        let fits = |line: &Line<'_>| line.width() <= width;
        let mut last = Line::default();
        if let Some(job) = &self.job {
            for (gpu, ram, form) in JOB_LAYOUTS {
                last = self.layout(gpu, ram, Some((job, form)));
                if fits(&last) {
                    break;
                }
            }
            return last;
        }
        if self.sample.is_some_and(|sample| sample.gpus.is_empty()) {
            return self.without_gpus(width);
        }
        for (gpu, ram) in GPU_LAYOUTS {
            last = self.layout(gpu, ram, None);
            if fits(&last) {
                break;
            }
        }
        last
    }

    /// RAM, I/O and why there is no GPU; I/O goes first, the reason last, cut at the row's end.
    fn without_gpus(&self, width: usize) -> Line<'static> {
        let mut last = Line::default();
        for (ram, has_io) in
            [(RamForm::Bar, true), (RamForm::Bar, false), (RamForm::Numbers, false), (RamForm::Hidden, false)]
        {
            let mut row = Row { theme: self.theme, spans: Vec::new() };
            if let Some(sample) = self.sample {
                row.ram(&sample.ram, ram);
                if let (Ok(io), true) = (&sample.io, has_io) {
                    row.io(io);
                }
                row.begin("");
                row.push(Role::Muted, format!("no GPU: {}", sample.gpu_state.why));
            }
            last = Line::from(row.spans);
            if last.width() <= width {
                break;
            }
        }
        last
    }

    fn layout(&self, gpu: GpuForm, ram: RamForm, job: Option<(&JobSummary<'_>, JobForm)>) -> Line<'static> {
        let mut row = Row { theme: self.theme, spans: Vec::new() };
        if let Some(sample) = self.sample {
            row.gpus(&sample.gpus, gpu);
            row.ram(&sample.ram, ram);
        }
        if let Some((job, form)) = job {
            row.job(job, form);
        }
        Line::from(row.spans)
    }
}

/// A row as it grows.
struct Row<'a> {
    theme: &'a Theme,
    spans: Vec<Span<'static>>,
}

impl Row<'_> {
    fn push(&mut self, role: Role, text: impl Into<String>) {
        self.spans.push(Span::styled(text.into(), self.theme.style(role)));
    }

    /// Begins a gauge: a blank at the row's start, a divider between two.
    fn begin(&mut self, label: impl Into<String>) {
        let is_first = self.spans.is_empty();
        // `100%` has taken the divider's own blank.
        let took_blank = self.spans.last().is_some_and(|span| span.content.ends_with("100%"));
        let divider = if is_first {
            " "
        } else if took_blank {
            "│ "
        } else {
            " │ "
        };
        self.push(Role::Border, divider);
        self.push(Role::Text, label);
    }

    fn gpus(&mut self, gpus: &[GpuSample], form: GpuForm) {
        match form {
            GpuForm::Hidden => {}
            GpuForm::Sum | GpuForm::SumNumbers => self.sum(gpus, form),
            _ => {
                for (at, gpu) in gpus.iter().enumerate() {
                    self.gpu(gpu, form, at == 0);
                }
            }
        }
    }

    fn gpu(&mut self, gpu: &GpuSample, form: GpuForm, is_first: bool) {
        let is_wide = matches!(form, GpuForm::Sensors | GpuForm::Wide | GpuForm::WideIdle);
        self.begin(gpu.label());
        if let (true, Ok(name)) = (is_wide, &gpu.name) {
            self.push(Role::Muted, format!(" {}", short_name(name)));
        }
        match &gpu.vram {
            Ok(vram) if is_wide => {
                self.bar(vram.used, vram.total);
                self.numbers(vram, true);
            }
            Ok(vram) => {
                self.numbers(vram, is_first);
                if is_first && form != GpuForm::Numbers {
                    self.bar(vram.used, vram.total);
                }
            }
            Err(why) if is_wide => self.push(Role::Muted, format!(" memory {why}")),
            Err(_) => self.push(Role::Muted, " memory ?"),
        }
        if matches!(form, GpuForm::Sensors | GpuForm::Wide) || (is_first && form == GpuForm::Compact) {
            self.utilization(gpu);
        }
        if form == GpuForm::Sensors {
            self.sensors(gpu);
        }
    }

    /// A figure that is missing leaves a dash where it would stand.
    fn utilization(&mut self, gpu: &GpuSample) {
        match gpu.utilization_percent {
            Ok(percent) => self.push(Role::Number, format!(" {:>3}", format!("{percent}%"))),
            Err(_) => self.push(Role::Muted, "   -"),
        }
    }

    fn sensors(&mut self, gpu: &GpuSample) {
        if let Ok(celsius) = gpu.temperature_celsius {
            // Behind a third digit of the load the blank is gone: keep the column.
            let took_blank = self.spans.last().is_some_and(|span| span.content.ends_with("100%"));
            let width = if took_blank { 2 } else { 3 };
            self.push(Role::Number, format!(" {celsius:>width$}"));
            self.push(Role::Unit, " °C");
        }
        if let Ok(watts) = gpu.power_watts {
            self.push(Role::Number, format!(" {watts:>4.0}"));
            self.push(Role::Unit, " W");
        }
    }

    fn sum(&mut self, gpus: &[GpuSample], form: GpuForm) {
        // Slices are parts of the GPU that stands before them.
        let whole = gpus.iter().filter(|gpu| gpu.slice.is_none());
        let known: Vec<&Vram> = whole.filter_map(|gpu| gpu.vram.as_ref().ok()).collect();
        if known.is_empty() {
            return;
        }
        let add =
            |part: fn(&Vram) -> u64| known.iter().fold(0u64, |sum, vram| sum.saturating_add(part(vram)));
        let vram = Vram { used: add(|v| v.used), free: add(|v| v.free), total: add(|v| v.total) };
        self.begin(units::plural(known.len(), "GPU"));
        if form == GpuForm::Sum {
            self.bar(vram.used, vram.total);
        }
        self.numbers(&vram, true);
    }

    fn ram(&mut self, ram: &Reading<Ram>, form: RamForm) {
        if form == RamForm::Hidden {
            return;
        }
        self.begin("RAM");
        match ram {
            Ok(ram) => {
                if form == RamForm::Bar {
                    self.bar(ram.used, ram.total);
                }
                self.numbers(&Vram { used: ram.used, free: ram.free(), total: ram.total }, true);
            }
            Err(why) if form == RamForm::Bar => self.push(Role::Muted, format!(" {why}")),
            Err(_) => self.push(Role::Muted, " ?"),
        }
    }

    fn io(&mut self, io: &Io) {
        self.begin("read");
        self.push(Role::Number, format!(" {}", gib_per_second(io.read_bytes_per_second)));
        self.push(Role::Unit, " GiB/s");
    }

    fn job(&mut self, job: &JobSummary<'_>, form: JobForm) {
        self.begin(job.verb);
        if let (Some(ratio), JobForm::Full | JobForm::NoRate) = (job.ratio, form) {
            self.push(Role::BarThis, format!(" {}", bar(BAR_CELLS, ratio)));
        }
        if let Some(ratio) = job.ratio {
            self.push(Role::Number, format!(" {:>3}", units::percent_done(ratio)));
        }
        if form == JobForm::Full {
            match job.bytes_per_second {
                Some(rate) => {
                    self.push(Role::Number, format!(" {}", gib_per_second(rate)));
                    self.push(Role::Unit, " GiB/s");
                }
                None => self.push(Role::Muted, format!(" {:>10}", "…")),
            }
        }
        if form != JobForm::Least {
            let left = job.left.map_or("…".to_string(), units::clock);
            self.push(Role::Number, format!(" {left:>4}"));
            self.push(Role::Unit, " left");
        }
    }

    fn bar(&mut self, used: u64, total: u64) {
        let ratio = if total == 0 { 0.0 } else { used as f64 / total as f64 };
        self.push(Role::BarOthers, format!(" {}", bar(BAR_CELLS, ratio)));
    }

    fn numbers(&mut self, memory: &Vram, has_unit: bool) {
        self.push(Role::Number, format!(" {}", used_of_total(memory.used, memory.total)));
        if has_unit {
            self.push(Role::Unit, " GiB");
        }
    }
}

/// Returns a bar of `width` cells in eighths: `████████▊░`. What is not nothing shows, and only the whole
/// is full. The half block is left out: `▌` marks the cursor.
#[must_use]
pub fn bar(width: usize, ratio: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▍", "▋", "▊", "▉"];
    let ratio = if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) };
    let mut eighths = (ratio * (width * 8) as f64) as usize;
    if ratio > 0.0 && width > 0 {
        eighths = eighths.max(1);
    }
    let (full, part) = (eighths / 8, EIGHTHS[eighths % 8]);
    let empty = width - full - usize::from(!part.is_empty());
    format!("{}{part}{}", "█".repeat(full), "░".repeat(empty))
}

/// Returns `19.8/22.5`, the first number as wide as the second can make it.
pub(super) fn used_of_total(used: u64, total: u64) -> String {
    let total_text = gib(total);
    // `99.9` is wider than the `141` it counts toward.
    let width = if total as f64 / GIB < 9.95 { 3 } else { total_text.len().max(4) };
    format!("{:>width$}/{total_text}", gib(used))
}

pub(super) fn gib(bytes: u64) -> String {
    let value = bytes as f64 / GIB;
    if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Returns a rate in GiB a second, four cells wide: `1.39`, `12.4`, ` 124`.
pub(super) fn gib_per_second(bytes: f64) -> String {
    let value = if bytes.is_finite() { (bytes / GIB).max(0.0) } else { 0.0 };
    match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:>4.0}"),
    }
}

/// Returns what people call a GPU: `L4`, `RTX 4090`, `A100`, `H100`.
#[must_use]
pub fn short_name(name: &str) -> String {
    let mut rest = name;
    for maker in ["NVIDIA ", "Tesla ", "GeForce ", "Quadro "] {
        rest = rest.strip_prefix(maker).unwrap_or(rest);
    }
    let is_detail = |word: &str| {
        let word = word.to_ascii_uppercase();
        word.ends_with("GB")
            || ["HBM", "PCIE", "SXM", "NVL", "GENERATION", "MIG"].iter().any(|start| word.starts_with(start))
    };
    let words: Vec<&str> =
        rest.split([' ', '-']).take_while(|word| !is_detail(word)).filter(|word| !word.is_empty()).collect();
    let short = if words.is_empty() { rest.to_string() } else { words.join(" ") };
    cut_middle(&short, NAME_CELLS_MAX).into_owned()
}

#[cfg(test)]
mod tests;
