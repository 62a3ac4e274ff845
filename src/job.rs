//! Jobs: work on threads of its own, and how it ends. The one place that starts threads that outlive a call.
//!
//! A job sends messages when something ends; progress is sampled by the screen. A panic in a job is caught
//! at its thread's edge and becomes a message: the screen goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::thread;

/// Starts `work` on a thread. What it returns is sent; if it panics, or the system has no thread for it, what
/// `on_failure` makes of the reason is sent.
/// Messages to a receiver that is gone are dropped: nobody waits for them.
pub fn spawn<M: Send + 'static>(
    name: &str,
    sender: Sender<M>,
    work: impl FnOnce(&Sender<M>) -> Option<M> + Send + 'static,
    on_failure: impl FnOnce(String) -> M + Send + 'static,
) {
    // A thread that could not be started drops what it was given unused: the system's reason is lost with it.
    let failure = Failure { sender: sender.clone(), message: Some(on_failure) };
    let run = move || {
        match caught(|| work(&sender)) {
            // The receiver is gone when the workbench has ended: then there is nobody to tell.
            Ok(message) => message.map_or((), |message| drop(sender.send(message))),
            Err(text) => return failure.tell(text),
        }
        failure.forget();
    };
    // What was not started has sent its message already.
    let _ = thread::Builder::new().name(name.to_owned()).spawn(run);
}

/// Sends a message once: when it is told why, or when it is dropped unused.
struct Failure<M, F: FnOnce(String) -> M> {
    sender: Sender<M>,
    message: Option<F>,
}

impl<M, F: FnOnce(String) -> M> Failure<M, F> {
    fn tell(mut self, why: String) {
        self.send(why);
    }

    fn forget(mut self) {
        self.message = None;
    }

    fn send(&mut self, why: String) {
        if let Some(message) = self.message.take() {
            let _ = self.sender.send(message(why));
        }
    }
}

impl<M, F: FnOnce(String) -> M> Drop for Failure<M, F> {
    fn drop(&mut self) {
        self.send("the system could not start a thread".into());
    }
}

/// Does a part of a job. One part that panics does not end the others.
///
/// # Errors
/// That it is a fault of this program, and what the panic said.
pub fn caught<T>(part: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(part))
        .map_err(|panic| format!("a fault of this program: {}", text_of(panic.as_ref())))
}

/// Returns what a panic said.
fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests;
