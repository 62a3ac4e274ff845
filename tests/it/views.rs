//! Every view over real samples, at 80x24 and 120x36, driven by keys: snapshots of the text on screen.

use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::Theme;
use ckpt::workbench::{Script, screenshot, text_of};
use ratatui::buffer::Buffer;
use ratatui::style::Modifier;

const FULL: Degrade = Degrade { colors: Colors::True, is_ascii: false };

/// Draws a sample after some keys. Paths are relative: cargo runs tests in the package's folder, and no
/// picture may depend on where that lies.
fn draw(paths: &[&str], keys: &str, size: (u16, u16), degrade: Degrade) -> Buffer {
    let paths: Vec<String> = paths.iter().map(|path| format!("samples/{path}")).collect();
    let theme = Theme::built_in("dark").unwrap().at(degrade.colors);
    screenshot(&Script { paths: &paths, adapter: None, keys, size, theme: &theme, degrade }).unwrap()
}

const GPTQ: &str = "gptq-w4-g128-sym-v1-A/model";

/// Name of the view, what is open, and the keys that lead there.
const VIEWS: [(&str, &[&str], &str); 38] = [
    ("first", &[GPTQ], ""),
    ("layer", &[GPTQ], "j j j j j j j"),
    ("layer-nested-bnb", &["bnb-nf4-dq-A/model"], "j j j j j j"),
    ("layer-broken", &["bad-quantized/gptq-missing-scales"], "n"),
    ("group", &["story-0-minicpmv-awq/model"], "j j j j"),
    ("gguf", &["gguf-q4_k_m-K/model.gguf"], ""),
    ("tensors", &["bnb-nf4-dq-A/model"], "t j j"),
    ("unfolded", &[GPTQ], "j j j u"),
    ("filter-typing", &[GPTQ], "/ type:down"),
    ("filter-kept", &[GPTQ], "/ type:shape:256 enter"),
    ("filter-component", &[GPTQ], "/ type:down enter"),
    ("filter-wrong", &[GPTQ], "/ type:nope:1"),
    ("marked", &[GPTQ], "j j j j j j space space"),
    ("marked-values", &[GPTQ], "j j j j j j space space v"),
    ("sort-menu", &[GPTQ], "s"),
    ("sorted-by-bytes", &[GPTQ], "s j enter"),
    ("problems", &["bad-folders/missing-shard"], "3"),
    ("problems-several", &["bad-safetensors/files/overlap.safetensors"], "3 j"),
    ("problems-nan-scale", &["bad-quantized/gptq-nan-scale"], "3"),
    ("no-problem", &[GPTQ], "3"),
    ("purposes", &[GPTQ], "3 f j"),
    ("finding-qlora", &["story-0-minicpmv-awq/model"], "3 f j enter"),
    ("finding-inside", &["story-1-qwenvl-autogptq/model"], "3 f j enter j l j j"),
    ("finding-silent", &["bad-quantized/gptq-unknown-method"], "3"),
    ("matrix", &[GPTQ], "3 M"),
    ("error-empty", &[GPTQ], "e"),
    ("error-cause", &["story-1-qwenvl-autogptq/model"], "paste:tests/it/stories/1-qweight-device.txt tab j"),
    ("error-not-shown", &["base-A-bf16/model"], "paste:tests/it/stories/1-qweight-device.txt tab"),
    ("adapter", &["peft-lora-all-A/adapter"], "4"),
    ("no-adapter", &[GPTQ], "4"),
    ("memory", &["story-0-minicpmv-awq/model"], "5"),
    ("help", &[GPTQ], "?"),
    ("palette", &[GPTQ], ": type:so"),
    ("log", &[GPTQ], "3 Y 1 Y @"),
    ("unreadable", &["bad-safetensors/files/git-lfs-pointer.safetensors"], ""),
    ("failed", &["bad-folders/not-here"], ""),
    ("two-checkpoints", &["base-A-bf16/model", GPTQ], "."),
    ("hostile-name", &["bad-safetensors/files/control-chars-name.safetensors"], "j"),
];

#[test]
fn every_view_is_as_it_was_looked_at() {
    let mut drawn = 0;
    for (name, paths, keys) in VIEWS {
        for size in [(120, 36), (80, 24)] {
            let text = text_of(&draw(paths, keys, size, FULL));
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text);
            drawn += 1;
        }
    }
    println!("{drawn} screens");
    assert_eq!(drawn, 76);
}

/// Name of the view, the adapter that is attached to a plain base, and the keys that lead there.
const BOARDS: [(&str, &str, &str); 9] = [
    ("board", "peft-bad-keys/good", ""),
    ("board-unfolded", "peft-bad-keys/good", "enter j"),
    ("board-wrapped", "peft-bad-keys/base-layer-infix", "j"),
    ("board-keys", "peft-bad-keys/base-layer-infix", "enter"),
    ("board-shape", "peft-bad-keys/wrong-shape", "n"),
    ("board-missing", "peft-bad-keys/extra-layer", "n"),
    ("board-states", "peft-bad-keys/missing-lora-B", "f j"),
    ("board-tree", "peft-bad-keys/good", "esc"),
    ("board-failed", "base-B-bf16/model", ""),
];

#[test]
fn every_board_is_as_it_was_looked_at() {
    let paths = ["samples/base-A-bf16/model".to_owned()];
    let theme = Theme::built_in("dark").unwrap();
    for (name, adapter, keys) in BOARDS {
        let adapter = format!("samples/{adapter}");
        for size in [(120, 36), (80, 24), (60, 12), (40, 10), (239, 60)] {
            let script =
                Script { paths: &paths, adapter: Some(&adapter), keys, size, theme: &theme, degrade: FULL };
            let text = text_of(&screenshot(&script).unwrap());
            let widest = text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= usize::from(size.0), "{name} at {size:?}: {text}");
            if matches!(size, (120, 36) | (80, 24)) {
                insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text);
            }
        }
    }
}

#[test]
fn a_picture_writes_nothing() {
    let before = std::fs::read_dir("samples/gptq-w4-g128-sym-v1-A").unwrap().count();
    let text = text_of(&draw(&[GPTQ], "c enter", (120, 36), FULL));
    assert!(text.contains("convert was not started: a picture writes nothing"), "{text}");
    assert_eq!(std::fs::read_dir("samples/gptq-w4-g128-sym-v1-A").unwrap().count(), before);
}

#[test]
fn two_checkpoints_are_turned_between() {
    let both = ["base-A-bf16/model", GPTQ];
    let first = text_of(&draw(&both, "", (120, 36), FULL));
    assert!(first.contains("base-A-bf16/model") && first.contains("1 of 2"), "{first}");
    let second = text_of(&draw(&both, ".", (120, 36), FULL));
    assert!(second.contains(GPTQ) && second.contains("2 of 2"), "{second}");
}

#[test]
fn names_from_strangers_do_not_reach_the_screen_raw() {
    for file in ["control-chars-name", "rtl-name", "very-long-name"] {
        for keys in ["", "t", "3", "5", "s j enter"] {
            let path = format!("bad-safetensors/files/{file}.safetensors");
            let text = text_of(&draw(&[&path], keys, (80, 24), FULL));
            let raw = text.chars().find(|c| *c != '\n' && ckpt::name::is_unsafe_char(*c));
            assert_eq!(raw, None, "{file}: {text}");
        }
    }
}

#[test]
fn ascii_without_color_keeps_the_cursor_and_shows_no_other_glyph() {
    let plain = Degrade { colors: Colors::None, is_ascii: true };
    for (name, paths, keys) in VIEWS {
        let buffer = draw(paths, keys, (80, 24), plain);
        let text = text_of(&buffer);
        assert!(text.is_ascii(), "{name}: {text}");
        let cells = buffer.content.iter();
        assert!(cells.clone().all(|c| c.fg == ratatui::style::Color::Reset), "{name}: a color");
        if name == "layer" {
            insta::assert_snapshot!("ascii-80x24", text);
            let is_reversed = |x, y: u16| buffer[(x, y)].modifier.contains(Modifier::REVERSED);
            let cursor =
                (2..22).find(|y| text.lines().nth(usize::from(*y)).unwrap().starts_with("|*")).unwrap();
            assert!(
                (1..36).all(|x| is_reversed(x, cursor)),
                "line {cursor} is not reversed all along:\n{text}"
            );
            assert!(!is_reversed(5, cursor - 1) && !is_reversed(5, cursor + 1), "{text}");
        }
    }
}

#[test]
fn any_size_is_drawn() {
    for (width, height) in [(1, 1), (3, 40), (34, 7), (40, 10), (50, 12), (59, 20), (61, 20), (300, 100)] {
        for (_, paths, keys) in VIEWS {
            draw(paths, keys, (width, height), FULL);
        }
    }
    let tiny = text_of(&draw(&[GPTQ], "", (34, 7), FULL));
    assert!(tiny.starts_with("ckpt needs 40x10, has 34x7"), "{tiny}");
}
