//! The screen in a real pseudo-terminal: this test binary runs itself there, as one of the children
//! below, and the bytes it writes go through a terminal emulator.

use std::io::Read as _;
use std::num::NonZeroU16;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, PtyPair, PtySize, native_pty_system};
use ratatui::style::{Color, Style};
use ratatui::text::Line;

use super::*;

/// Names the part that a child plays.
const PART: &str = "CKPT_TERMINAL_TEST_PART";
const ROWS: NonZeroU16 = NonZeroU16::new(10).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(60).unwrap();
const ARGUMENTS: [&str; 4] = ["terminal::tests::child", "--exact", "--nocapture", "--test-threads=1"];
const PATIENCE: Duration = Duration::from_secs(20);

/// What a child does; without `PART` it is an ordinary test with nothing to do.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    install_panic_hook();
    let (sender, signals_of) = channel();
    let listener = Listener::new().unwrap();
    thread::Builder::new().spawn(move || listener.run(|signal| sender.send(signal).is_ok())).unwrap();
    let mut screen = match Screen::enter() {
        Ok(screen) => screen,
        Err(error) => return println!("no screen: {error}"),
    };
    let mut show =
        |text: &'static str| screen.draw(|frame| frame.render_widget(hello(text), frame.area())).unwrap();
    show("hello");
    match part.as_str() {
        "keys" => {
            wait_for_key();
            show("typed");
            wait_for_key();
            screen.repaint().unwrap();
            screen.copy("clip").unwrap();
            assert_eq!(screen.copy(&"x".repeat(COPY_BYTES_MAX + 1)).unwrap_err().kind, ErrorKind::Limit);
            assert_eq!(screen.size().unwrap(), (60, 10));
            screen.leave();
        }
        "panic" => {
            let worker = thread::Builder::new().spawn(|| panic!("worker trouble")).unwrap();
            assert!(worker.join().is_err());
            screen.draw(|_| panic!("ui trouble")).unwrap();
        }
        "suspend" => {
            wait_for_key();
            let did_stop = screen.suspend().unwrap();
            let text = if did_stop { "again" } else { "no shell" };
            screen.draw(|frame| frame.render_widget(hello(text), frame.area())).unwrap();
            wait_for_key();
            assert!(signals_of.try_recv().is_err(), "our own stop is no message");
            screen.leave();
        }
        _ => {
            screen.draw(|frame| frame.render_widget(hello("ready"), frame.area())).unwrap();
            let signal = signals_of.recv_timeout(PATIENCE).unwrap();
            screen.leave();
            println!("signal {signal:?}");
        }
    }
    println!("the end");
}

fn hello(text: &str) -> Line<'_> {
    Line::styled(text, Style::new().fg(Color::Rgb(1, 2, 3)))
}

fn wait_for_key() {
    while !matches!(crossterm::event::read().unwrap(), crossterm::event::Event::Key(_)) {}
}

/// A child in its terminal.
struct Stage {
    /// Kept open: its end is the terminal's.
    _pair: PtyPair,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    bytes: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    parser: vt100::Parser,
}

impl Stage {
    fn open(part: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(ARGUMENTS);
        command.env(PART, part);
        for (key, value) in environment {
            command.env(key, value);
        }
        Self::start(command)
    }

    fn start(command: CommandBuilder) -> Self {
        let size = PtySize { rows: ROWS.get(), cols: COLUMNS.get(), pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, bytes) = channel();
        let read = move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..count].to_vec()).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().spawn(read).unwrap();
        let keys = pair.master.take_writer().unwrap();
        Self {
            _pair: pair,
            keys,
            child,
            bytes,
            seen: Vec::new(),
            parser: vt100::Parser::new(ROWS, COLUMNS, 0),
        }
    }

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.parser.screen().contents().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(chunk) = self.bytes.recv_timeout(left) else {
                panic!("no `{text}` on:\n{}", self.parser.screen().contents());
            };
            self.parser.process(&chunk);
            self.seen.extend(chunk);
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn wrote(&self, bytes: &str) -> bool {
        self.seen.windows(bytes.len()).any(|window| window == bytes.as_bytes())
    }

    fn assert_given_back(&self) {
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_screen_is_entered_drawn_copied_from_and_given_back() {
    let mut stage = Stage::open("keys", &[]);
    stage.wait_for("hello");
    let screen = stage.parser.screen();
    assert!(screen.alternate_screen() && screen.hide_cursor() && screen.bracketed_paste());
    assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::ButtonMotion);
    assert!(stage.wrote("\x1b[?2026h"));
    stage.press("a");
    stage.wait_for("typed");
    stage.press("b");
    stage.wait_for("the end");
    stage.assert_given_back();
    assert!(stage.wrote("\x1b]52;c;Y2xpcA==\x1b\\"));
    assert!(!stage.wrote("\x1b[6n"), "nobody asks for the cursor's position");
}

#[test]
fn colors_are_written_under_no_color_because_the_degrade_pass_decides() {
    let mut stage = Stage::open("keys", &[("NO_COLOR", "1")]);
    stage.wait_for("hello");
    assert_eq!(stage.parser.screen().cell(0, 0).unwrap().fgcolor(), vt100::Color::Rgb(1, 2, 3));
}

#[test]
fn a_panic_gives_the_terminal_back_and_a_workers_panic_does_not_touch_it() {
    let mut stage = Stage::open("panic", &[]);
    stage.wait_for("ui trouble");
    stage.wait_for("test result");
    stage.assert_given_back();
    assert!(!stage.wrote("worker trouble"));
}

#[test]
fn without_job_control_a_suspend_says_so_and_goes_on() {
    let mut stage = Stage::open("suspend", &[]);
    stage.wait_for("hello");
    stage.press("z");
    stage.wait_for("no shell");
    assert!(stage.parser.screen().alternate_screen());
}

#[test]
fn a_suspend_gives_the_terminal_to_the_shell_and_fg_takes_it_back() {
    let mut shell = CommandBuilder::new("sh");
    shell.arg("-i");
    shell.env("PS1", "prompt$ ");
    shell.env("ENV", "");
    let mut stage = Stage::start(shell);
    stage.wait_for("prompt$");
    let this = std::env::current_exe().unwrap();
    stage.press(&format!("{PART}=suspend '{}' {}\n", this.display(), ARGUMENTS.join(" ")));
    stage.wait_for("hello");
    stage.press("z");
    // The shell writes its prompt when the child has stopped, and the child has no more to say.
    stage.wait_for("Stopped");
    stage.press("echo shell-$((40 + 2))\n");
    stage.wait_for("shell-42");
    stage.assert_given_back();
    stage.press("fg\n");
    stage.wait_for("again");
    assert!(stage.parser.screen().alternate_screen());
    stage.press("q");
    stage.wait_for("the end");
    stage.assert_given_back();
}

#[test]
fn a_termination_signal_arrives_as_a_message() {
    let mut stage = Stage::open("signals", &[]);
    stage.wait_for("ready");
    let pid = stage.child.process_id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    stage.wait_for("signal Quit");
    stage.wait_for("the end");
    stage.assert_given_back();
}

#[test]
fn without_a_terminal_the_error_points_to_inspect() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["terminal::tests::child", "--exact", "--nocapture"]).env(PART, "keys");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("no screen: the workbench needs a terminal"), "{text}");
    assert!(text.contains("ckpt inspect"), "{text}");
}
