//! Converting in the workbench: the form, its plan and the jobs over real samples, as pictures at both sizes.
//!
//! Plans are made for real; what differs from machine to machine (free memory, time, rates) is put in.

use std::sync::Arc;
use std::time::Duration;

use ckpt::adapter::Adapter;
use ckpt::adapter::base::Search;
use ckpt::adapter::held::Held;
use ckpt::app::form::{Content, Planned, Request, There, in_form_words};
use ckpt::app::jobs::meter::Counts;
use ckpt::app::{App, Effect, Event, OpenState, keys};
use ckpt::checkpoint::Checkpoint;
use ckpt::diagnose::Diagnosis;
use ckpt::engine::busy::{Done, Worked};
use ckpt::engine::verify::Proven;
use ckpt::engine::{Outcome, Tally, cancelled};
use ckpt::error::Error;
use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::Theme;
use ckpt::ui::{Look, Scroll};
use ckpt::workbench::text_of;
use unicode_width::UnicodeWidthStr;

const NF4: &str = "samples/bnb-nf4-A/model";
pub(crate) const LARGE: (u16, u16) = (120, 36);
pub(crate) const SMALL: (u16, u16) = (80, 24);

/// Drives the app in the loop's place; jobs stand still until they are told how far they are.
pub(crate) struct Robot {
    pub(crate) app: App,
    pub(crate) started: Vec<u32>,
}

impl Robot {
    pub(crate) fn open(path: &str) -> Self {
        let (app, effects) = App::new(&[path.to_owned()], keys::keymap(None).unwrap());
        let mut robot = Self { app, started: Vec::new() };
        robot.answer(effects);
        robot
    }

    /// Opens a plain base with an adapter attached to it.
    pub(crate) fn attach(adapter: &str) -> Self {
        Self::attach_to("samples/base-A-bf16/model", &format!("samples/peft-bad-keys/{adapter}"))
    }

    /// Opens a base with an adapter attached to it.
    pub(crate) fn attach_to(base: &str, adapter: &str) -> Self {
        let mut robot = Self::open(base);
        let effects = robot.app.attach(adapter);
        robot.answer(effects);
        robot
    }

    pub(crate) fn answer(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let event = match effect {
                Effect::Open(id, path) => Event::Opened(id, Box::new(Checkpoint::open_examined(&path))),
                Effect::Attach(id, number) => {
                    let open = &self.app.opens[self.app.current];
                    let path = &open.attached.as_ref().unwrap().path;
                    let base = Arc::clone(&self.app.ready().unwrap().checkpoint);
                    Event::Attached(id, number, Box::new(Held::open(base, path, None)))
                }
                Effect::Examine(id) => {
                    let open = self.app.opens.iter().find(|open| open.id == id).unwrap();
                    let OpenState::Ready(ready) = &open.state else { panic!("it is not open") };
                    Event::Examined(id, Box::new(ready.checkpoint.examine()))
                }
                Effect::Diagnose(id, number) => {
                    let found = self.app.with_subject(Diagnosis::of).unwrap();
                    Event::Diagnosed(id, number, Box::new(found))
                }
                Effect::FindBase(id) => {
                    let checkpoint = Arc::clone(&self.app.ready().unwrap().checkpoint);
                    let facts = Adapter::read(&checkpoint);
                    Event::BaseFound(id, Box::new(Search::of(&checkpoint, &facts)))
                }
                Effect::Hold(_, number, path) => {
                    let base = Arc::clone(&self.app.ready().unwrap().checkpoint);
                    Event::Held(number, Box::new(Held::open(base, &path, None)))
                }
                Effect::Plan(question) => {
                    Event::Planned(question, Box::new(planned(&self.app.plan_request().unwrap())))
                }
                Effect::Look(number) => {
                    let request = self.app.look_request(number).unwrap();
                    for aim in &request.aims {
                        let found = request.look(aim).unwrap();
                        self.app.update(Event::Looked(Box::new(found)));
                    }
                    continue;
                }
                Effect::StartJob(id) => {
                    self.started.push(id);
                    continue;
                }
                _ => continue,
            };
            let more = self.app.update(event);
            self.answer(more);
        }
    }

    pub(crate) fn press(&mut self, keys: &str) -> &mut Self {
        for word in keys.split_whitespace() {
            let letters: Vec<String> = match word.strip_prefix("type:") {
                Some(text) => text.chars().map(String::from).collect(),
                None => vec![word.to_owned()],
            };
            for key in letters {
                self.app.update(Event::ToastRead);
                let effects = self.app.update(Event::Key(key));
                self.answer(effects);
            }
        }
        self
    }

    /// Starts a conversion of a sample to a folder that is never made.
    fn converting() -> Self {
        let mut robot = Self::open(NF4);
        robot.press("c enter");
        assert_eq!(robot.started.len(), 1);
        robot
    }

    pub(crate) fn tick(&mut self, counts: Counts) -> &mut Self {
        let id = *self.started.last().unwrap();
        self.app.update(Event::JobTicked(id, counts));
        self
    }

    pub(crate) fn end(&mut self, ended: Result<Outcome, Error>) -> &mut Self {
        let id = *self.started.last().unwrap();
        let effects = self.app.update(Event::JobEnded(id, Box::new(ended)));
        self.answer(effects);
        self
    }

    pub(crate) fn draw(&mut self, (width, height): (u16, u16)) -> String {
        let theme = Theme::built_in("dark").unwrap();
        let look = Look { theme: &theme, degrade: Degrade { colors: Colors::True, is_ascii: false } };
        let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| ckpt::ui::draw(frame, &mut self.app, &mut Scroll::default(), &look)).unwrap();
        text_of(terminal.backend().buffer())
    }
}

/// Plans for real; what stands where the result goes is told by its path.
fn planned(request: &Request) -> Result<Planned, Error> {
    let made = request.plan().map_err(|error| Error { message: in_form_words(&error.message), ..error })?;
    let plan = made.plan;
    let output = plan.order.output.display().to_string();
    let content =
        |files: &[&str], bytes| Content { files: files.iter().map(|f| (*f).into()).collect(), bytes };
    let there = if output.starts_with("/there") {
        There::Checkpoint(content(&["config.json", "generation_config.json", "model.safetensors"], 673_000))
    } else if output.starts_with("/left") {
        There::Unfinished(content(&["model-00001-of-00002.safetensors"], 5_000_000_000))
    } else {
        There::Nothing
    };
    let (force, resume) = (request.options.force, request.options.resume);
    let is_full = output.starts_with("/full");
    let obstacle = match &there {
        There::Checkpoint(_) if !force && !resume => {
            Some(in_form_words(&format!("-o {output}: is there already; --force replaces a checkpoint")))
        }
        _ if made.refusal.is_some() => made.refusal.map(str::to_owned),
        _ => is_full.then(|| "/full/x: the disk has 300 KiB free, the result needs 658 KiB".into()),
    };
    // As many threads everywhere.
    let options = ckpt::engine::Options { threads: 8, ..request.options };
    Ok(Planned {
        adapters: made.adapters,
        checkpoint: made.checkpoint,
        repair: made.repair,
        fixes: made.fixes,
        disk_free: Some(if is_full { 300 << 10 } else { 112 << 30 }),
        peak: 390 << 20,
        vram: ckpt::engine::most_vram(&plan, &options),
        there,
        obstacle,
        plan: Arc::new(plan),
        options,
    })
}

/// Counts of a run that writes faster than its disk takes it.
pub(crate) fn counts(millis: u64, written: u64) -> Counts {
    let millis_of = Duration::from_millis;
    Counts {
        elapsed: millis_of(millis),
        worked: Worked {
            read: Done { bytes: written / 3, busy: millis_of(millis * 3) },
            computing: millis_of(millis * 2),
            write: Done { bytes: written, busy: millis_of(millis * 99 / 100) },
            gpus: None,
        },
        tensors: written / 32_000,
        is_proving: false,
    }
}

pub(crate) fn outcome() -> Outcome {
    Outcome {
        bytes_read: 251_000,
        bytes_written: 674_000,
        elapsed: Duration::from_millis(4200),
        device: "cpu".into(),
        device_why: String::new(),
        stages: None,
        tally: Tally { overflows: 0 },
        proof: Some(Proven { files: 1, copied: 7, decoded: 8, decoded_of: 14, ..Proven::default() }),
        notes: Vec::new(),
    }
}

fn running() -> Robot {
    let mut robot = Robot::converting();
    robot.tick(counts(250, 40_000)).tick(counts(3250, 400_000));
    robot
}

/// Each picture with its robot.
#[expect(clippy::too_many_lines, reason = "a row a picture")]
fn pictures() -> Vec<(&'static str, Robot)> {
    let mut pictures: Vec<(&'static str, Robot)> = Vec::new();
    let mut add = |name, path, keys: &str| {
        let mut robot = Robot::open(path);
        robot.press(keys);
        pictures.push((name, robot));
    };
    add("form", NF4, "c");
    add("form-path", NF4, "c up up up ctrl-u type:~/it's/out");
    add("form-cast", NF4, "c up up up up up up right right");
    add("form-full", NF4, "c up up up ctrl-u type:/full/x down down down");
    add("form-dense", "samples/base-A-bf16/model", "c up up");
    add("form-names", "samples/gguf-q4_k_m-K/model.gguf", "c tab down down right");
    add("form-only", NF4, "c up up up up up type:*.mlp.*");
    add("form-none-left", NF4, "c up up up up up type:mlp");
    add("form-broken-copied", "samples/bad-quantized/bnb-missing-quant-state", "c up up up up right");
    add("form-exists", NF4, "c up up up ctrl-u type:/there/x down");
    add("form-check", NF4, "c up up up ctrl-u type:/there/x down right");
    add("form-replace", NF4, "c up up up ctrl-u type:/there/x down right right down down down");
    add("form-resume", NF4, "c up up up ctrl-u type:/left/x down down down down");
    add("form-start-over", NF4, "c up up up ctrl-u type:/left/x down right");
    add(
        "form-crowded",
        "samples/bad-quantized/bnb-missing-quant-state",
        "c up up up up right down ctrl-u type:/there/x down",
    );
    add("plan-refused", "samples/layout-spqr/model", "c");
    add("form-file", "samples/gguf-q4_k_m-K/model.gguf", "c");
    add("plan-broken", "samples/bad-quantized/bnb-missing-quant-state", "c");
    add("convert-adapter", "samples/peft-lora-all-A/adapter", "c");
    pictures.push(("job-running", running()));
    let mut robot = Robot::converting();
    for tick in 0..=20u64 {
        robot.tick(counts(tick * 1000, tick * 20_000 + tick * tick % 7 * 9_000));
    }
    pictures.push(("job-history", robot));
    let mut robot = running();
    robot.end(Ok(outcome())).press("1 c");
    pictures.push(("form-estimate", robot));
    let mut robot = running();
    robot.press("1");
    pictures.push(("job-behind", robot));
    let mut robot = running();
    robot.press("x");
    pictures.push(("job-cancel-asked", robot));
    let mut robot = running();
    robot.press("1 q");
    pictures.push(("job-quit-asked", robot));
    let mut robot = running();
    robot.tick(Counts { is_proving: true, ..counts(3500, 674_000) });
    pictures.push(("job-verifying", robot));
    let mut robot = running();
    robot.press("1 c up up up ctrl-u type:second down down down enter");
    pictures.push(("job-queued", robot));
    let mut robot = running();
    robot.end(Err(cancelled()));
    pictures.push(("job-cancelled", robot));
    let mut robot = running();
    robot.end(Err(Error::input("write model.safetensors: no space left on device (os error 28)")));
    pictures.push(("job-failed", robot));
    let mut robot = running();
    robot.end(Ok(outcome()));
    pictures.push(("job-done", robot));
    let mut robot = running();
    robot.press("1 c up up up ctrl-u type:second down down down enter").end(Ok(Outcome {
        proof: None,
        tally: Tally { overflows: 1204 },
        notes: vec!["what an earlier run left unfinished was removed".into()],
        ..outcome()
    }));
    robot.press("k");
    pictures.push(("job-unproven", robot));
    let mut robot = running();
    robot.end(Ok(outcome())).press("@");
    pictures.push(("job-log", robot));
    for (name, adapter, keys) in [
        ("merge-form", "good", "m"),
        ("merge-rounding", "good", "m tab tab tab tab right"),
        ("merge-scale", "good", "m tab tab tab ctrl-u type:0.5"),
        ("merge-scale-wrong", "good", "m tab tab tab ctrl-u type:1.5.2"),
        ("merge-two", "good", "m a type:samples/peft-lora-all-A/adapter enter ctrl-u type:-0.25"),
        (
            "merge-three",
            "good",
            "m a type:samples/peft-dora-A/adapter enter a type:samples/peft-ia3-A/adapter enter",
        ),
        ("merge-taken-out", "good", "m a type:samples/peft-ia3-A/adapter enter x"),
        ("merge-two-failed", "good", "m a type:samples/base-B-bf16/model enter"),
        ("merge-picker", "good", "m a"),
        ("merge-refused", "missing-lora-B", "m"),
        ("merge-partial", "missing-lora-B", "m tab tab tab tab tab right"),
        ("merge-nothing-fits", "wrong-shape", "m"),
        ("merge-exists", "good", "m up up up ctrl-u type:/there/x down right right down down down"),
        ("merge-copied", "good", "m Y"),
        ("repair", "base-layer-infix", "r"),
        ("repair-scrolled", "base-layer-infix", "r pgdn down down"),
        ("repair-end", "base-layer-infix", "r pgdn pgdn pgdn pgdn pgdn"),
        ("repair-long", "double-prefix", "r"),
        ("repair-refused", "missing-lora-B", "r"),
        ("repair-nothing", "good", "r"),
        ("repair-version", "no-prefix", "r up type:0.11"),
        ("repair-version-wrong", "no-prefix", "r up type:newest"),
        ("repair-exists", "no-prefix", "r up up ctrl-u type:/there/x"),
        ("repair-replace", "no-prefix", "r up up ctrl-u type:/there/x down right down down"),
    ] {
        let mut robot = Robot::attach(adapter);
        robot.press(keys);
        pictures.push((name, robot));
    }
    for (name, keys) in
        [("merge-same", "m tab right"), ("merge-same-rounded", "m tab right tab tab tab right")]
    {
        let mut robot = Robot::attach_to("samples/bnb-nf4-A/model", "samples/peft-lora-all-A/adapter");
        robot.press(keys);
        pictures.push((name, robot));
    }
    for (name, adapter, keys) in [
        ("repair-asks", "r8", "r"),
        ("repair-keep", "r8", "r tab tab tab right right"),
        ("repair-alpha", "nocfg", "r up type:16"),
    ] {
        let base = "samples/load-errors/ae/base";
        let mut robot = Robot::attach_to(base, &format!("samples/load-errors/ae/{adapter}"));
        robot.press(keys);
        pictures.push((name, robot));
    }
    let mut robot = Robot::attach("good");
    robot.press("m enter").tick(counts(250, 40_000)).tick(counts(3250, 400_000));
    pictures.push(("merge-running", robot));
    for (name, adapter, keys) in [
        ("merge-done", "good", "m enter"),
        ("merge-done-partial", "missing-lora-B", "m tab tab tab tab tab right down down down down enter"),
        ("repair-done", "base-layer-infix", "r enter"),
    ] {
        let mut robot = Robot::attach(adapter);
        robot.press(keys).end(Ok(Outcome {
            proof: Some(Proven {
                files: 1,
                copied: 15,
                merged: 6,
                merged_of: 6,
                rows: 96,
                ulps: 0.5,
                ..Proven::default()
            }),
            ..outcome()
        }));
        pictures.push((name, robot));
    }
    pictures
}

#[test]
fn every_step_of_a_conversion_is_as_it_was_looked_at() {
    let mut drawn = 0;
    for (name, mut robot) in pictures() {
        for size in [LARGE, SMALL] {
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), robot.draw(size));
            drawn += 1;
        }
    }
    println!("{drawn} screens");
    assert_eq!(drawn, 130);
}

#[test]
fn no_line_of_a_conversion_is_wider_than_the_screen() {
    for (name, mut robot) in pictures() {
        for width in [1, 20, 40, 50, 60, 69, 70, 79, 100, 200] {
            for height in [1, 7, 10, 15, 24] {
                let text = robot.draw((width, height));
                let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
                assert!(widest <= usize::from(width), "{name} at {width}x{height}: {widest} cells");
            }
        }
    }
}

#[test]
fn a_screen_without_room_says_how_far_the_job_is() {
    insta::assert_snapshot!("job-too-small", running().draw((34, 7)));
}

#[test]
fn the_result_opens_beside_its_input() {
    let mut robot = running();
    robot.end(Ok(outcome())).press("enter");
    let paths: Vec<&str> = robot.app.opens.iter().map(|open| open.path.as_str()).collect();
    assert_eq!(paths, [NF4, "samples/bnb-nf4-A/model-dense"]);
    assert_eq!(robot.app.current, 1);
}
