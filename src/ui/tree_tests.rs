//! Tests of the window: whatever is open, filtered, scrolled or resized, line and row agree.

use std::path::PathBuf;
use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::app::{App, Event, keys};
use crate::checkpoint::config::Configs;
use crate::checkpoint::files::{Files, Place, Shard};
use crate::checkpoint::layers::Layers;
use crate::checkpoint::tree::Filter;
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::container::Header;
use crate::container::safetensors::Safetensors;
use crate::quant::HeadersOnly;
use crate::tensor::Dtype;

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Names of all depths, none alike, so that nothing folds.
fn checkpoint(random: &mut Random) -> Checkpoint {
    let mut header = Header::default();
    for tensor in 0..400u64 {
        let depth = 1 + random.below(9);
        let name: Vec<String> = (0..depth).map(|level| format!("n{}x{level}", random.below(3))).collect();
        let name = format!("{}.t{tensor}.weight", name.join("."));
        header.push(&name, Dtype::F16, &[tensor + 1, 8], tensor * 16, tensor * 16 + 16);
    }
    let shard = Shard {
        name: "model.safetensors".into(),
        path: PathBuf::new(),
        bytes: 0,
        tensors: 400,
        metadata: Vec::new(),
        unreadable: false,
    };
    let place = Place {
        path: PathBuf::new(),
        folder: PathBuf::new(),
        title: "made".into(),
        container: &Safetensors,
        index: None,
        others: Vec::new(),
    };
    let files = Arc::new(Files::assemble(place, vec![shard], vec![header], Configs::default()));
    let (layers, problems) = Layers::find(&files, &HeadersOnly);
    Checkpoint {
        files,
        layers,
        problems,
        kind: CheckpointKind::Model,
        examined: true,
        index_unchecked: false,
    }
}

/// Changes what shows, as a person would.
fn stir(app: &mut App, random: &mut Random) {
    let Some(ready) = app.ready_mut() else { return };
    let checkpoint = Arc::clone(&ready.checkpoint);
    let rows = ready.tree.rows().len().max(1);
    match random.below(8) {
        0 => ready.tree.open_all(&checkpoint),
        1 => ready.tree.close_all(&checkpoint),
        2 => {
            let filter = Filter::parse(&format!("t{}", random.below(400))).ok();
            ready.tree.set_filter(&checkpoint, filter);
        }
        3 => ready.tree.set_filter(&checkpoint, None),
        4 | 5 => _ = ready.tree.toggle(&checkpoint, random.below(rows)),
        _ => {}
    }
    let rows = ready.tree.rows().len().max(1);
    ready.tree.set_cursor(random.below(rows));
}

/// Returns what is wrong with the drawn window, if anything.
fn fault(app: &App, pane: &TreePane, buffer: &Buffer) -> Option<String> {
    let ready = app.ready()?;
    let cell = |x: u16, y: u16| buffer.cell((x, y)).map_or("", |cell| cell.symbol());
    for (line, y) in (pane.area.y..pane.area.bottom()).enumerate() {
        let row = pane.top + line;
        let Some(at) = ready.tree.rows().get(row) else { continue };
        let text = ready.tree.describe(&ready.checkpoint, row);
        let begin = pane.area.x + 1 + 2 * u16::from(at.depth);
        // Columns lie over names that begin near the right end.
        if begin + 26 >= pane.area.right() {
            continue;
        }
        let wanted = match text.expand {
            Expand::Open => "▾",
            Expand::Closed => "▸",
            Expand::Leaf => "·",
        };
        let label: String = (begin + 2..begin + 5).map(|x| cell(x, y)).collect();
        let head: String = text.label.chars().take(3).collect();
        if cell(begin, y) != wanted || !(label.starts_with(&head) || label.contains('…')) {
            return Some(format!("row {row}: {wanted} {} is drawn {} {label}", text.label, cell(begin, y)));
        }
        let is_marked = cell(pane.area.x, y) == "▌";
        if is_marked != (row == ready.tree.cursor()) {
            return Some(format!("row {row}: cursor at {}", ready.tree.cursor()));
        }
    }
    None
}

#[test]
fn every_line_of_a_random_window_shows_its_own_row() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut app, _) = App::new(&["made".into()], keys::keymap(None).unwrap());
    app.update(Event::Opened(0, Box::new(Ok(checkpoint(&mut random)))));
    let theme = Theme::default();
    let mut pane = TreePane::default();
    for frame in 0..1500 {
        stir(&mut app, &mut random);
        let (width, height) = (30 + random.below(60) as u16, 3 + random.below(30) as u16);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|f| draw(f, f.area(), &app, &mut pane, &theme)).unwrap();
        let found = fault(&app, &pane, terminal.backend().buffer());
        assert_eq!(found, None, "frame {frame}, {width}x{height}");
    }
}
