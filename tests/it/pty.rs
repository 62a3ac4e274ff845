//! The workbench by the real binary in a real terminal: open, move, filter, help, resize, and how it ends.
//!
//! Nothing waits for a time: each step waits until the screen shows what it should.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::robot::{PATIENCE, Robot};
use crate::sample;

fn model() -> String {
    sample("gptq-w4-g128-sym-v1-A/model").display().to_string()
}

#[test]
fn open_move_filter_help_resize_quit() {
    let mut robot = Robot::start(&[&model(), "--no-gauges"], &[]);
    robot.shows("GPTQ4 g128 sym").shows("load ✓");
    robot.press("jjjjjjj").shows("model.layers.0.mlp.gate_proj").shows("why we think so").shows("16 words");
    robot.press("/").press("q_proj").shows("2 hits").press("\r");
    robot.until("the filter to be kept", |s| s.contents().contains("Layers  /q_proj"));
    robot.press("\x1b").until("the filter to be cleared", |s| !s.contents().contains("/q_proj"));
    robot.press("?").shows("not now, and why").press("\x1b");
    robot.until("help to close", |s| !s.contents().contains("not now, and why"));
    robot
        .resize((80, 24))
        .until("the small screen", |s| s.contents().lines().last().is_some_and(|l| l.contains("q quit")));
    robot.press("3").shows("for ‹ load ›");
    robot.press("q");
    let (code, robot) = robot.ends();
    assert_eq!(code, 0);
    robot.is_restored();
}

#[test]
fn a_picture_of_the_screen_is_a_new_file_and_shows_no_question() {
    let folder = std::env::temp_dir().join(format!("ckpt-picture-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut robot = Robot::start(&[&model(), "--no-gauges"], &[]);
    robot
        .shows("load ✓")
        .press(":")
        .shows("Commands")
        .press("screenshot\r")
        .shows("A picture of this screen");
    let file = folder.join("screen.svg");
    robot.press("\x15").press(&format!("{}\r", file.display())).shows("the screen as it was");
    let picture = std::fs::read_to_string(&file).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("embed_tokens"), "{picture}");
    assert!(!picture.contains("A picture of"), "{picture}");
    // A file that is there stays.
    robot.press(":").shows("Commands").press("screenshot\r").shows("A picture of this screen");
    robot.press("\x15").press(&format!("{}\r", file.display())).shows("File exists");
    robot.press("q");
    assert_eq!(robot.ends().0, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), picture);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_mouse_selects_and_turns_tabs() {
    let mut robot = Robot::start(&[&model(), "--no-gauges"], &[]);
    robot.shows("embed_tokens").shows("load ✓");
    // Row 4 of the screen (1-based) is the third row of the tree: embed_tokens. SGR mouse, button down.
    robot.press("\x1b[<0;10;5M\x1b[<0;10;5m").shows("model.embed_tokens").shows("F16  dense");
    let column = robot.text().lines().nth(1).unwrap().chars().take_while(|c| *c != '3').count() + 1;
    robot.press(&format!("\x1b[<0;{column};2M")).shows("for ‹ load ›");
    robot.press("q");
    assert_eq!(robot.ends().0, 0);
}

#[test]
fn a_signal_restores_the_terminal() {
    let mut robot = Robot::start(&[&model()], &[]);
    robot.shows("GPTQ4 g128 sym");
    let id = robot.child.process_id().unwrap();
    let killed = std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap();
    assert!(killed.success());
    robot.ends().1.is_restored();
}

#[test]
fn a_panic_restores_the_terminal_and_says_so() {
    let mut robot = Robot::start(&[&model(), "--no-gauges"], &[("CKPT_PANIC_KEY", "P")]);
    robot.shows("GPTQ4 g128 sym").press("P");
    let (code, robot) = robot.ends();
    assert_ne!(code, 0);
    robot.is_restored();
    assert!(robot.text().contains("CKPT_PANIC_KEY"), "{}", robot.text());
}

#[test]
fn a_path_that_is_not_there_is_said_in_the_workbench() {
    let mut robot = Robot::start(&["/no/such/folder", "--no-gauges"], &[]);
    robot.shows("This could not be opened").shows("no such file or folder").press("q");
    assert_eq!(robot.ends().0, 0);
}

#[test]
fn without_a_terminal_the_error_points_to_inspect() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt")).arg(model()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("ckpt inspect"), "{text}");
}

#[test]
fn an_idle_screen_never_wakes_without_gauges() {
    let mut robot = Robot::start(&[&model(), "--no-gauges"], &[]);
    robot.shows("load ✓").shows("whole checkpoint");
    let id = robot.child.process_id().unwrap();
    let switches = || -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
        let of_task = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap();
            let counts = status.lines().filter(|l| l.contains("ctxt_switches"));
            counts.filter_map(|l| l.split_whitespace().last()?.parse::<u64>().ok()).sum::<u64>()
        };
        tasks.filter_map(Result::ok).map(of_task).sum()
    };
    // Wait until it has settled, then claim that a second passes without a switch.
    let mut before = switches();
    let end = Instant::now() + PATIENCE;
    loop {
        let quiet = robot.bytes.recv_timeout(Duration::from_secs(1));
        assert!(Instant::now() < end, "it never settles");
        let now = switches();
        match quiet {
            Ok(bytes) => robot.screen.process(&bytes),
            Err(_) if now == before => break,
            Err(_) => {}
        }
        before = now;
    }
    robot.press("q");
    assert_eq!(robot.ends().0, 0);
}

/// A folder that is removed when the test ends.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ckpt-pty-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The names in it.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_conversion_from_the_form_to_the_opened_result() {
    let scratch = Scratch::new("convert");
    let input = scratch.0.join("model");
    std::fs::create_dir(&input).unwrap();
    for entry in std::fs::read_dir(sample("bnb-nf4-A/model")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), input.join(entry.file_name())).unwrap();
    }
    let output = scratch.0.join("plain");
    let mut robot = Robot::start(&[&input.display().to_string(), "--no-gauges"], &[]);
    robot.shows("load ✓").press("c").shows("✓ ready").shows("model-dense");
    // Up to the path, its text replaced; the plan follows.
    robot.press("\x1b[A\x1b[A\x1b[A\x15").shows("name the folder to make");
    robot.press(&output.display().to_string()).shows("/plain").shows("✓ ready");
    assert_eq!(scratch.names(), ["model"], "nothing is written before Enter");
    robot.press("\x1b[B\x1b[B\x1b[B").shows("Enter starts the job").press("\r");
    robot.shows("✓ verified").shows("8 of 14 layers decoded again, equal");
    assert_eq!(scratch.names(), ["model", "plain"]);
    robot.press("@").shows("This session as shell commands").press("\x1b");
    robot.until("the log to close", |s| !s.contents().contains("This session as shell commands"));
    robot.press("\r").shows("2 of 2").shows("BF16");
    robot.press("q");
    let (code, robot) = robot.ends();
    assert_eq!(code, 0);
    robot.is_restored();
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("verify").arg(&output).output();
    assert!(verified.unwrap().status.success());
}

#[test]
fn quitting_while_a_job_runs_asks_and_leaves_nothing_behind() {
    let scratch = Scratch::new("quit");
    let input = scratch.0.join("model");
    std::fs::create_dir(&input).unwrap();
    // A file with a hole: a gibibyte that takes no room, and seconds to convert.
    let bytes = 1u64 << 30;
    let header = format!(
        r#"{{"w.weight":{{"dtype":"F16","shape":[{},1024],"data_offsets":[0,{bytes}]}}}}"#,
        bytes >> 11
    );
    let mut file = std::fs::File::create_new(input.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + bytes).unwrap();
    let mut robot = Robot::start(&[&input.display().to_string(), "--no-gauges"], &[]);
    robot.shows("plain values").shows("load ✗1");
    // What is wrong with the headers shows before the rest has been read.
    loop {
        robot.press("c").until("the form, or why not yet", |s| {
            s.contents().contains("✓ ready") || s.contents().contains("still being read")
        });
        if robot.text().contains("✓ ready") {
            break;
        }
        robot.press("1").until("the toast to go", |s| !s.contents().contains("still being read"));
    }
    robot
        .shows("✓ ready")
        .press("\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\x1b[C\x1b[C\x1b[C")
        .shows("‹ f32 ›")
        .shows("cast");
    robot
        .shows("✓ ready")
        .press("\x1b[B\x1b[B\x1b[B\x1b[B\x1b[B\x1b[B")
        .shows("Enter starts the job")
        .press("\r");
    robot.shows("▶ running").press("1").shows("plain values").press("q").shows("Quit and cancel convert");
    robot.press("\x1b").until("the question to go", |s| !s.contents().contains("Quit and cancel"));
    robot.press("qq");
    let (code, robot) = robot.ends();
    assert_eq!(code, 0);
    robot.is_restored();
    assert_eq!(scratch.names(), ["model"]);
}

/// Copies the files of a sample's folder.
fn copy(from: &str, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(sample(from)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn contents(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn an_adapter_is_repaired_attached_in_its_place_and_merged() {
    let scratch = Scratch::new("repair");
    let (base, adapter) = (scratch.0.join("base"), scratch.0.join("lora"));
    copy("base-A-bf16/model", &base);
    copy("peft-bad-keys/base-layer-infix", &adapter);
    let before = [contents(&base), contents(&adapter)];
    let (base_path, adapter_path) = (base.display().to_string(), adapter.display().to_string());
    let mut robot = Robot::start(&[&base_path, "-a", &adapter_path, "--no-gauges"], &[]);
    robot.shows("0 of 6 modules aligned").shows("r repair").press("m");
    robot.shows("no module of the adapter fits this base").press("r");
    robot.shows("12 keys renamed").shows("lora-repaired").shows("Enter starts the job");
    assert_eq!(scratch.names(), ["base", "lora"], "nothing is written before Enter");
    robot.press("\r").shows("✓ verified").shows("12 tensors as in the source");
    assert_eq!(scratch.names(), ["base", "lora", "lora-repaired"]);
    robot.press("\r").shows("6 of 6 modules aligned").shows("lora-repaired");
    robot.press("m").shows("merges 6 of 6 modules").shows("Enter starts the job").press("\r");
    robot.shows("6 of 6 computed again");
    // The first form offers the folder that is there now, and keeps it.
    robot.press("4a").shows("Attach an adapter").press(&adapter_path).press("\r");
    robot.shows("0 of 6 modules aligned").press("r").shows("is there already");
    robot.press("\x1b").until("the form to close", |s| !s.contents().contains("┌ Repair"));
    robot.press("q");
    assert_eq!(robot.ends().0, 0);
    assert_eq!(scratch.names(), ["base", "base-lora-repaired", "lora", "lora-repaired"]);
    assert_eq!([contents(&base), contents(&adapter)], before, "inputs are as they were");
    let repaired = scratch.0.join("lora-repaired");
    let by_hand = scratch.0.join("by-hand");
    let args = ["align", &base_path, "-a", &adapter_path, "--repair", "-o", &by_hand.display().to_string()];
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt")).args(args).output().unwrap();
    assert!(told.status.success());
    assert_eq!(contents(&repaired), contents(&by_hand), "the command line writes the same");
    let repaired = repaired.display().to_string();
    let aligned = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["align", &base_path, "-a", &repaired])
        .output();
    assert!(aligned.unwrap().status.success());
}

#[test]
fn an_adapter_that_is_opened_first_leads_to_its_base() {
    let scratch = Scratch::new("base");
    copy("base-A-bf16/model", &scratch.0.join("base-A-bf16"));
    copy("peft-bad-keys/good", &scratch.0.join("lora"));
    let adapter = scratch.0.join("lora").display().to_string();
    let mut robot = Robot::start(&[&adapter, "--no-gauges"], &[]);
    robot.shows("found near the adapter").shows("o open its base").press("o");
    robot.shows("6 of 6 modules aligned").shows("ready to merge").press("q");
    assert_eq!(robot.ends().0, 0);
    std::fs::rename(scratch.0.join("base-A-bf16"), scratch.0.join("other")).unwrap();
    let mut robot = Robot::start(&[&adapter, "--no-gauges"], &[]);
    robot
        .shows("not found on this machine")
        .press("4")
        .shows("no-cache")
        .shows("a choose its base")
        .press("a");
    robot.shows("Open the base of this adapter").press(&scratch.0.join("other").display().to_string());
    robot.press("\r").shows("6 of 6 modules aligned").press("q");
    assert_eq!(robot.ends().0, 0);
}

/// A terminal that does not mark pastes sends keys, some of which would attach, convert or quit.
#[test]
fn a_paste_without_marks_is_explained_and_none_of_it_is_a_key() {
    let text = std::fs::read_to_string("tests/it/stories/2-bitsandbytes-config.txt").unwrap();
    let mut robot = Robot::start(&[&model(), "--no-gauges"], &[]);
    robot.shows("load ✓").press(&text.replace('\n', "\r"));
    robot.shows("This is your cause: Q001").shows("line 8 matched");
    assert!(!robot.text().contains("not attached"), "{}", robot.text());
    robot.press("\x1b").until("the overlay to close", |s| !s.contents().contains("Explain an error"));
    robot.press("q");
    assert_eq!(robot.ends().0, 0);
}
