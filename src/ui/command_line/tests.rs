//! Tests of `command_line`.

use super::*;

fn text(command: &str, width: usize) -> Vec<String> {
    let theme = Theme::built_in("dark").unwrap();
    lines(command, width, &theme).iter().map(ToString::to_string).collect()
}

#[test]
fn a_long_command_is_broken_before_a_flag() {
    let command = "ckpt convert model --to dense -o ../model-dense";
    assert_eq!(text(command, 80), ["$ ckpt convert model --to dense -o ../model-dense"]);
    assert_eq!(text(command, 36), ["$ ckpt convert model --to dense \\", "    -o ../model-dense"]);
    let quoted = "ckpt convert 'a -b  c' --to dense";
    assert_eq!(text(quoted, 24), ["$ ckpt convert \\", "    'a -b  c' --to dense"]);
    let narrow = text(command, 12);
    assert!(narrow.iter().all(|line| line.width() <= 12), "{narrow:?}");
}
