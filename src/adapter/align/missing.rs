//! Missing: why a module has no layer in the base, in words.

use crate::adapter::names::{BaseNames, Found};
use crate::checkpoint::Checkpoint;

/// Says why no layer was found.
pub(super) fn missing(found: &Found, path: &str, (base, names): (&Checkpoint, &BaseNames<'_>)) -> String {
    // Llama.cpp's names are those of its own files.
    let is_gguf = |name: &str| {
        name.strip_prefix("blk.").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    match found {
        Found::Ambiguous(names) => {
            let mut names: Vec<String> =
                names.iter().take(4).map(|name| crate::name::escape(name).into_owned()).collect();
            names.sort();
            format!("ambiguous: it could be {}; --strip-prefix decides", names.join(" or "))
        }
        _ if is_gguf(path) && base.files.container.name() != "gguf" => {
            "the base has no such layer: this is llama.cpp's name, which the GGUF file of the base has".into()
        }
        _ => match names.not_named().filter(|_| !is_gguf(path)) {
            Some(why) => format!("the base has no such layer by its own names, and {why}"),
            None => "the base has no such layer".into(),
        },
    }
}
