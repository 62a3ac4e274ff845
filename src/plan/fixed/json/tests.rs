//! Tests of `json`.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

fn set(text: &str, at: &str, value: impl Into<Option<Value>>) -> String {
    let mut json = Json::parse(text.into()).unwrap();
    json.set(&path(at), value.into().as_ref()).unwrap();
    json.into_text()
}

#[test]
fn only_what_is_edited_changes() {
    let text = "{\n  \"eps\": 1e-06,\n  \"q\": {\n    \"bits\": 4,\n    \"x\": \"a\\\"}\"\n  },\n  \"big\": 1000000000000000019884624838656\n}\n";
    let changed = set(text, "q.bits", Some(json!(8)));
    assert_eq!(changed, text.replace("4,", "8,"));
    let changed = set(text, "q.use_exllama", Some(json!(false)));
    assert_eq!(changed, text.replace("\"a\\\"}\"\n", "\"a\\\"}\",\n    \"use_exllama\": false\n"));
    let changed = set(text, "q", None);
    assert_eq!(changed, "{\n  \"eps\": 1e-06,\n  \"big\": 1000000000000000019884624838656\n}\n");
    assert_eq!(set(text, "eps", None), text.replace("  \"eps\": 1e-06,\n", ""));
    let changed = set(text, "big", None);
    assert!(changed.ends_with("  }\n}\n"), "{changed}");
    let changed = set(text, "q", Some(json!({"a": [1]})));
    assert!(changed.contains("  \"q\": {\n    \"a\": [\n      1\n    ]\n  },\n"), "{changed}");
}

#[test]
fn what_is_not_there_is_made_and_what_is_no_object_is_refused() {
    assert_eq!(set("{}", "a", Some(json!(1))), "{\n  \"a\": 1\n}");
    assert_eq!(
        set("{\"x\":{}}", "x.y.z", Some(json!(true))).replace([' ', '\n'], ""),
        "{\"x\":{\"y\":{\"z\":true}}}"
    );
    assert_eq!(set("{\"a\": 1}", "b", None), "{\"a\": 1}");
    assert_eq!(set("{\"a\": 1}", "a", None), "{}");
    assert_eq!(set("{\"a\": 1, \"a\": 2, \"b\": 3}", "a", None), "{\"b\": 3}");
    assert_eq!(set("{\"a\": 1, \"a\": 2}", "a", Some(json!(7))), "{\"a\": 1, \"a\": 7}");
    assert_eq!(set("{\"\\u0061\": 1}", "a", Some(json!(7))), "{\"\\u0061\": 7}");
    let mut json = Json::parse("{\"a\": [1]}".into()).unwrap();
    assert_eq!(json.set(&path("a.b"), Some(&json!(1))), Err("a".into()));
    assert!(Json::parse("[1]".into()).unwrap().set(&path("a"), Some(&json!(1))).is_err());
    assert!(Json::parse("{\"a\": NaN}".into()).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\{}\\[\\],: \u{e9}\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_text_that_is_edited_has_the_value_that_is_edited(
        value in prop::collection::btree_map("[a-c\"\\\\]{1,2}", any_json(), 0..4),
        at in prop::collection::vec("[a-c\"\\\\]{1,2}", 1..3),
        new in prop::option::of(any_json()),
        is_pretty: bool,
    ) {
        let value = Value::Object(value.into_iter().collect());
        let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
        let mut json = Json::parse(text).unwrap();
        if json.set(&at, new.as_ref()).is_ok() {
            let mut wanted = value;
            edit(&mut wanted, &at, new);
            let text = json.into_text();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
        }
    }
}

fn edit(value: &mut Value, path: &[String], new: Option<Value>) {
    let Some(object) = value.as_object_mut() else { return };
    match (path, new) {
        ([last], Some(new)) => drop(object.insert(last.clone(), new)),
        ([last], None) => drop(object.shift_remove(last)),
        ([first, ..], None) if !object.contains_key(first) => {}
        ([first, rest @ ..], new) => {
            edit(object.entry(first.clone()).or_insert_with(|| json!({})), rest, new);
        }
        ([], _) => {}
    }
}
