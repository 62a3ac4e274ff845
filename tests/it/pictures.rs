//! The README's pictures: made anew from samples, and compared with those that it shows.
//!
//! After a change that is meant, `INSTA_UPDATE=always cargo test pictures` makes them, as it does snapshots.

use std::io::Write as _;
use std::path::Path;

use ckpt::ui::degrade::{ColorFlag, Environment, decide};
use ckpt::ui::picture;
use ckpt::ui::theme::Theme;
use ckpt::workbench::{Script, screenshot};

/// A picture: its name, what is opened, and the keys that lead to it.
const PICTURES: [(&str, &str, &str); 4] = [
    ("screen", "samples/gptq-w4-g128-sym-v1-A/model", "j j j j j j"),
    ("values", "samples/gptq-w4-g128-sym-v1-A/model", "v j j j j j j"),
    ("compare", "samples/gptq-w4-g128-sym-v1-A/model", "b type:samples/base-A-bf16/model enter j j j j j j"),
    ("error", "samples/gptq-w4-g128-sym-v1-A/model", "e paste:tests/it/stories/2-bitsandbytes-config.txt"),
];

#[test]
fn the_readmes_pictures_show_the_workbench_as_it_is() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    assert_eq!(
        readme.matches("(.github/").count(),
        PICTURES.len(),
        "each picture of the README is made here"
    );
    let theme = Theme::load("dark", &|_| None).unwrap();
    let anywhere = Environment { lang: Some("C.UTF-8".into()), ..Environment::default() };
    let degrade = decide(&anywhere, ColorFlag::TrueColor, false);
    let updates = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    let mut stale = Vec::new();
    for (name, path, keys) in PICTURES {
        assert!(readme.contains(&format!("(.github/{name}.svg)")), "{name}: not in the README");
        let paths = [path.to_owned()];
        let script = Script { paths: &paths, adapter: None, keys, size: (120, 36), theme: &theme, degrade };
        let made = picture::svg(&screenshot(&script).unwrap(), &theme);
        let file = format!(".github/{name}.svg");
        if std::fs::read_to_string(Path::new(&file)).is_ok_and(|stands| stands == made) {
            continue;
        }
        if updates {
            std::fs::remove_file(&file).unwrap_or_default();
            std::fs::File::create_new(&file).unwrap().write_all(made.as_bytes()).unwrap();
        } else {
            stale.push(file);
        }
    }
    assert!(stale.is_empty(), "not as the workbench is now: {stale:?}; INSTA_UPDATE=always makes them anew");
}
