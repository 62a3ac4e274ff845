//! Tests of the window: whatever is open, filtered, scrolled or resized, line and row agree.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::app::{App, Event, keys};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::made::Made;
use crate::checkpoint::tree::Filter;
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

/// Names of all depths, none alike, so that nothing folds; and layers that are alike, but for one; and quant
/// states, whose names are tensors and have children.
fn checkpoint(random: &mut Random) -> Checkpoint {
    let mut made = Made::default();
    let mut push = |name: &str, dtype: Dtype, shape: &[u64]| made.push(name, dtype, shape);
    for tensor in 0..400u64 {
        let depth = 1 + random.below(9);
        let name: Vec<String> = (0..depth).map(|level| format!("n{}x{level}", random.below(3))).collect();
        push(&format!("{}.t{tensor}.weight", name.join(".")), Dtype::F16, &[tensor + 1, 8]);
    }
    for layer in 0..12 {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let odd = if layer == 5 { Dtype::F32 } else { Dtype::F16 };
        push(&name("mlp.up_proj.weight"), odd, &[16, 8]);
        push(&name("mlp.up_proj.bias"), Dtype::F16, &[16]);
        for expert in 0..4 {
            let weight = name(&format!("mlp.experts.{expert}.down_proj.weight"));
            push(&weight, Dtype::U8, &[32, 1]);
            push(&format!("{weight}.absmax"), Dtype::F32, &[1]);
            push(&format!("{weight}.quant_map"), Dtype::F32, &[16]);
            push(&format!("{weight}.quant_state.bitsandbytes__nf4"), Dtype::U8, &[80]);
        }
        push(&name("norm.weight"), Dtype::F16, &[8]);
    }
    Checkpoint { examined: true, ..made.checkpoint() }
}

/// Changes what shows, as a person would.
fn stir(app: &mut App, random: &mut Random) {
    let Some(ready) = app.ready_mut() else { return };
    let checkpoint = Arc::clone(&ready.checkpoint);
    let rows = ready.tree.rows().len().max(1);
    match random.below(16) {
        0 => ready.tree.open_all(&checkpoint),
        1 => ready.tree.close_all(&checkpoint),
        2 | 3 => {
            let words = ["down", "absmax", "5", "dtype:f32", "model.layers.1", "zzz", "-model"];
            let one = format!("t{}", random.below(400));
            let text = words.get(random.below(2 * words.len())).copied().unwrap_or(&one);
            ready.tree.set_filter(&checkpoint, Some(Filter::parse(text).unwrap()));
        }
        4 | 5 => ready.tree.set_filter(&checkpoint, None),
        6..=8 => _ = ready.tree.toggle(&checkpoint, random.below(rows)),
        9 => _ = ready.tree.toggle_unfold(&checkpoint, random.below(rows)),
        10 => ready.tree.toggle_unfold_all(&checkpoint),
        11 => {
            let mode = if ready.tree.mode() == Mode::Layers { Mode::Tensors } else { Mode::Layers };
            ready.tree.set_mode(&checkpoint, mode);
        }
        12 => {
            let sort = Sort::ALL[random.below(Sort::ALL.len())];
            ready.tree.set_sort(&checkpoint, if random.below(2) == 0 { Sort::Natural } else { sort });
        }
        13 => _ = ready.tree.next_marked(&checkpoint, random.below(rows), random.below(2) == 0),
        _ => {}
    }
    let rows = ready.tree.rows().len().max(1);
    ready.tree.set_cursor(random.below(rows));
}

/// Returns the cells that a row must be drawn as, made without the widget and its window.
fn wanted(lines: &Lines<'_>, row: usize) -> Vec<String> {
    let area = Rect::new(0, 0, lines.width as u16, 1);
    let mut buffer = Buffer::empty(area);
    let arrow = match lines.describe(row).expand {
        Expand::Open => "▾ ",
        Expand::Closed => "▸ ",
        Expand::Leaf => "",
    };
    let indent = "  ".repeat(usize::from(lines.ready.tree.rows()[row].depth));
    let label = lines.label(row).to_string();
    buffer.set_stringn(0, 0, format!("{indent}{arrow}{label}"), lines.width, Style::new());
    lines.columns(&mut buffer, area, row);
    buffer.content.iter().map(|cell| cell.symbol().to_owned()).collect()
}

/// Returns what is wrong with the drawn window, if anything, and counts its lines.
fn fault(app: &App, pane: &TreePane, buffer: &Buffer, checked: &mut usize) -> Option<String> {
    let ready = app.ready()?;
    let width = usize::from(pane.area.width.saturating_sub(2));
    let widest = ready.summary.formats.iter().map(|f| f.label.width()).max().unwrap_or(0);
    let lines = Lines {
        ready,
        board: None,
        compared: None,
        width,
        format_cells: widest.clamp(4, 9),
        theme: &Theme::default(),
    };
    for (line, y) in (pane.area.y..pane.area.bottom()).enumerate() {
        let row = pane.top + line;
        if row >= ready.tree.rows().len() {
            continue;
        }
        let begin = pane.area.x + 1;
        let drawn = (begin..begin + width as u16).map(|x| buffer[(x, y)].symbol());
        let (drawn, wanted) = (drawn.collect::<String>(), wanted(&lines, row).concat());
        if drawn != wanted {
            return Some(format!("row {row} is drawn\n{drawn}, not\n{wanted}"));
        }
        let is_marked = buffer[(pane.area.x, y)].symbol() == "▌";
        if is_marked != (row == ready.tree.cursor()) {
            return Some(format!("row {row}: cursor at {}", ready.tree.cursor()));
        }
        *checked += 1;
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
    let mut checked = 0;
    for frame in 0..3200 {
        stir(&mut app, &mut random);
        let (width, height) = (30 + random.below(90) as u16, 3 + random.below(30) as u16);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|f| draw(f, f.area(), &app, &mut pane, &theme)).unwrap();
        let found = fault(&app, &pane, terminal.backend().buffer(), &mut checked);
        assert_eq!(found, None, "frame {frame}, {width}x{height}");
    }
    assert!(checked > 20_000, "{checked} lines are few for so many frames");
}
