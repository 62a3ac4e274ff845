//! Searches for bases: found, not found, never the adapter itself.

use super::*;

fn search(adapter: &str, change: impl FnOnce(&mut Adapter)) -> Search {
    let checkpoint = Checkpoint::open(adapter).unwrap();
    let mut facts = Adapter::of(&checkpoint).unwrap();
    change(&mut facts);
    Search::of(&checkpoint, &facts)
}

#[test]
fn a_base_is_found_near_its_adapter_or_where_the_config_says() {
    let near = search("samples/peft-bad-keys/good", |_| {});
    assert_eq!(near.named.as_deref(), Some("base-A-bf16"));
    let found = near.found.unwrap();
    assert_eq!((found.path.as_str(), found.how), ("samples/base-A-bf16/model", "near the adapter"));
    let told = search("samples/peft-bad-keys/good", |facts| {
        facts.base = Some("samples/base-B-bf16/model".into());
    });
    let found = told.found.unwrap();
    assert_eq!((found.path.as_str(), found.how), ("samples/base-B-bf16/model", "as the config names it"));
}

#[test]
fn what_is_not_there_says_where_it_was_looked_for() {
    for (named, looked) in
        [("/no/such/base", 3), ("no-such-org/no-such-base", 4), ("./no-such/..", 1), ("a\0b", 4)]
    {
        let search = search("samples/peft-bad-keys/good", |facts| facts.base = Some(named.into()));
        assert_eq!(search.found, None, "{named}");
        assert_eq!(search.looked.len(), looked, "{named}: {:?}", search.looked);
    }
    let long = search("samples/peft-bad-keys/good", |facts| facts.base = Some("x/".repeat(1 << 20)));
    assert!(long.found.is_none() && long.looked.iter().all(|place| place.len() < 1000));
    let none = search("samples/peft-bad-keys/good", |facts| facts.base = None);
    assert_eq!((none.named, none.found, none.looked.len()), (None, None, 0));
}

#[test]
fn an_adapter_is_not_its_own_base() {
    let own = search("samples/peft-bad-keys/good", |facts| {
        facts.base = Some("samples/peft-bad-keys/good".into());
    });
    assert_eq!(own.found, None);
}
