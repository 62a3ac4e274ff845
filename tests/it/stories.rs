//! The five user stories, end to end: the reported error and the folder, recognized, explained from the files, mended,
//! and proven, on the command line and in the workbench in a real terminal.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::pty::Scratch;
use crate::robot::Robot;
use crate::sample;

/// A story.
struct Story {
    /// Its number and the file of its error: `stories/0-meta-tensor.txt`.
    text: &'static str,
    /// The base.
    model: &'static str,
    /// The adapter, if it is about one.
    adapter: Option<&'static str>,
    /// The rule that knows the message.
    code: &'static str,
    /// What the user wanted: after the fix nothing stands in its way.
    purpose: &'static str,
    /// The command that the fix is.
    command: &'static str,
}

const STORIES: [Story; 4] = [
    Story {
        text: "0-meta-tensor.txt",
        model: "story-0-minicpmv-awq/model",
        adapter: None,
        code: "Q001",
        purpose: "qlora",
        command: "ckpt convert base --to bnb-nf4",
    },
    Story {
        text: "1-qweight-device.txt",
        model: "story-1-qwenvl-autogptq/model",
        adapter: None,
        code: "Q022",
        purpose: "qlora",
        command: "ckpt fix",
    },
    Story {
        text: "2-bitsandbytes-config.txt",
        model: "gptq-w4-g128-sym-v1-A/model",
        adapter: None,
        code: "Q001",
        purpose: "qlora",
        command: "ckpt convert base --to bnb-nf4",
    },
    Story {
        text: "3-merge-lora.txt",
        model: "bnb-nf4-dq-A/model",
        adapter: Some("peft-lora-all-A/adapter"),
        code: "Q014",
        purpose: "merge",
        command: "ckpt merge",
    },
];

fn error_text(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stories").join(name)
}

/// Copies a sample into a scratch folder, so that results lie beside it.
fn copied(sample: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(sample).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copied(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn ckpt(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckpt")).args(args).current_dir(folder).output().unwrap()
}

fn document(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).unwrap_or_else(|e| {
        panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr));
    })
}

/// Names of all files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    names.sort();
    names
}

impl Story {
    /// Puts the base (and the adapter) into a scratch folder.
    fn place(&self, kind: &str) -> Scratch {
        let scratch = Scratch::new(&format!("{kind}-{}", self.text.split('-').next().unwrap()));
        copied(&sample(self.model), &scratch.0.join("base"));
        if let Some(adapter) = self.adapter {
            copied(&sample(adapter), &scratch.0.join("lora"));
        }
        scratch
    }
}

#[test]
fn every_story_is_recognized_explained_mended_and_clean_on_the_command_line() {
    for story in STORIES {
        let scratch = story.place("story");
        let text = error_text(story.text).display().to_string();
        let mut args = vec!["diagnose", "base", "--error", &text, "--json"];
        if story.adapter.is_some() {
            args.extend(["-a", "lora"]);
        }
        let output = ckpt(&scratch.0, &args);
        let said = document(&output);
        let message = &said["message"];
        assert_eq!(
            (&message["recognized"], &message["confirmed"]),
            (&true.into(), &true.into()),
            "{}: {message}",
            story.text
        );
        let findings = said["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["code"] == story.code);
        let finding = finding.unwrap_or_else(|| panic!("{}: no {} in {findings:?}", story.text, story.code));
        assert_eq!(findings[0]["code"], message["codes"][0], "{}: the cause comes first", story.text);
        assert!(!finding["seen"].as_array().unwrap().is_empty(), "{}: {finding}", story.text);
        let fixes = finding["fixes"].as_array().unwrap();
        let fix = fixes.iter().find(|fix| fix["applies"] == true).unwrap();
        let command = fix["command"].as_str().unwrap();
        assert!(command.starts_with(story.command), "{}: {command}", story.text);
        let made = command.rsplit(" -o ").next().unwrap().to_owned();
        let command = command.replacen("ckpt", env!("CARGO_BIN_EXE_ckpt"), 1);
        let ran = Command::new("sh").args(["-c", &command]).current_dir(&scratch.0).output().unwrap();
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
        story.is_clean(&scratch.0, &made);
    }
}

impl Story {
    /// Claims that a result can be used for what the user wanted, and has all that the base had.
    fn is_clean(&self, folder: &Path, made: &str) {
        // What story 1 mends first is where the base runs, not what it is.
        let purpose = if self.command == "ckpt fix" { "load" } else { self.purpose };
        let again = document(&ckpt(folder, &["diagnose", made, "--for", purpose, "--json"]));
        let errors: Vec<&Value> =
            again["findings"].as_array().unwrap().iter().filter(|f| f["severity"] == "error").collect();
        assert!(errors.is_empty(), "{}: {errors:?}", self.text);
        assert!(ckpt(folder, &["verify", made, "--deep"]).status.success(), "{}", self.text);
        // Code, tokenizer and processor files of the base are all there.
        let is_side = |name: &String| {
            [".py", ".tiktoken", "tokenizer.json", "preprocessor_config.json"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        let side: Vec<String> = files(&folder.join("base")).into_iter().filter(is_side).collect();
        let kept = files(&folder.join(made));
        for name in &side {
            assert!(kept.contains(name), "{}: {name} is not in {kept:?}", self.text);
        }
        let config = |folder: PathBuf| -> Value {
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
        };
        let (before, after) = (config(folder.join("base")), config(folder.join(made)));
        assert_eq!(before.get("auto_map"), after.get("auto_map"), "{}", self.text);
    }
}

#[test]
fn every_story_is_told_and_mended_in_the_workbench() {
    for story in STORIES {
        let scratch = story.place("workbench");
        let base = scratch.0.join("base").display().to_string();
        let lora = scratch.0.join("lora").display().to_string();
        let mut args = vec![base.as_str(), "--no-gauges"];
        if story.adapter.is_some() {
            args.extend(["-a", &lora]);
        }
        let mut robot = Robot::start(&args, &[]);
        robot.shows("load ");
        robot.until("the rules to have looked", |screen| {
            let text = screen.contents();
            ["load ✓", "load ▲", "load ✗"].iter().any(|word| text.contains(word))
        });
        let text = std::fs::read_to_string(error_text(story.text)).unwrap();
        robot.press(&format!("\x1b[200~{text}\x1b[201~")).shows("This is your cause").shows(story.code);
        robot.press("\t").shows("Enter plan of the fix").press("\r").shows("✓ ready");
        robot.press("\r").shows("✓ verified");
        let before: Vec<PathBuf> = ["base", "lora"].iter().map(|name| scratch.0.join(name)).collect();
        let made = std::fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().path());
        let made: Vec<PathBuf> = made.filter(|path| !before.contains(path)).collect();
        assert_eq!(made.len(), 1, "{}: {made:?}", story.text);
        robot.press("\r").shows("2 of 2");
        robot.until("the rules to have looked", |screen| {
            let text = screen.contents();
            ["load ✓", "load ▲"].iter().any(|word| text.contains(word))
        });
        let name = made[0].file_name().unwrap().to_string_lossy().into_owned();
        robot.shows(&name).press("q");
        assert_eq!(robot.ends().0, 0);
        story.is_clean(&scratch.0, &name);
    }
}

/// Story 4: the message is known, and with a perfect adapter the files are fine: it is a release of bitsandbytes.
#[test]
fn a_key_error_of_a_perfect_adapter_says_that_the_files_are_fine_and_whose_fault_it_is() {
    let text = error_text("4-base-layer.txt").display().to_string();
    let (base, adapter) = (sample("bnb-nf4-A/model"), sample("peft-lora-all-A/adapter"));
    let (base, adapter) = (base.display().to_string(), adapter.display().to_string());
    let output = ckpt(Path::new("."), &["diagnose", &base, "-a", &adapter, "--error", &text, "--json"]);
    let said = document(&output);
    let message = &said["message"];
    assert_eq!((&message["recognized"], &message["confirmed"]), (&true.into(), &false.into()), "{message}");
    let words = message.to_string();
    for wanted in ["0.41.2", "These files are fine", "14 of 14 modules"] {
        assert!(words.contains(wanted), "no {wanted} in {words}");
    }
    assert!(output.status.success(), "fine files are exit code 0");
    let mut robot = Robot::start(&[&base, "-a", &adapter, "--no-gauges"], &[]);
    robot.shows("load ✓");
    let text = std::fs::read_to_string(&text).unwrap();
    robot.press(&format!("\x1b[200~{text}\x1b[201~")).shows("usually means").shows("0.41.2");
    robot.shows("These files are fine").press("\x1b");
    robot.until("the overlay to close", |screen| !screen.contents().contains("Explain an error"));
    robot.press("q");
    assert_eq!(robot.ends().0, 0);
}

/// The same story with the keys that really have the segment: repaired, and every module lands.
#[test]
fn an_adapter_with_base_layer_in_its_keys_is_repaired() {
    let scratch = Scratch::new("story-4");
    copied(&sample("base-A-bf16/model"), &scratch.0.join("base"));
    copied(&sample("peft-bad-keys/base-layer-infix"), &scratch.0.join("lora"));
    let text = error_text("4-base-layer.txt").display().to_string();
    let args = ["diagnose", "base", "-a", "lora", "--error", &text, "--json"];
    let said = document(&ckpt(&scratch.0, &args));
    let finding =
        said["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "A001").cloned();
    let finding = finding.unwrap_or_else(|| panic!("no A001: {said}"));
    let fixes = finding["fixes"].as_array().unwrap();
    let fix = fixes.iter().find(|fix| fix["applies"] == true).unwrap();
    let command = fix["command"].as_str().unwrap().replacen("ckpt", env!("CARGO_BIN_EXE_ckpt"), 1);
    let ran = Command::new("sh").args(["-c", &command]).current_dir(&scratch.0).output().unwrap();
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    let made = command.rsplit(" -o ").next().unwrap();
    let again = document(&ckpt(&scratch.0, &["align", "base", "-a", made, "--json"]));
    assert_eq!(again["aligned"], again["total"], "{again}");
    assert!(ckpt(&scratch.0, &["diagnose", "base", "-a", made]).status.success());
}
