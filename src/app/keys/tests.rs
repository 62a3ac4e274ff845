//! Tests of `keys`.

use super::*;
use crate::app::command::DOC_CELLS_MAX;

#[test]
fn no_two_commands_share_a_key() {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for command in COMMANDS {
        for key in command.keys {
            assert_eq!(seen.insert(key, command.name), None, "{key} is bound twice");
        }
    }
}

#[test]
fn what_a_command_does_fits_into_a_column_of_help() {
    for command in COMMANDS {
        let cells = unicode_width::UnicodeWidthStr::width(command.doc);
        assert!(cells <= DOC_CELLS_MAX, "{}: {cells} cells", command.name);
    }
}

#[test]
fn the_user_binds_keys_to_names() {
    let map = keymap(Some("[keys]\n\"ctrl-o\" = \"open\"")).unwrap();
    assert_eq!(map["ctrl-o"].name, "open");
    let error = keymap(Some("[keys]\nx = \"nope\"")).err().unwrap();
    assert_eq!(error, "keys.toml: no command is named nope");
    assert!(keymap(Some("keys = 3")).is_err());
    let error = keymap(Some("[keys]\n\"ctrl-entr\" = \"open\"")).err().unwrap();
    assert!(
        error.starts_with("keys.toml: no key is named ctrl-entr; there are single characters"),
        "{error}"
    );
}

#[test]
fn every_key_that_a_command_has_is_one() {
    for key in COMMANDS.iter().flat_map(|command| command.keys) {
        assert_eq!(check(key), Ok(()));
    }
    for wrong in ["", "ab", "f13", "ctrl-", " ", "Enter"] {
        assert!(check(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_keys_of_a_command_are_those_that_run_it() {
    let named = |name: &str| COMMANDS.iter().find(|c| c.name == name).unwrap();
    assert_eq!(keys_of(&keymap(None).unwrap(), named("last")), ["G", "end"]);
    let map = keymap(Some("[keys]\n\"ctrl-e\" = \"last\"\nG = \"first\"")).unwrap();
    assert_eq!(keys_of(&map, named("last")), ["ctrl-e", "end"]);
    assert_eq!(keys_of(&map, named("first")), ["G", "home"]);
}
