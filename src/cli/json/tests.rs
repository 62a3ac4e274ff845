//! Tests of `json`.

use super::*;

#[test]
fn prepared_pieces_are_json() {
    let mut buffer = Vec::new();
    for text in ["plain.weight", "a\"b\\c\n\x1b\u{202e}é", ""] {
        push_text(&mut buffer, text);
        let parsed: String = serde_json::from_slice(&buffer).unwrap();
        assert_eq!(parsed, text);
        buffer.clear();
    }
    for number in [0, 7, 10, u64::MAX] {
        push_number(&mut buffer, number);
        assert_eq!(String::from_utf8(buffer.split_off(0)).unwrap(), number.to_string());
    }
}

#[test]
fn controls_and_bidirectional_marks_are_escaped() {
    let mut out = Vec::new();
    write_line(&mut out, &"a\x1b[31m\u{7f}\u{9b}\u{202e}é\"").unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "\"a\\u001b[31m\\u007f\\u009b\\u202eé\\\"\"\n");
}
