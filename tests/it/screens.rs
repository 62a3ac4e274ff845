//! Screens: what a person sees of the samples, view by view, at two sizes; and claims that hold for all.
//!
//! The pictures are in `snapshots/`. A change of a view shows there, to be looked at.

use ckpt::ui::degrade::{ColorFlag, Degrade, Environment, decide};
use ckpt::ui::theme::Theme;
use ckpt::workbench::{Script, screenshot, text_of};
use unicode_width::UnicodeWidthStr;

/// A terminal that shows everything.
fn everything(is_ascii: bool) -> Degrade {
    let anywhere = Environment { lang: Some("C.UTF-8".into()), ..Environment::default() };
    decide(&anywhere, ColorFlag::TrueColor, is_ascii)
}

/// Draws a sample after a script of keys. Paths are relative, so that pictures are alike everywhere.
fn draw_as(path: &str, keys: &str, size: (u16, u16), is_ascii: bool) -> String {
    let theme = Theme::built_in("dark").unwrap();
    let paths = [format!("samples/{path}")];
    let script = Script { paths: &paths, keys, size, theme: &theme, degrade: everything(is_ascii) };
    text_of(&screenshot(&script).unwrap())
}

fn draw(path: &str, keys: &str, size: (u16, u16)) -> String {
    draw_as(path, keys, size, false)
}

const LARGE: (u16, u16) = (120, 36);
const SMALL: (u16, u16) = (80, 24);

const GPTQ: &str = "gptq-w4-g128-sym-v1-A/model";
const NF4: &str = "bnb-nf4-dq-A/model";
const LORA: &str = "peft-lora-all-A/adapter";
const CUT: &str = "bad-folders/one-shard-truncated";
const GGUF: &str = "gguf-q4_k_m-K/model.gguf";

/// Name of the picture, sample, keys.
const VIEWS: [(&str, &str, &str); 16] = [
    ("first", GPTQ, ""),
    ("gptq_layer", GPTQ, "j j j j j j"),
    ("group", GPTQ, "j j j"),
    ("tensors", GPTQ, "t l j"),
    ("filter_while_typing", GPTQ, "/ type:q_pr"),
    ("filter_kept", GPTQ, "/ type:_proj enter n"),
    ("filter_refused", GPTQ, "/ type:shape:x"),
    ("sorted_by_bytes", GPTQ, "s j enter"),
    ("sort_menu", GPTQ, "s j"),
    ("nf4_layer", NF4, "j j j j j j j"),
    ("gguf_layer", GGUF, "j"),
    ("adapter", LORA, "4"),
    ("problems", CUT, "3"),
    ("no_problem", GPTQ, "3"),
    ("memory", GGUF, "5"),
    ("palette", NF4, ": type:me"),
];

#[test]
fn every_view_looks_as_it_did() {
    for (name, path, keys) in VIEWS {
        insta::assert_snapshot!(format!("{name}_120x36"), draw(path, keys, LARGE));
        insta::assert_snapshot!(format!("{name}_80x24"), draw(path, keys, SMALL));
    }
}

#[test]
fn a_screen_without_room_says_what_it_needs_and_what_is_open() {
    insta::assert_snapshot!("too_small", draw(GPTQ, "", (34, 7)));
    insta::assert_snapshot!("one_pane_tree", draw(GPTQ, "j j j", (50, 14)));
    insta::assert_snapshot!("one_pane_detail", draw(GPTQ, "j j j j j j enter", (50, 14)));
}

#[test]
fn what_cannot_be_opened_says_why_and_what_helps() {
    insta::assert_snapshot!(
        "lfs_pointer",
        draw("bad-safetensors/files/git-lfs-pointer.safetensors", "", LARGE)
    );
}

#[test]
fn no_line_is_wider_than_the_screen_at_any_size() {
    for width in [1, 20, 40, 41, 59, 60, 79, 99, 100, 159, 160, 240] {
        for height in [1, 10, 24] {
            for (_, path, keys) in VIEWS {
                let text = draw(path, keys, (width, height));
                assert_eq!(text.lines().count(), usize::from(height));
                let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
                assert!(widest <= usize::from(width), "{path} {keys} at {width}x{height}: {widest} cells");
            }
        }
    }
}

#[test]
fn ascii_screens_are_ascii() {
    for (_, path, keys) in VIEWS {
        let text = draw_as(path, keys, LARGE, true);
        let odd = text.chars().find(|c| !c.is_ascii());
        assert_eq!(odd, None, "{path} {keys}");
    }
}

#[test]
fn escape_goes_back_and_never_quits() {
    let first = draw(GPTQ, "", LARGE);
    let head = |text: &str| text.lines().take(34).map(str::to_owned).collect::<Vec<_>>();
    for keys in
        ["3 esc", "5 esc", "? esc", ": esc", "s esc", "@ esc", "/ type:q_proj esc gg", "o esc", "enter esc"]
    {
        let keys = keys.replace("gg", "g g");
        assert_eq!(head(&draw(GPTQ, &keys, LARGE)), head(&first), "{keys}");
    }
}

#[test]
fn all_views_of_all_samples_draw() {
    for entry in std::fs::read_dir(crate::sample("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for below in ["", "/model", "/adapter"] {
            if !crate::sample(&format!("{name}{below}")).is_dir() {
                continue;
            }
            let path = format!("{name}{below}");
            let text = draw(&path, "t j j l l u n 3 G 4 5 1 s j enter j esc /", SMALL);
            assert_eq!(text.lines().count(), 24, "{path}");
            let unsafe_char = text.chars().find(|c| *c != '\n' && ckpt::name::is_unsafe_char(*c));
            assert_eq!(unsafe_char, None, "{path}");
        }
    }
}
