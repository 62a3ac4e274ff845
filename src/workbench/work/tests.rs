//! Tests of `work`.

use super::*;
use crate::app::form::Task;

#[test]
fn a_tilde_is_the_home_folder_and_only_in_front() {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return };
    assert_eq!(expanded(Path::new("~/a/b")), home.join("a/b"));
    assert_eq!(expanded(Path::new("~")), home);
    for same in ["/a/~/b", "~a/b", "a", ""] {
        assert_eq!(expanded(Path::new(same)), Path::new(same));
    }
}

/// A folder for a test, removed at its end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_stands_where_the_result_goes_is_told_and_nothing_is_touched() {
    let scratch = Scratch(std::env::temp_dir().join(format!("ckpt-there-{}", std::process::id())));
    let root = &scratch.0;
    let full = root.join("full");
    for folder in [&full, &root.join("tree/a"), &root.join("empty"), &root.join(".left.ckpt-partial")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    for file in ["full/config.json", "full/model.safetensors", ".left.ckpt-partial/.lock"] {
        std::fs::copy("samples/base-A-bf16/model/config.json", root.join(file)).unwrap();
    }
    let checkpoint = Arc::new(Checkpoint::open_examined("samples/base-A-bf16/model").unwrap());
    let ask = |name: &str, options: engine::Options| {
        let order = crate::plan::Order::new("x", &root.join(name));
        let planned = planned(Request {
            question: 0,
            task: Task::Convert,
            checkpoint: Arc::clone(&checkpoint),
            order,
            options,
            adapters: Vec::new(),
            wishes: crate::adapter::repair::Wishes::default(),
            fixing: None,
        });
        planned.map(|planned| (planned.there, planned.obstacle)).unwrap()
    };
    let plain = engine::Options::default();
    assert_eq!(ask("new", plain), (There::Nothing, None));
    assert_eq!(ask("left", plain), (There::Unfinished(Content::default()), None));
    assert_eq!(ask("empty", plain).0, There::Checkpoint(Content::default()));
    let (there, obstacle) = ask("full", plain);
    let There::Checkpoint(content) = there else { panic!("{there:?}") };
    assert_eq!(content.files, ["config.json", "model.safetensors"]);
    assert!(obstacle.unwrap().ends_with("say in exists what becomes of it"));
    for options in [engine::Options { force: true, ..plain }, engine::Options { resume: true, ..plain }] {
        assert_eq!(ask("full", options).1, None);
    }
    let (there, obstacle) = ask("tree", engine::Options { force: true, ..plain });
    assert_eq!(there, There::Nothing);
    assert!(obstacle.unwrap().contains("it holds folders"));
    assert_eq!(names_in(root), [".left.ckpt-partial", "empty", "full", "tree"]);
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
