//! The fix form in the workbench, over real samples, as pictures at both sizes; and what else a fix may open.

use ckpt::app::Effect;
use ckpt::app::form::Task;
use ckpt::diagnose::{About, Act, Finding, Fix, Rule};
use ckpt::engine::Outcome;
use ckpt::engine::verify::Proven;
use ckpt::plan::edit::{Edit, Rename};
use ckpt::problem::{ProblemKind, Severity};
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use crate::jobs::{LARGE, Robot, SMALL, outcome};

static KIND: ProblemKind = ProblemKind { code: "T001", name: "made-for-tests", severity: Severity::Error };
static RULE: Rule = Rule::new(&KIND);

const BASE: &str = "samples/base-A-bf16/model";
const GPTQ: &str = "samples/gptq-w4-g128-sym-v1-A/model";

fn json_edit(file: &str, path: &[&str], value: Option<serde_json::Value>) -> Edit {
    Edit::Json { file: file.into(), path: path.iter().map(|key| (*key).into()).collect(), value }
}

/// Returns a finding with these fixes behind an advice.
fn finding(about: About, fixes: Vec<Fix>) -> Finding {
    let mut finding = Finding::new(&RULE, "as it should not be").about(about);
    finding.fixes = std::iter::once(Fix::advice("do it by hand")).chain(fixes).collect();
    finding
}

fn open(robot: &mut Robot, finding: Finding, fix: usize) {
    let effects = ckpt::app::fix::open(&mut robot.app, finding, fix);
    robot.answer(effects);
}

fn edits(robot: &mut Robot, about: About, edits: Vec<Edit>) {
    let fix = Fix::new(
        "switch ExLlama off, and give the tensors the names that loaders look for",
        Act::Edit(edits),
    );
    open(robot, finding(about, vec![fix.loss("a little speed")]), 1);
}

fn of_config(path: &str) -> Robot {
    let mut robot = Robot::open(path);
    let config = vec![
        json_edit("config.json", &["quantization_config", "use_exllama"], Some(json!(false))),
        json_edit("config.json", &["torch_dtype"], Some(json!("float16"))),
        json_edit("generation_config.json", &["eos_token_id"], Some(json!(2))),
        Edit::Rename(Rename::Strip("model.".into())),
        Edit::Rewrite,
    ];
    edits(&mut robot, About::Checkpoint, config);
    robot
}

fn of_adapter() -> Robot {
    let mut robot = Robot::attach("good");
    let config = vec![json_edit("adapter_config.json", &["megatron_config"], Some(json!(1)))];
    edits(&mut robot, About::Adapter(0), config);
    robot
}

fn refused() -> Robot {
    let mut robot = Robot::open(BASE);
    let absent = Rename::Each(vec![("nowhere.weight".into(), "x".into())]);
    edits(&mut robot, About::Checkpoint, vec![Edit::Rename(absent)]);
    robot
}

fn idle() -> Robot {
    let mut robot = Robot::open(BASE);
    edits(
        &mut robot,
        About::Checkpoint,
        vec![json_edit("config.json", &["model_type"], Some(json!("llama")))],
    );
    robot
}

fn done() -> Robot {
    let mut robot = of_config(GPTQ);
    let proof = Proven { files: 2, copied: 16, unsampled: 5, whole: 1, ..Proven::default() };
    robot.press("enter").end(Ok(Outcome { proof: Some(proof), ..outcome() }));
    robot
}

fn pictures() -> Vec<(&'static str, Robot)> {
    let mut exists = of_config(GPTQ);
    exists.press("up up up ctrl-u type:/there/x down right");
    vec![
        ("form", of_config(GPTQ)),
        ("adapter", of_adapter()),
        ("refused", refused()),
        ("nothing", idle()),
        ("exists", exists),
        ("done", done()),
    ]
}

#[test]
fn every_step_of_a_fix_is_as_it_was_looked_at() {
    for (name, mut robot) in pictures() {
        for size in [LARGE, SMALL] {
            // The header row and the names of the tabs are pictured elsewhere.
            let text = robot.draw(size);
            let shown: Vec<&str> = text.lines().skip(1).filter(|line| !line.contains(" Detail ")).collect();
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), shown.join("\n"));
        }
    }
}

#[test]
fn a_fix_that_only_copies_does_not_ask_what_computes() {
    for (name, mut robot) in pictures() {
        let Some(form) = robot.app.form() else { continue };
        assert!(form.shown().all(|(_, field)| field.name != "device"), "{name}");
        assert!(!robot.draw(LARGE).contains("device"), "{name}");
    }
    let mut robot = Robot::open(GPTQ);
    robot.press("c");
    assert!(robot.app.form().unwrap().shown().any(|(_, field)| field.name == "device"));
}

#[test]
fn no_line_of_a_fix_is_wider_than_the_screen() {
    for (name, mut robot) in pictures() {
        for width in [1, 20, 40, 69, 70, 80, 200] {
            for height in [1, 7, 15, 24] {
                let text = robot.draw((width, height));
                let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
                assert!(widest <= usize::from(width), "{name} at {width}x{height}: {widest} cells");
            }
        }
    }
}

#[test]
fn the_command_line_is_that_of_the_form() {
    let mut robot = of_config(GPTQ);
    robot.press("up right down");
    let command = robot.app.form().unwrap().command().join(" ");
    assert_eq!(
        command,
        format!("ckpt fix {GPTQ} T001 --verify full -o samples/gptq-w4-g128-sym-v1-A/model-fixed")
    );
    let command = of_adapter().app.form().unwrap().command().join(" ");
    let adapter = "samples/peft-bad-keys/good";
    assert_eq!(command, format!("ckpt fix {BASE} -a {adapter} T001 -o {adapter}-fixed"));
    let mut robot = Robot::open(BASE);
    let one = |value: i64| Act::Edit(vec![json_edit("config.json", &["x"], Some(json!(value)))]);
    open(&mut robot, finding(About::Checkpoint, vec![Fix::new("one", one(1)), Fix::new("two", one(2))]), 2);
    let command = robot.app.form().unwrap().command().join(" ");
    assert!(command.contains(" T001:3 "), "{command}");
}

#[test]
fn the_result_of_a_fix_opens_or_takes_the_place_of_its_adapter() {
    let mut robot = done();
    robot.press("enter");
    assert_eq!(robot.app.opens.len(), 2);
    let mut robot = of_adapter();
    robot.press("enter").end(Ok(outcome())).press("enter");
    assert_eq!(robot.app.opens.len(), 1);
    assert_eq!(robot.app.attached().unwrap().path, "samples/peft-bad-keys/good-fixed");
}

#[test]
fn other_fixes_open_their_own_forms_and_what_is_not_possible_is_said() {
    let task = |robot: &Robot| robot.app.form().map(|form| form.task);
    let with = |act: Act| finding(About::Checkpoint, vec![Fix::new("x", act)]);
    let mut robot = Robot::open(GPTQ);
    open(&mut robot, with(Act::Dequantize), 1);
    assert_eq!(task(&robot), Some(Task::Convert));
    let mut robot = Robot::attach("good");
    open(&mut robot, with(Act::Merge), 1);
    assert_eq!(task(&robot), Some(Task::Merge));
    let mut robot = Robot::attach("base-layer-infix");
    open(&mut robot, with(Act::Repair), 1);
    assert_eq!(task(&robot), Some(Task::Repair));
    for (act, fix, words) in [
        (Act::Repair, 1, "attach the adapter"),
        (Act::Merge, 1, "attach an adapter first"),
        (Act::Advice, 0, "do it by hand"),
        (Act::Advice, 7, "nothing is known that helps"),
    ] {
        let mut robot = Robot::open(BASE);
        let effects: Vec<Effect> = ckpt::app::fix::open(&mut robot.app, with(act), fix);
        assert_eq!(effects, []);
        assert_eq!(task(&robot), None);
        assert!(robot.app.toast.as_deref().is_some_and(|said| said.contains(words)), "{:?}", robot.app.toast);
    }
}
