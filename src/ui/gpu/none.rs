//! A machine on which no GPU is seen: why, and what can be done.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use crate::app::App;
use crate::gauges::{GpuState, GpuStateKind};
use crate::name::escape;
use crate::ui::pane::wrap;
use crate::ui::theme::{Role, Theme};

/// Returns the lines.
pub(super) fn lines(app: &App, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    // Words behind a label, which stands before the first line only.
    let mut tell = |role: Role, label: &str, words: &str| {
        let indent = label.width();
        for (at, line) in wrap(&escape(words), width.saturating_sub(indent)).into_iter().enumerate() {
            let label = if at == 0 { label.to_owned() } else { " ".repeat(indent) };
            let label = Span::styled(label, theme.style(Role::Muted));
            lines.push(Line::from(vec![label, Span::styled(line, theme.style(role))]));
        }
    };
    match &app.sample {
        None => {
            tell(Role::Heading, "", "GPUs are not sampled");
            tell(Role::Text, "", "The gauges are off (--no-gauges), or have not looked yet.");
        }
        Some(sample) => {
            tell(Role::Heading, "", "No GPU is seen here");
            tell(Role::Text, "gauges     ", &sample.gpu_state.why);
        }
    }
    match &app.gpus.probed {
        None => tell(Role::Muted, "computing  ", "CUDA is being asked …"),
        Some(probed) => {
            let why = probed.why_not();
            let cards = probed.usable().map(|card| format!("cuda:{} {}", card.ordinal, card.name));
            let words = why.unwrap_or_else(|| cards.collect::<Vec<_>>().join(", "));
            tell(Role::Text, "computing  ", &words);
        }
    }
    tell(Role::Text, "", "");
    if let Some(sample) = &app.sample {
        tell(Role::Heading, "", "what helps");
        for line in advice(&sample.gpu_state) {
            tell(Role::Text, "· ", line);
        }
        tell(Role::Text, "", "");
    }
    tell(
        Role::Muted,
        "",
        "Everything works without a GPU: conversions and merges run on the processor, mostly at the speed of the \
         disk. ckpt doctor prints the same for a report.",
    );
    lines
}

fn advice(state: &GpuState) -> &'static [&'static str] {
    match state.kind {
        GpuStateKind::Absent if state.driver.is_some() => &[
            "nvidia-smi -L lists what the driver sees, lspci what is plugged in",
            "in a container: start it with --gpus all (Docker) or --device nvidia.com/gpu=all (Podman)",
            "in a batch job: ask for a GPU (Slurm: --gpus=1)",
        ],
        GpuStateKind::Absent => &[
            "with an NVIDIA GPU: install its driver, 525 or newer; nvidia-smi must list the GPU",
            "in a container: start it with --gpus all (Docker) or --device nvidia.com/gpu=all (Podman)",
            "in a batch job: ask for a GPU (Slurm: --gpus=1)",
        ],
        GpuStateKind::TooOld => &["install a newer driver: 525 for computing"],
        GpuStateKind::Mismatch => {
            &["reboot; or, with nothing on the GPU, unload the nvidia modules and load them again"]
        }
        GpuStateKind::Denied => {
            &["ask who runs this machine for access to /dev/nvidia*, or give the container its devices"]
        }
        GpuStateKind::Failed | GpuStateKind::Ready => {
            &["nvidia-smi says more; the kernel's log (dmesg) names faults of the hardware as Xid"]
        }
    }
}
