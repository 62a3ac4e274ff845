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
            assert!(text.len() >= 8, "{rule:?}: {what} is {text:?}");
        }
    }
}

/// What may stand in a place of a message.
fn example(name: &str) -> &'static str {
    match name {
        "key" => "base_model.model.model.layers.0.self_attn.q_proj",
        "file" => "/data/some model/model-00002-of-00004.safetensors",
        "shape" => "torch.Size([151936, 4096])",
        "method" => "GPTQConfig",
        "class" => "BitsAndBytesConfig",
        "n" => "128",
        _ => "something else",
    }
}

/// Returns a message as upstream prints it, with examples in its places.
fn printed(text: &'static str) -> String {
    let inside = text.replace("[{shape}", "[151936, 4096").replace("({shape}", "([151936, 4096]");
    let mut printed = inside;
    for name in message::template::PLACES {
        printed = printed.replace(&format!("{{{name}}}"), example(name));
    }
    printed
}

#[test]
fn every_message_is_recognized_alone_in_a_traceback_and_wrapped() {
    let mut count = 0;
    for rule in RULES {
        for known in rule.messages {
            count += 1;
            let printed = printed(known.text);
            let error = if printed.contains("Error: ") {
                printed.clone()
            } else {
                format!("RuntimeError: {printed}")
            };
            let traceback = format!(
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\n{error}\n"
            );
            let wrapped: Vec<String> =
                traceback.chars().collect::<Vec<_>>().chunks(60).map(|part| part.iter().collect()).collect();
            for text in [printed, traceback, wrapped.join("\n")] {
                let answer = message::explain(&text, None);
                assert!(answer.codes().contains(&rule.code()), "{rule:?}: {text:?} is {:?}", answer.codes());
            }
        }
    }
    assert!(count >= RULES.len(), "{count} messages");
}

#[test]
fn messages_have_enough_literal_text_to_be_sure_of_them() {
    for rule in RULES {
        for known in rule.messages {
            let bytes = message::template::literal_bytes(known.text);
            assert!(bytes >= 12, "{rule:?}: {:?} has {bytes} literal bytes", known.text);
            assert!(!known.text.contains("}{"), "{rule:?}: {:?} has places without text between", known.text);
            assert!(known.seen_in.len() > 3, "{rule:?}: {:?} says not where it is seen", known.text);
        }
    }
}

#[test]
fn texts_of_other_things_are_not_taken_for_known_messages() {
    for text in [
        "ValueError: learning rate must be positive",
        "ModuleNotFoundError: No module named 'flash_attn'",
        "KeyError: 'labels'",
        "AttributeError: 'NoneType' object has no attribute 'shape'",
        "ConnectionError: HTTPSConnectionPool(host='example.org', port=443)",
        "AssertionError",
        "hello",
        "",
    ] {
        let answer = message::explain(text, None);
        assert_eq!(answer.verdict, message::Verdict::Unknown, "{text:?}: {:?}", answer.codes());
    }
}
