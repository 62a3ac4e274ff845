//! Tests of `filter`.

use super::*;

#[test]
fn unknown_predicates_and_bad_values_are_lines_to_show() {
    let cases = [
        ("dtpye:F16", "no predicate \"dtpye:\"; there are dtype: format: shape: shard: bits: is:"),
        ("bits:four", "bits: wants a number, as bits:4, not \"four\""),
        ("dtype:", "dtype: wants a dtype, as dtype:F16, not nothing"),
        ("is:\u{202e}x", "is: wants broken, quantized, dense, tied, odd, not \"\\u202ex\""),
        ("shape:[1,", "shape: wants dimensions, as shape:1536 or shape:[1536,*], not \"[1,\""),
        ("shard:0", "shard: wants a number from 1 or part of a file name, not \"0\""),
    ];
    for (text, message) in cases {
        assert_eq!(Filter::parse(text).unwrap_err(), message);
    }
    assert!(Filter::parse(&"x.y ".repeat(33)).is_err(), "64 bits are the limit");
}

#[test]
fn a_sign_alone_is_not_yet_a_part() {
    for text in ["", "  ", "-", "~", "-~"] {
        assert!(Filter::parse(text).unwrap().is_empty(), "{text:?}");
    }
}

#[test]
fn shapes_are_read_as_screens_print_them() {
    let shape = |text: &str| match Filter::parse(text).unwrap().terms.as_slice() {
        [Term { kind: TermKind::Shape(shape), .. }] => shape.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shape("shape:1536"), ShapePattern::Any(1536));
    let square = ShapePattern::Whole(vec![Some(1536), Some(1536)]);
    assert_eq!(shape("shape:[1536, 1536]"), square);
    assert_eq!(shape("shape:1536x1536"), square);
    assert_eq!(shape("shape:[]"), ShapePattern::Whole(vec![]));
    assert!(shape("shape:1536x*").matches(&[1536, 7]));
    assert!(!shape("shape:1536x*").matches(&[1536]));
}

#[test]
fn hits_inside_labels_are_marked_once() {
    let check = |text: &str, label: &str, want: &[Range<usize>]| {
        assert_eq!(Filter::parse(text).unwrap().highlight(label), want, "{text} in {label}");
    };
    check("proj", "Proj_proj", &[0..4, 5..9]);
    check("Proj", "Proj_proj", std::slice::from_ref(&(0..4)));
    check("pro roj", "q_proj", std::slice::from_ref(&(2..6)));
    check("-proj", "q_proj", &[]);
    check("layers.1", "layers.17", std::slice::from_ref(&(0..8)));
    check("layers.17.down", "down_proj", std::slice::from_ref(&(0..4)));
    check("~dpj", "x.down_proj", &[2..3, 7..8, 10..11]);
    check("ö", "größe", std::slice::from_ref(&(2..4)));
}
