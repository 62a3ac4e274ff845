//! Tests of `select`.

use super::*;

#[test]
fn patterns_are_of_whole_names() {
    let of = |only: &[&str], skip: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Selection::new(&own(only), &own(skip)).unwrap()
    };
    let name = "model.layers.1.mlp.up_proj";
    assert!(of(&[], &[]).takes(name) && of(&[], &[]).is_all());
    assert!(of(&["*.mlp.*"], &[]).takes(name) && !of(&["mlp"], &[]).takes(name));
    assert!(!of(&["*.mlp.*"], &["*up_proj"]).takes(name));
    assert!(of(&["model.layers.?.mlp.up_proj"], &[]).takes(name));
    assert!(!of(&["model.layers.1.mlp.up.proj"], &[]).takes(name), "a dot is a dot");
}

#[test]
fn a_pattern_that_matches_nothing_is_named() {
    let globs = ["*.mlp.*", "lm-head", "model.layers.?", "*a\u{1b}"].map(str::to_owned);
    let names = ["model.layers.1.mlp.up_proj", "lm_head"].map(str::to_owned);
    let mut warnings = Vec::new();
    warn_of_idle(("--keep", &globs), names.into_iter(), &mut warnings).unwrap();
    assert_eq!(
        warnings,
        ["lm-head", "model.layers.?", "*a\\x1b"]
            .map(|glob| format!("--keep {glob}: no layer has such a name"))
    );
}
