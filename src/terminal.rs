//! The terminal: the one file that enters and leaves the screen.
//!
//! | what                  | on entering                | on leaving                       |
//! |-----------------------|----------------------------|----------------------------------|
//! | line discipline       | raw                        | as it was                        |
//! | screen                | alternate, cursor hidden   | the shell's, cursor shown        |
//! | mouse                 | clicks, drags, wheel (SGR) | off                              |
//! | paste                 | bracketed                  | plain                            |
//!
//! It is left on drop, on a panic of the UI thread, and before a suspend; a panic on a worker thread
//! leaves the screen alone, because its job catches and shows it. Signals only become messages
//! (`Listener`), so that the loop can end its jobs and drop the `Screen`.
//!
//! Three traps of the libraries below, each met in practice: `Terminal::clear` and everything else that
//! asks for the cursor's position waits two seconds while a thread reads events, so a repaint goes
//! through `resize`; crossterm answers `NO_COLOR` by resetting all attributes, so its color output is
//! forced and the degrade pass decides; ratatui's default writer flushes every kilobyte.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute, queue};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal};
use signal_hook::consts::signal::{SIGCONT, SIGHUP, SIGINT, SIGSTOP, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::error::{Error, ErrorKind, Result};

/// A first frame in true color is about 64 KiB: one write, where stdout's own buffer makes 66.
const WRITE_BUFFER_BYTES: usize = 64 << 10;
/// Terminals drop longer OSC 52 strings: 100 000 bytes with their base64, of which 74 994 are text
/// (the limit of xterm-derived terminals, as kept by vim-oscyank).
const COPY_BYTES_MAX: usize = 74_994;
/// Buttons, drags and the wheel, in SGR coordinates. crossterm's own command also asks for every motion
/// (1003), which would wake an idle workbench whenever the mouse crosses it.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1002h\x1b[?1006h";

/// True while the alternate screen is ours; the panic hook and `Drop` restore once.
static IS_ENTERED: AtomicBool = AtomicBool::new(false);
/// True while a SIGTSTP of our own making is under way to the signal thread.
static IGNORE_STOP: AtomicBool = AtomicBool::new(false);
/// The same for the SIGCONT that ends our own stop.
static IGNORE_CONTINUE: AtomicBool = AtomicBool::new(false);

/// The workbench's screen. Dropping it gives the terminal back.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Enters the screen.
    ///
    /// # Errors
    /// Input: stdout is no terminal. Io: the terminal refuses raw mode or a write.
    pub fn enter() -> Result<Self> {
        if !stdout().is_terminal() {
            return Err(Error::input(
                "the workbench needs a terminal, and stdout is none: ckpt inspect PATH prints the same",
            ));
        }
        crossterm::style::force_color_output(true);
        // A default SIGTSTP would stop us with the shell left in raw mode; `Listener` hands it on.
        signal_hook::flag::register(SIGTSTP, Arc::default())
            .map_err(|error| io_error("listen for SIGTSTP", &error))?;
        switch_on().map_err(|error| {
            leave();
            match error.raw_os_error() {
                // ENXIO: stdin is redirected and the process has no controlling terminal.
                Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => Error::input(
                    "the workbench needs a keyboard, and there is no terminal behind stdin: ckpt inspect PATH prints the same",
                ),
                _ => io_error("enter the screen", &error),
            }
        })?;
        let writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, stdout());
        let terminal = Terminal::new(CrosstermBackend::new(writer)).map_err(|error| {
            leave();
            io_error("read the size of the terminal", &error)
        })?;
        Ok(Self { terminal })
    }

    /// Draws one frame, shown at once where the terminal knows synchronized updates.
    ///
    /// # Errors
    /// Io: the terminal is gone.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        let drawn = queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)
            .and_then(|()| self.terminal.draw(render).map(|_| ()));
        // Also after a failure: a terminal left in the update would show nothing more.
        let ended = execute!(self.terminal.backend_mut(), EndSynchronizedUpdate);
        drawn.and(ended).map_err(|error| io_error("draw", &error))
    }

    /// Returns the screen's size; the loop's way to find out that the terminal is gone.
    ///
    /// # Errors
    /// Io: the terminal is gone.
    pub fn size(&self) -> Result<(u16, u16)> {
        let size = self.terminal.size().map_err(|error| io_error("read the size of the terminal", &error))?;
        Ok((size.width, size.height))
    }

    /// Makes the next `draw` write every cell (Ctrl-l, or after something else wrote to the terminal).
    ///
    /// # Errors
    /// Io: the terminal is gone.
    pub fn repaint(&mut self) -> Result<()> {
        let (width, height) = self.size()?;
        let resized = self.terminal.resize(Rect::new(0, 0, width, height));
        resized.map_err(|error| io_error("repaint", &error))
    }

    /// Gives the terminal back to the shell and stops as Ctrl-z does; enters again when the shell lets
    /// the process go on. Returns false, and does nothing, where no shell with job control started us:
    /// nobody could wake us again.
    ///
    /// # Errors
    /// Io: the terminal is gone, or refuses raw mode.
    pub fn suspend(&mut self) -> Result<bool> {
        // A job-control shell gives each job a process group of its own.
        let session = rustix::process::getsid(None).map_err(|error| io_error("suspend", &error.into()))?;
        if rustix::process::getpgrp() == session {
            return Ok(false);
        }
        leave();
        // The whole group, so that a script around us stops too and the shell gets its prompt. Our own
        // handler makes it harmless to us: delivered to another thread, it would stop us too late, with
        // the screen already entered again. SIGSTOP, raised in this thread, stops us here.
        IGNORE_STOP.store(true, Ordering::SeqCst);
        IGNORE_CONTINUE.store(true, Ordering::SeqCst);
        let told = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        let stopped = signal_hook::low_level::raise(SIGSTOP);
        self.resume()?;
        told.map_err(io::Error::from).and(stopped).map_err(|error| io_error("suspend", &error))?;
        Ok(true)
    }

    /// Enters again after somebody else stopped the process (`Signal::Continue`); the next `draw` writes
    /// every cell.
    ///
    /// # Errors
    /// Io: the terminal is gone, or refuses raw mode.
    pub fn resume(&mut self) -> Result<()> {
        leave();
        switch_on().map_err(|error| io_error("enter the screen", &error))?;
        self.repaint()
    }

    /// Copies `text` to the clipboard of the terminal's user, over ssh and tmux too (OSC 52).
    ///
    /// # Errors
    /// Limit: longer than terminals take. Io: the terminal is gone.
    pub fn copy(&mut self, text: &str) -> Result<()> {
        if text.len() > COPY_BYTES_MAX {
            let message = format!("{} bytes to copy, terminals take {COPY_BYTES_MAX}", text.len());
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let copied = execute!(self.terminal.backend_mut(), CopyToClipboard::to_clipboard_from(text));
        copied.map_err(|error| io_error("copy", &error))
    }

    /// Leaves the screen.
    pub fn leave(self) {
        drop(self);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic while drawing leaves the begin of an update in the writer, which would go out last.
        let _ = execute!(self.terminal.backend_mut(), EndSynchronizedUpdate);
        leave();
    }
}

fn switch_on() -> io::Result<()> {
    enable_raw_mode()?;
    IS_ENTERED.store(true, Ordering::SeqCst);
    let mut out = stdout().lock();
    queue!(out, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
    out.write_all(MOUSE_ON)?;
    out.flush()
}

/// Gives the terminal back if it is ours. Errors have no one left to tell.
fn leave() {
    if IS_ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            stdout(),
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            cursor::Show
        );
    }
    let _ = disable_raw_mode();
}

fn io_error(verb: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{verb}: {error}"))
}

/// Makes a panic of the calling thread give the terminal back before it is reported. While the screen is
/// ours, panics of other threads are not printed: whoever started the thread catches and shows them.
pub fn install_panic_hook() {
    let ui_thread = thread::current().id();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if thread::current().id() == ui_thread {
            leave();
            report(info);
        } else if !IS_ENTERED.load(Ordering::SeqCst) {
            report(info);
        }
    }));
}

/// What the system asks of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end the jobs, then the program.
    Quit,
    /// SIGHUP: the terminal is gone; end likewise, but draw nothing more.
    Hangup,
    /// SIGTSTP from outside: call `Screen::suspend`.
    Suspend,
    /// SIGCONT: somebody stopped us, and the shell used the terminal meanwhile: call `Screen::resume`.
    Continue,
}

/// The signals that end or stop us, from `new` on as messages only.
pub struct Listener(Signals);

impl Listener {
    /// Begins to hold the signals back. Call it before `Screen::enter`: a signal that comes earlier ends
    /// the process with the terminal as it was, a later one waits for `run`.
    ///
    /// # Errors
    /// Io: the system refuses to register a handler.
    pub fn new() -> Result<Self> {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGTSTP, SIGCONT]);
        Ok(Self(signals.map_err(|error| io_error("listen for signals", &error))?))
    }

    /// Waits for signals and hands each to `send`, until `send` returns false. It blocks: give it a
    /// thread of its own.
    pub fn run(mut self, mut send: impl FnMut(Signal) -> bool) {
        for signal in self.0.forever() {
            let message = match signal {
                SIGHUP => Signal::Hangup,
                SIGTSTP if IGNORE_STOP.swap(false, Ordering::SeqCst) => continue,
                SIGTSTP => Signal::Suspend,
                SIGCONT if IGNORE_CONTINUE.swap(false, Ordering::SeqCst) => continue,
                SIGCONT => Signal::Continue,
                _ => Signal::Quit,
            };
            if !send(message) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
