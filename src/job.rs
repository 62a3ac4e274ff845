//! Jobs: work on threads of its own, and how it ends. The one place that starts threads that outlive a call.
//!
//! A job sends messages when something ends; progress is sampled by the screen. A panic in a job is caught
//! at its thread's edge and becomes a message: the screen goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::thread;

/// Starts `work` on a thread. What it returns is sent; a panic sends what `on_panic` makes of its text.
/// Messages to a receiver that is gone are dropped: nobody waits for them.
pub fn spawn<M: Send + 'static>(
    name: &str,
    sender: Sender<M>,
    work: impl FnOnce(&Sender<M>) -> Option<M> + Send + 'static,
    on_panic: impl FnOnce(String) -> M + Send + 'static,
) {
    let for_failure = sender.clone();
    let run = move || {
        let message = caught(|| work(&sender)).unwrap_or_else(|text| Some(on_panic(text)));
        if let Some(message) = message {
            // The receiver is gone when the workbench has ended: then there is nobody to tell.
            let _ = sender.send(message);
        }
    };
    if thread::Builder::new().name(name.to_owned()).spawn(run).is_err() {
        // Without a thread the job cannot run; dropping the sender is all that is left.
        drop(for_failure);
    }
}

/// Does a part of a job. One part that panics does not end the others.
///
/// # Errors
/// What the panic said.
pub fn caught<T>(part: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(part)).map_err(|panic| text_of(panic.as_ref()))
}

/// Returns what a panic said.
fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_panic_in_a_job_becomes_a_message() {
        let (sender, receiver) = channel();
        spawn(
            "test",
            sender,
            |_| if std::hint::black_box(true) { panic!("as planned") } else { None },
            |text| text,
        );
        assert_eq!(receiver.recv().unwrap(), "as planned");
    }
}
