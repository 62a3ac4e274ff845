//! What all rules have in common.

use super::*;

#[test]
fn codes_and_names_are_of_one_rule_each() {
    for (at, rule) in RULES.iter().enumerate() {
        for other in &RULES[at + 1..] {
            assert_ne!(rule.code(), other.code());
            assert_ne!(rule.kind.name, other.kind.name);
        }
    }
}

#[test]
fn every_rule_says_what_it_looks_for_why_and_what_helps() {
    for rule in RULES {
        for (what, text) in [
            ("looks_for", rule.looks_for),
            ("why", rule.why),
            ("remedy", rule.remedy),
            ("sources", rule.sources),
        ] {
            assert!(text.len() > 10, "{rule:?}: {what} is {text:?}");
        }
    }
}
