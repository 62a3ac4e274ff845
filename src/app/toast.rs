//! The toast: a line that stays until the next key, and as long as it takes to read. The loop has the clock.

use super::App;

/// How far the toast that shows is.
#[derive(Default)]
pub(super) struct Age {
    /// Counts the toasts: names the one that shows.
    number: u32,
    /// True once it could be read.
    is_read: bool,
    /// True if a key came before that.
    is_due: bool,
}

impl App {
    /// Returns the number of the toast that shows and was not read yet: after two seconds it is to be told
    /// `Event::ToastRead`.
    #[must_use]
    pub fn unread_toast(&self) -> Option<u32> {
        self.toast.as_ref().filter(|_| !self.toast_age.is_read).map(|_| self.toast_age.number)
    }

    /// Begins the time of a toast that is another than before.
    pub(super) fn note_toast(&mut self, before: Option<&str>) {
        if self.toast.is_some() && self.toast.as_deref() != before {
            self.toast_age = Age { number: self.toast_age.number + 1, ..Age::default() };
        }
    }

    /// Keeps a toast over a key that came before it could be read.
    pub(super) fn keep_toast(&mut self, toast: Option<String>) {
        if !self.toast_age.is_read {
            self.toast = toast;
            self.toast_age.is_due = true;
        }
    }

    /// It has stood long enough: it goes now if a key came, else with the next one.
    pub(super) fn toast_read(&mut self) {
        self.toast_age.is_read = true;
        self.toast.take_if(|_| self.toast_age.is_due);
    }
}
