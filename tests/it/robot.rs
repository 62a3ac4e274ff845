//! The workbench as a person has it: the real binary in a terminal of its own.
//!
//! Nothing waits for a time: each step waits until the screen shows what it should.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// How long a step may take on a busy machine before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

/// The workbench in a terminal of its own.
pub(crate) struct Robot {
    pub(crate) screen: vt100::Parser,
    pub(crate) bytes: Receiver<Vec<u8>>,
    keys: Box<dyn std::io::Write + Send>,
    pty: Box<dyn MasterPty + Send>,
    pub(crate) child: Box<dyn Child + Send + Sync>,
    /// Everything the program wrote.
    written: Vec<u8>,
}

impl Robot {
    pub(crate) fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 36, cols: 120, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_ckpt"));
        command.args(args);
        command.cwd(env!("CARGO_MANIFEST_DIR"));
        let state =
            std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pty-{}", std::process::id()));
        for (key, value) in [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")] {
            command.env(key, value);
        }
        command.env("XDG_STATE_HOME", &state);
        command.env("XDG_CONFIG_HOME", &state);
        command.env("HF_HUB_CACHE", state.join("no-cache"));
        command.env_remove("NO_COLOR");
        for (key, value) in environment {
            command.env(key, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, bytes) = channel();
        #[expect(clippy::disallowed_methods, reason = "the test reads the terminal on a thread of its own")]
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self {
            screen: vt100::Parser::new(cells(36), cells(120), 0),
            bytes,
            keys,
            pty: pair.master,
            child,
            written: Vec::new(),
        }
    }

    pub(crate) fn press(&mut self, keys: &str) -> &mut Self {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
        self
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&mut self, (columns, rows): (u16, u16)) -> &mut Self {
        self.pty.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }).unwrap();
        self.screen.screen_mut().set_size(cells(rows), cells(columns));
        self
    }

    pub(crate) fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads until the screen satisfies `is_there`.
    pub(crate) fn until(&mut self, what: &str, is_there: impl Fn(&vt100::Screen) -> bool) -> &mut Self {
        let end = Instant::now() + PATIENCE;
        while !is_there(self.screen.screen()) {
            match self.bytes.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.written.extend(bytes);
                }
                Err(RecvTimeoutError::Timeout) => panic!("{what} did not show:\n{}", self.text()),
                Err(RecvTimeoutError::Disconnected) => panic!("ended before {what} showed:\n{}", self.text()),
            }
        }
        self
    }

    pub(crate) fn shows(&mut self, text: &str) -> &mut Self {
        self.until(text, |screen| screen.contents().contains(text))
    }

    /// Reads to the end and returns the exit code.
    pub(crate) fn ends(mut self) -> (u32, Self) {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.bytes.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.written.extend(bytes);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("did not end:\n{}", self.text()),
            }
        }
        let status = self.child.wait().unwrap();
        (status.exit_code(), self)
    }

    /// Claims that the terminal is as it was: main screen, cursor shown, mouse and paste modes off.
    pub(crate) fn is_restored(&self) {
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "still in the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert!(!screen.bracketed_paste(), "bracketed paste is on");
    }
}
