//! Tests of the app: a robot types, and looks at what the app knows and asks for.

use std::sync::Arc;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::made::Made;
use crate::checkpoint::tree::{Mode, Sort};
use crate::diagnose::Diagnosis;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::error::ErrorKind;
use crate::problem::{Problem, kind};
use crate::tensor::Dtype;

/// Two layers, unlike each other so that nothing folds, and an embedding.
const TENSORS: [(&str, u64); 6] = [
    ("embed.weight", 64),
    ("layers.0.down.weight", 8),
    ("layers.0.up.weight", 16),
    ("layers.1.down.weight", 24),
    ("layers.1.norm.weight", 1),
    ("layers.1.up.weight", 32),
];

fn checkpoint(problems: Vec<Problem>) -> Checkpoint {
    let add = |made: Made, (name, rows): (&str, u64)| made.add(name, Dtype::F16, &[rows, 8]);
    let made = TENSORS.into_iter().fold(Made::default(), add);
    Checkpoint { problems, examined: true, ..made.checkpoint() }
}

/// Types, and keeps what the app asked for.
pub(super) struct Robot {
    pub(super) app: App,
    pub(super) asked: Vec<Effect>,
}

impl Robot {
    /// Opens one checkpoint a path.
    pub(super) fn new(paths: &[&str], problems: &[Problem]) -> Self {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let (mut app, asked) = App::new(&paths, keys::keymap(None).unwrap());
        for id in 0..paths.len() as u32 {
            app.update(Event::Opened(id, Box::new(Ok(checkpoint(problems.to_vec())))));
        }
        Self { app, asked }
    }

    /// Types keys that are separated by blanks.
    pub(super) fn press(&mut self, keys: &str) -> &mut Self {
        self.asked.clear();
        for key in keys.split_whitespace() {
            self.app.update(Event::ToastRead);
            let asked = self.app.update(Event::Key(key.to_owned()));
            self.asked.extend(asked);
        }
        self
    }

    /// Gives the first checkpoint these findings.
    fn diagnose(&mut self, findings: Vec<Finding>) {
        let asked = self.app.diagnose(0);
        let [Effect::Diagnose(id, number)] = asked[..] else { panic!("{asked:?}") };
        self.app.update(Event::Diagnosed(id, number, Box::new(Diagnosis { findings })));
    }

    pub(super) fn write(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            self.press(&c.to_string());
        }
        self
    }

    pub(super) fn toast(&self) -> &str {
        self.app.toast.as_deref().unwrap_or_default()
    }

    /// Returns the full name under the cursor.
    fn name(&self) -> String {
        let ready = self.app.ready().unwrap();
        ready.tree.current().map_or_else(String::new, |row| ready.files().names.name(row.node))
    }

    fn open_all(&mut self) -> &mut Self {
        let ready = self.app.ready_mut().unwrap();
        let checkpoint = Arc::clone(&ready.checkpoint);
        ready.tree.open_all(&checkpoint);
        self
    }
}

#[test]
fn escape_leads_back_to_the_tree_and_never_quits() {
    for keys in ["", "3", "5", "enter tab", "?", ":", "s", "@", "o", "/", "/ d o w n enter", "g", "z tab"] {
        let mut robot = Robot::new(&["made"], &[]);
        robot.press(keys);
        for _ in 0..4 {
            robot.press("esc");
            assert!(!robot.asked.contains(&Effect::Quit), "{keys}");
        }
        let app = &robot.app;
        assert!(app.overlay.is_none() && app.filter_input.is_none(), "{keys}");
        assert_eq!((app.tab, app.focus), (Tab::Detail, Focus::Tree), "{keys}");
        assert!(app.ready().unwrap().tree.filter().is_none(), "{keys}");
        assert_eq!(robot.press("esc").toast(), "q quits", "{keys}");
        assert_eq!(robot.press("q").asked, [Effect::Quit], "{keys}");
    }
}

#[test]
fn a_command_that_cannot_run_says_why() {
    let mut robot = Robot::new(&["made"], &[]);
    for (keys, why) in [
        ("4", "adapter: attach an adapter first (a)"),
        (".", "next-checkpoint: only one checkpoint is open (o opens another)"),
        (",", "previous-checkpoint: only one checkpoint is open (o opens another)"),
        ("u", "unfold: this row is in no fold of alike layers"),
    ] {
        assert_eq!(robot.press("1").press(keys).toast(), why, "{keys}");
    }
    robot.press("1 :").write("open-fix").press("enter");
    assert_eq!(robot.toast(), "open-fix: nothing was found for this purpose (f chooses another)");
    assert_eq!(robot.press("n").toast(), "nothing stands out: no problem, no odd layer");
    assert_eq!(robot.press("j").toast(), "", "the next key takes the toast away");
}

#[test]
fn nothing_that_needs_a_checkpoint_runs_without_one() {
    let (app, _) = App::new(&["gone".into()], keys::keymap(None).unwrap());
    let mut robot = Robot { app, asked: Vec::new() };
    for failed in [false, true] {
        if failed {
            let error = Error::new(ErrorKind::Input, "gone: no such file or folder");
            robot.app.update(Event::Opened(0, Box::new(Err(error))));
        }
        for key in ["j", "G", "t", "s", "/", "n", "3", "4", "5", "y", "z", "u", "l", "h", "enter"] {
            robot.press(key);
            assert!(
                robot.toast().ends_with("not open yet, or could not be read"),
                "{key}: {}",
                robot.toast()
            );
            assert_eq!(robot.asked, [], "{key}");
            assert!(robot.app.filter_input.is_none() && robot.app.overlay.is_none(), "{key}");
        }
    }
    assert_eq!(robot.press("R").asked, [Effect::Open(0, "gone".into())]);
}

#[test]
fn next_goes_to_what_has_a_problem() {
    let problem = Problem::new(&kind::BAD_SCALES, "2 of 512 are NaN").tensor("layers.1.up.weight");
    let mut robot = Robot::new(&["made"], &[problem]);
    robot.press("n");
    assert_eq!(robot.name(), "layers.1.up");
    robot.press("g g n");
    assert_eq!(robot.name(), "layers.1.up", "also from the first row");
}

/// A finding of the rule Q001 with these places and fixes.
fn finding(seen: &[Seen], fixes: &[Fix]) -> Finding {
    let mut finding = Finding::new(crate::diagnose::find("Q001").unwrap(), "14 layers are GPTQ");
    finding.seen = seen.to_vec();
    finding.fixes = fixes.to_vec();
    finding
}

#[test]
fn a_finding_leads_to_its_layer_and_back_and_to_the_plan_of_its_fix() {
    let seen = [
        Seen::tensors(Some("layers.1.up".into()), "14 layers packed"),
        Seen::config("config.json", "quantization_config.bits", "4"),
    ];
    let fixes = [Fix::advice("leave it"), Fix::new("dequantize", Act::Dequantize)];
    let mut robot = Robot::new(&["made"], &[]);
    robot.diagnose(vec![finding(&seen, &fixes)]);
    let toast = "open-fix: nothing was found for this purpose (f chooses another)";
    assert_eq!(robot.press("3 enter").toast(), toast, "Q001 does not matter for load");
    robot.press("f j enter l");
    assert_eq!(robot.app.findings().unwrap().item, Some(0));
    robot.press("enter");
    assert_eq!((robot.name().as_str(), robot.app.tab), ("layers.1.up", Tab::Detail));
    robot.press("esc");
    assert_eq!((robot.app.tab, robot.app.findings().unwrap().item), (Tab::Findings, Some(0)), "back again");
    robot.press("j enter");
    assert_eq!(robot.toast(), "config.json  quantization_config.bits is of no layer: y copies it");
    assert_eq!(robot.press("y").asked, [Effect::Copy("config.json  quantization_config.bits  4".into())]);
    assert_eq!(robot.press("j enter").toast(), "leave it");
    robot.press("j enter");
    assert!(robot.app.is_form_open, "{}", robot.toast());
    assert_eq!(robot.app.form().unwrap().task, form::Task::Convert);
    robot.press("esc esc");
    assert_eq!(robot.app.findings().unwrap().item, None, "Esc leaves the finding");
    robot.press("enter");
    assert!(robot.app.is_form_open, "from the list Enter opens the first fix that is no advice");
    robot.press("esc esc");
    assert_eq!(robot.app.tab, Tab::Detail);
}

#[test]
fn a_paste_outside_a_field_is_an_error_to_explain_and_its_text_is_kept() {
    let mut robot = Robot::new(&["made"], &[]);
    robot.diagnose(vec![finding(&[], &[Fix::new("dequantize", Act::Dequantize)])]);
    let text = "Traceback\r\nAttributeError: 'BitsAndBytesConfig' object has no attribute 'get_loading_attributes'\r\n";
    let asked = robot.app.update(Event::Paste(text.into()));
    let [Effect::ExplainError(number)] = asked[..] else { panic!("{asked:?}") };
    assert!(matches!(robot.app.overlay, Some(Overlay::Error)));
    let answer = robot.app.with_subject(|subject| {
        let diagnosis = robot.app.findings().unwrap().diagnosis.clone().unwrap();
        crate::diagnose::message::explain(&robot.app.error.text, Some((subject, &diagnosis)))
    });
    robot.app.update(Event::ErrorExplained(number, Box::new(answer.unwrap())));
    assert_eq!(robot.app.error.answer.as_ref().unwrap().codes(), ["Q001"]);
    assert_eq!(robot.press("q").app.error.text.chars().last(), Some('q'), "letters are text");
    robot.press("backspace esc");
    assert!(robot.app.overlay.is_none());
    robot.press("e");
    assert!(robot.app.error.text.starts_with("Traceback\nAttributeError"), "the text is kept");
    robot.app.update(Event::Paste("more\nlines".into()));
    assert!(robot.app.error.text.ends_with("more\nlines") && robot.app.error.text.starts_with("Traceback"));
    robot.press("ctrl-u");
    assert_eq!((robot.app.error.text.as_str(), robot.app.error.answer.is_none()), ("", true));
}

#[test]
fn an_answer_that_the_text_has_overtaken_is_dropped() {
    let mut robot = Robot::new(&["made"], &[]);
    let asked = robot.app.update(Event::Paste("one\ntwo".into()));
    let [Effect::ExplainError(first)] = asked[..] else { panic!("{asked:?}") };
    robot.app.update(Event::Paste("three".into()));
    let answer = crate::diagnose::message::explain("one", None);
    robot.app.update(Event::ErrorExplained(first, Box::new(answer)));
    assert!(robot.app.error.answer.is_none());
}

#[test]
fn the_filter_keeps_the_cursor_on_its_name() {
    let mut robot = Robot::new(&["made"], &[]);
    robot.open_all().press("G");
    let last = robot.name();
    assert_eq!(last, "layers.1.up");
    robot.press("/").write("up");
    assert_eq!(robot.name(), last);
    assert_eq!(robot.app.ready().unwrap().tree.hits(), Some(2));
    robot.press("enter");
    assert_eq!(robot.name(), last);
    robot.press("esc");
    assert!(robot.app.ready().unwrap().tree.filter().is_none());
    assert_eq!(robot.name(), last);
    robot.press("/").write("nope:1");
    assert!(!robot.toast().is_empty(), "a text that is no filter says why");
}

#[test]
fn tensors_and_orders_keep_the_cursor_on_its_name() {
    let mut robot = Robot::new(&["made"], &[]);
    robot.open_all().press("G t");
    assert_eq!(robot.app.ready().unwrap().tree.mode(), Mode::Tensors);
    assert!(robot.name().starts_with("layers.1.up"), "{}", robot.name());
    robot.press("t s j enter");
    assert_eq!(robot.app.ready().unwrap().tree.sort(), Sort::ALL[1]);
    assert_eq!(robot.name(), "layers.1.up");
}

#[test]
fn comma_and_period_turn_between_checkpoints_and_go_round() {
    let mut robot = Robot::new(&["a", "b", "c"], &[]);
    robot.open_all().press("G");
    let at = |robot: &Robot| robot.app.opens[robot.app.current].path.clone();
    assert_eq!(at(&robot), "a");
    for (key, path) in [(".", "b"), (".", "c"), (".", "a"), (",", "c"), (",", "b"), (",", "a")] {
        assert_eq!(at(robot.press(key)), path);
    }
    assert_eq!(robot.name(), "layers.1.up", "each keeps its cursor");
}

#[test]
fn g_g_goes_to_the_first_row_and_g_alone_says_what_follows() {
    let mut robot = Robot::new(&["made"], &[]);
    robot.open_all().press("G");
    assert!(robot.app.ready().unwrap().tree.cursor() > 5);
    assert_eq!(robot.press("g").toast(), "g  first row");
    robot.press("g");
    assert_eq!(robot.app.ready().unwrap().tree.cursor(), 0);
    robot.press("G g q");
    assert!(robot.asked.iter().all(|effect| *effect != Effect::Quit), "g takes the key after it");
}

#[test]
fn pasted_text_is_text_in_a_field_and_never_keys() {
    let mut robot = Robot::new(&["made"], &[]);
    let asked = robot.app.update(Event::Paste("q\nq".into()));
    assert!(matches!(asked[..], [Effect::ExplainError(_)]), "{asked:?}");
    robot.press("esc /");
    robot.app.update(Event::Paste("do\u{1b}wn\n".into()));
    assert_eq!(robot.app.ready().unwrap().tree.filter().unwrap().text(), "down");
    robot.press("enter esc :");
    robot.app.update(Event::Paste("quit".into()));
    assert_eq!(robot.press("enter").asked, [Effect::Quit]);
}

/// Whatever moves the cursor asks for the evidence of the layer that it comes to.
#[test]
fn each_way_to_a_layer_asks_why_it_has_its_format() {
    let is_asked = |robot: &Robot| {
        let ready = robot.app.ready().unwrap();
        ready.layer().is_some() && ready.asked == ready.layer()
    };
    for keys in ["G", ": l a s t enter", "/ d o w n down down", "j j s j enter", "t G"] {
        let mut robot = Robot::new(&["made"], &[]);
        robot.open_all().press(keys);
        assert!(is_asked(&robot), "{keys}: at {}", robot.name());
    }
    let mut robot = Robot::new(&["made"], &[]);
    robot.open_all().press("G /");
    robot.app.update(Event::Paste("embed".into()));
    assert_eq!(robot.name(), "embed");
    assert!(is_asked(&robot), "at {}", robot.name());
    robot.press("esc");
    let last = robot.app.ready().unwrap().tree.rows().len() - 1;
    robot.app.update(Event::ClickRow(last));
    assert!(is_asked(&robot), "at {}", robot.name());
}

#[test]
fn a_toast_stays_until_the_next_key_and_long_enough_to_be_read() {
    let mut robot = Robot::new(&["a/model"], &[]);
    robot.press("6");
    let said = "jobs: no job was started yet (c converts, m merges)";
    let key = |robot: &mut Robot| drop(robot.app.update(Event::Key("j".into())));
    let first = robot.app.unread_toast();
    assert!(first.is_some());
    key(&mut robot);
    assert_eq!(robot.toast(), said, "a key came too early");
    robot.app.update(Event::ToastRead);
    assert_eq!((robot.toast(), robot.app.unread_toast()), ("", None));
    robot.press("6");
    assert_ne!(robot.app.unread_toast(), first, "another toast");
    robot.app.update(Event::ToastRead);
    assert_eq!((robot.toast(), robot.app.unread_toast()), (said, None), "no key came");
    key(&mut robot);
    assert_eq!(robot.toast(), "");
}
