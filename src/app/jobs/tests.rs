//! Tests of the convert form and of jobs: a robot types, and answers in the loop's place.

use std::sync::Arc;
use std::time::Duration;

use super::{JobState, Question};
use crate::app::form::{Content, Form, Planned, There};
use crate::app::tests::Robot;
use crate::app::*;
use crate::engine::choice::Choice as Device;
use crate::engine::{Outcome, Proof, Tally, cancelled};
use crate::error::ErrorKind;
use crate::tensor::Dtype;

/// Returns the number of the last question for a plan.
fn question(robot: &Robot) -> Option<u32> {
    robot.asked.iter().rev().find_map(|effect| match effect {
        Effect::Plan(question) => Some(*question),
        _ => None,
    })
}

/// Plans what the form says, as the loop would.
fn plan(robot: &mut Robot, obstacle: Option<&str>) {
    plan_beside(robot, There::Nothing, obstacle);
}

/// Plans what the form says where something stands already.
fn plan_beside(robot: &mut Robot, there: There, obstacle: Option<&str>) {
    let question = question(robot).expect("a plan was asked for");
    let request = robot.app.plan_request().unwrap();
    assert_eq!(request.question, question);
    let planned = request.plan().map(|made| Planned {
        checkpoint: made.checkpoint,
        adapters: made.adapters,
        plan: Arc::new(made.plan),
        repair: made.repair,
        fixes: made.fixes,
        options: request.options,
        disk_free: Some(1 << 30),
        peak: 1 << 20,
        vram: None,
        there,
        obstacle: obstacle.map(str::to_owned),
    });
    robot.asked = robot.app.update(Event::Planned(question, Box::new(planned)));
}

fn form(robot: &Robot) -> &Form {
    robot.app.form().expect("the form shows")
}

fn with_form() -> Robot {
    let mut robot = Robot::new(&["a/model"], &[]);
    robot.press("c");
    plan(&mut robot, None);
    robot
}

/// Starts a conversion to `output`; returns what was asked for.
fn start(robot: &mut Robot, output: &str) -> Vec<Effect> {
    robot.press("c up up up ctrl-u").write(output);
    plan(robot, None);
    std::mem::take(&mut robot.press("down down down enter").asked)
}

fn outcome() -> Outcome {
    Outcome {
        bytes_read: 1,
        bytes_written: 1,
        elapsed: Duration::from_secs(1),
        device: "cpu".into(),
        device_why: String::new(),
        stages: None,
        tally: Tally::default(),
        proof: None,
        notes: Vec::new(),
    }
}

fn end(robot: &mut Robot, id: u32, ended: Result<Outcome, Error>) -> Vec<Effect> {
    robot.app.update(Event::JobEnded(id, Box::new(ended)))
}

/// The states of all jobs, as letters.
fn states(robot: &Robot) -> String {
    let letter = |state: &JobState| match state {
        JobState::Queued => 'q',
        JobState::Running => 'r',
        JobState::Done(_) => 'd',
        JobState::Failed(_) => 'f',
        JobState::Cancelled(_) => 'c',
    };
    robot.app.jobs.list.iter().map(|job| letter(&job.state)).collect()
}

#[test]
fn each_change_of_the_form_asks_for_a_plan_and_moving_does_not() {
    let mut robot = with_form();
    assert_eq!(form(&robot).field().name, "", "c Enter is the short way");
    assert_eq!(robot.press("up up tab backtab down up").asked, []);
    robot.press("up up up up right");
    assert_eq!(form(&robot).field().name, "dtype");
    assert_eq!(robot.asked.len(), 1);
    let request = robot.app.plan_request().unwrap();
    assert_eq!(request.order.dtype, Some(Dtype::BF16));
    assert_eq!(robot.press("left left").asked.len(), 1, "the first value is the end");
    robot.press("down down down down right right right");
    assert_eq!(robot.asked.len(), 2);
    assert_eq!(robot.app.plan_request().unwrap().options.proof, Proof::None);
    robot.press("down right");
    assert_eq!(robot.asked.len(), 1);
    assert_eq!(robot.app.plan_request().unwrap().options.device, Device::Cpu);
    assert_eq!(robot.press("right").asked, [], "no GPU is known here");
}

#[test]
fn an_answer_to_an_older_question_is_dropped() {
    let mut robot = with_form();
    robot.press("up up up x");
    let old = question(&robot).unwrap();
    robot.press("y");
    robot.app.update(Event::Planned(old, Box::new(Err(Error::input("old")))));
    assert!(form(&robot).is_planning());
    assert_eq!(form(&robot).startable().err().as_deref(), Some("the plan is being made"));
    plan(&mut robot, None);
    assert!(form(&robot).startable().is_ok());
}

#[test]
fn letters_are_text_in_the_path_and_keys_elsewhere() {
    let mut robot = with_form();
    robot.press("up up up ctrl-u").write("~/q Y?");
    robot.app.update(Event::Paste("\n-x".into()));
    assert_eq!(form(&robot).output(), "~/qY?-x");
    assert_eq!(form(&robot).command().join(" "), "ckpt convert a/model --to dense -o ~/'qY?-x'");
    robot.press("down right right");
    let copied = "ckpt convert a/model --to dense --verify none -o ~/'qY?-x'";
    assert_eq!(robot.press("Y").asked, [Effect::Copy(copied.into())]);
    robot.press("q");
    assert!(robot.app.form().is_none());
    robot.press("c");
    assert_eq!(form(&robot).output(), "~/qY?-x", "values are kept");
    assert!(question(&robot).is_some(), "the disk may have changed");
}

fn standing(files: &[&str]) -> Content {
    Content { files: files.iter().map(|file| (*file).to_owned()).collect(), bytes: 1 << 20 }
}

#[test]
fn what_is_there_is_replaced_only_where_it_was_said() {
    let mut robot = Robot::new(&["a/model"], &[]);
    robot.press("c");
    let there = || There::Checkpoint(standing(&["config.json"]));
    plan_beside(&mut robot, there(), Some("is there already"));
    assert_eq!(robot.asked, [], "keeping is what was planned");
    robot.press("enter");
    assert_eq!(robot.toast(), "is there already");
    robot.press("up up up right right");
    assert_eq!(form(&robot).field().name, "exists");
    plan_beside(&mut robot, there(), None);
    assert!(
        form(&robot).command().join(" ").ends_with("--force -o ../made-dense"),
        "{:?}",
        form(&robot).command()
    );
    assert_eq!(form(&robot).button(), "Convert and replace");
    assert!(robot.app.plan_request().unwrap().options.force);
    robot.press("up x");
    plan_beside(&mut robot, there(), Some("is there already"));
    assert!(!robot.app.plan_request().unwrap().options.force, "another folder is asked about anew");
    robot.press("down right right");
    plan_beside(&mut robot, there(), None);
    robot.press("esc c");
    assert!(!robot.app.plan_request().unwrap().options.force, "whoever comes back is asked anew");
    plan_beside(&mut robot, there(), Some("is there already"));
    assert_eq!(form(&robot).field().name, "", "the field was gone");
    robot.press("up up up right");
    assert_eq!(form(&robot).button(), "Check what is there");
    let options = robot.app.plan_request().unwrap().options;
    assert_eq!((options.force, options.resume), (false, true));
}

#[test]
fn what_an_earlier_run_left_is_continued_unless_it_was_said_otherwise() {
    let mut robot = Robot::new(&["a/model"], &[]);
    robot.press("c");
    let left = || There::Unfinished(standing(&["model-00001-of-00002.safetensors"]));
    plan_beside(&mut robot, left(), None);
    assert_eq!(robot.asked.len(), 1, "the plan was made without knowing of it");
    assert!(form(&robot).is_planning());
    plan_beside(&mut robot, left(), None);
    assert_eq!((robot.asked.len(), form(&robot).button()), (0, "Resume"));
    assert!(form(&robot).command().join(" ").contains("--resume"));
    robot.press("up up up right");
    plan_beside(&mut robot, left(), None);
    assert_eq!((form(&robot).button(), robot.asked.len()), ("Convert", 0));
    assert!(!form(&robot).command().join(" ").contains("--resume"));
    robot.press("left");
    plan_beside(&mut robot, There::Nothing, None);
    assert_eq!(form(&robot).field().name, "", "the field is gone, the focus is on the button");
}

#[test]
fn patterns_go_into_the_order_and_the_command() {
    let mut robot = with_form();
    robot.press("up up up up up").write("*.mlp.*");
    robot.press("space").write("layers.?.up");
    assert_eq!(form(&robot).field().name, "only");
    robot.press("down").write("*down");
    let request = robot.app.plan_request().unwrap();
    assert_eq!(request.order.only, ["*.mlp.*", "layers.?.up"]);
    assert_eq!(request.order.skip, ["*down"]);
    let command = form(&robot).command().join(" ");
    let wanted = "ckpt convert a/model --to dense --only '*.mlp.*' --only 'layers.?.up' --skip '*down' -o ../made-dense";
    assert_eq!(command, wanted);
}

#[test]
fn command_lines_are_what_a_shell_takes() {
    for (path, word) in [
        ("a/b", "a/b"),
        ("~/a", "~/a"),
        ("~/a b", "~/'a b'"),
        ("~/", "~/"),
        ("-x", "./-x"),
        ("it's", r"'it'\''s'"),
        ("a;rm -rf", "'a;rm -rf'"),
        ("", "''"),
    ] {
        assert_eq!(shell_path(path), word);
    }
}

#[test]
fn escape_leaves_and_writes_nothing() {
    let mut robot = with_form();
    robot.press("up up up x esc");
    assert!(robot.app.form().is_none());
    assert!(robot.asked.iter().all(|effect| matches!(effect, Effect::Plan(_))), "{:?}", robot.asked);
    assert!(robot.app.jobs.list.is_empty());
    assert_eq!((robot.app.tab, robot.app.focus), (Tab::Detail, Focus::Tree));
}

#[test]
fn the_button_says_why_it_does_not_start() {
    let mut robot = Robot::new(&["a/model"], &[]);
    robot.press("c enter");
    assert_eq!(robot.toast(), "the plan is being made");
    let number = robot.app.plan_request().unwrap().question;
    robot.app.update(Event::Planned(number, Box::new(Err(Error::new(ErrorKind::Unsupported, "no")))));
    robot.press("enter");
    assert_eq!(robot.toast(), "not possible: the plan says why");
    robot.press("up up right");
    plan(&mut robot, Some("the disk is too small"));
    robot.press("down down down down enter");
    assert_eq!(robot.toast(), "the disk is too small");
    assert!(robot.app.jobs.list.is_empty());
}

#[test]
fn enter_goes_on_and_only_on_the_button_starts() {
    let mut robot = with_form();
    robot.press("tab");
    assert_eq!(form(&robot).field().name, "format");
    robot.press("enter enter enter enter enter enter enter");
    assert_eq!(form(&robot).field().name, "");
    let id = match robot.press("enter").asked[..] {
        [Effect::StartJob(id)] => id,
        ref other => panic!("{other:?}"),
    };
    assert_eq!((robot.app.tab, states(&robot).as_str()), (Tab::Jobs, "r"));
    let work = robot.app.jobs.by_id(id).unwrap().work.take().unwrap();
    assert!(work.plan.bytes_written() > 0);
    assert_eq!(
        robot.app.log.last().map(String::as_str),
        Some("ckpt convert a/model --to dense -o ../made-dense")
    );
    assert_eq!(robot.press("@ esc Y").asked.len(), 1);
}

#[test]
fn one_job_runs_at_a_time_and_the_next_starts_when_it_ends() {
    let mut robot = Robot::new(&["a/model"], &[]);
    let [Effect::StartJob(first)] = start(&mut robot, "x")[..] else { panic!("it did not start") };
    assert_eq!(start(&mut robot, "y"), [], "it waits");
    assert_eq!(start(&mut robot, "x"), []);
    assert_eq!(robot.toast(), "a job already writes there: choose another folder");
    robot.press("esc");
    assert_eq!(start(&mut robot, "z"), []);
    assert_eq!(states(&robot), "rqq");
    assert_eq!(robot.press("x").asked, [], "one that waits is dropped without a question");
    assert_eq!(states(&robot), "rqc");
    let next = end(&mut robot, first, Err(Error::input("the disk is gone")));
    assert_eq!(robot.toast(), "convert failed: the disk is gone");
    let [Effect::StartJob(second)] = next[..] else { panic!("{next:?}") };
    assert_eq!(states(&robot), "frc");
    assert_eq!(end(&mut robot, second, Ok(outcome())), []);
    assert_eq!(states(&robot), "fdc");
    assert_eq!(robot.press("k enter").asked, [Effect::Open(5, "y".into())], "beside the input");
    assert_eq!((robot.app.opens.len(), robot.app.current), (2, 1));
    assert_eq!(robot.press("6 enter").asked, [], "it is open already");
    assert_eq!((robot.app.opens.len(), robot.app.tab), (2, Tab::Detail));
}

#[test]
fn x_asks_and_escape_lets_it_run() {
    let mut robot = Robot::new(&["a/model"], &[]);
    let [Effect::StartJob(id)] = start(&mut robot, "x")[..] else { panic!("it did not start") };
    assert_eq!(robot.press("x esc").asked, []);
    assert_eq!(robot.press("1 x enter").asked, [Effect::CancelJob(id)], "from any tab");
    robot.press("x");
    assert_eq!(robot.toast(), "cancel-job: this job has ended, or is ending");
    end(&mut robot, id, Err(cancelled()));
    assert_eq!(states(&robot), "c");
    robot.press("x");
    assert_eq!(robot.toast(), "cancel-job: no job runs");
    assert_eq!(robot.press("6 enter").asked, []);
    assert_eq!(robot.toast(), "this job has no result");
}

#[test]
fn a_question_goes_when_the_job_has_ended() {
    let mut robot = Robot::new(&["a/model"], &[]);
    let [Effect::StartJob(id)] = start(&mut robot, "x")[..] else { panic!("it did not start") };
    for (key, asked) in [("x", Question::Cancel(id)), ("q", Question::Quit)] {
        robot.press(key);
        assert!(matches!(robot.app.overlay, Some(Overlay::Ask(question)) if question == asked));
        robot.press("esc");
    }
    robot.press("q");
    end(&mut robot, id, Ok(outcome()));
    assert!(robot.app.overlay.is_none());
    assert_eq!(robot.press("q").asked, [Effect::Quit], "nothing runs");
}

#[test]
fn quitting_asks_once_cancels_and_waits_for_the_end() {
    for keys in ["q q", "q enter", "ctrl-c ctrl-c", "o ctrl-c q", "c ctrl-c q", ": q u i t enter q"] {
        let mut robot = Robot::new(&["a/model"], &[]);
        let [Effect::StartJob(id)] = start(&mut robot, "x")[..] else { panic!("it did not start") };
        start(&mut robot, "y");
        robot.press("1").press(keys);
        let wanted: Vec<&Effect> =
            robot.asked.iter().filter(|e| matches!(e, Effect::CancelJob(_) | Effect::Quit)).collect();
        assert_eq!(wanted, [&Effect::CancelJob(id)], "{keys}");
        assert_eq!(states(&robot), "rc", "{keys}: what waits does not start");
        assert_eq!(end(&mut robot, id, Err(cancelled())), [Effect::Quit], "{keys}");
    }
}

#[test]
fn what_cannot_be_converted_says_why() {
    let mut robot = Robot::new(&["a/model"], &[]);
    robot.press("6");
    assert_eq!(robot.toast(), "jobs: no job was started yet (c converts, m merges)");
    let (app, _) = App::new(&["gone".into()], keys::keymap(None).unwrap());
    let mut robot = Robot { app, asked: Vec::new() };
    robot.press("c");
    assert_eq!(robot.toast(), "convert: this one is not open yet, or could not be read");
    assert_eq!(robot.asked, []);
}
