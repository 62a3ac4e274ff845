//! Attaching: choosing an adapter for the checkpoint that is shown, and what came of holding it against it.
//!
//! Opening and aligning read values, so the loop does them on a thread (`Effect::Attach`). They wait until the
//! checkpoint has been examined, and are done again when it is read again.

use super::board::Board;
use super::picker::{Picker, Purpose};
use super::{App, Effect, Open, OpenState, Overlay, Tab, shell_path};
use crate::adapter::held::Held;
use crate::error::{Error, Result};

/// An adapter that is attached to an open checkpoint.
pub struct Attached {
    /// What was asked for.
    pub path: String,
    /// How far it is.
    pub state: AttachState,
    number: u32,
}

/// How far an attached adapter is.
pub enum AttachState {
    /// It is opened and held against the base.
    Aligning,
    /// It could not be opened, or is no adapter.
    Failed(Error),
    /// It is here.
    Ready(Box<Board>),
}

impl Open {
    /// Returns the board of the adapter that is attached, if it is here.
    #[must_use]
    pub fn board(&self) -> Option<&Board> {
        match &self.attached.as_ref()?.state {
            AttachState::Ready(board) => Some(board),
            _ => None,
        }
    }

    /// Returns the board, for changing.
    pub fn board_mut(&mut self) -> Option<&mut Board> {
        match &mut self.attached.as_mut()?.state {
            AttachState::Ready(board) => Some(board),
            _ => None,
        }
    }
}

impl App {
    /// Returns the adapter that is attached to the checkpoint that is shown.
    #[must_use]
    pub fn attached(&self) -> Option<&Attached> {
        self.opens.get(self.current)?.attached.as_ref()
    }

    /// Returns the board of the adapter that is attached, if it is here.
    #[must_use]
    pub fn board(&self) -> Option<&Board> {
        self.opens.get(self.current)?.board()
    }

    /// Returns the board, for changing.
    pub fn board_mut(&mut self) -> Option<&mut Board> {
        self.opens.get_mut(self.current)?.board_mut()
    }

    /// Attaches an adapter to the checkpoint that is shown, in the place of another.
    pub fn attach(&mut self, path: &str) -> Vec<Effect> {
        let Some(open) = self.opens.get_mut(self.current) else { return Vec::new() };
        self.log.push(format!("ckpt align {} -a {}", shell_path(&open.path), shell_path(path)));
        open.attached = Some(Attached { path: path.to_owned(), state: AttachState::Aligning, number: 0 });
        let id = open.id;
        self.show(Tab::Adapter);
        self.align(id)
    }

    /// Opens a checkpoint and attaches the adapter that is shown to it.
    pub(super) fn open_base(&mut self, path: &str) -> Vec<Effect> {
        let Some(adapter) = self.opens.get(self.current).map(|open| open.path.clone()) else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        match self.opens.iter().position(|open| open.path == path) {
            Some(at) => self.current = at,
            None => effects = self.open(path),
        }
        effects.extend(self.attach(&adapter));
        effects
    }

    /// Asks for the alignment of what is attached, once the base has been examined.
    pub(super) fn align(&mut self, id: u32) -> Vec<Effect> {
        let number = self.next_id;
        let Some(open) = self.opens.iter_mut().find(|open| open.id == id) else { return Vec::new() };
        let OpenState::Ready(ready) = &open.state else { return Vec::new() };
        let Some(attached) = open.attached.as_mut().filter(|_| ready.checkpoint.examined) else {
            return Vec::new();
        };
        self.next_id += 1;
        attached.number = number;
        attached.state = AttachState::Aligning;
        vec![Effect::Attach(id, number)]
    }

    /// Takes an alignment, unless another was asked for since.
    pub(super) fn attached_to(&mut self, id: u32, number: u32, held: Result<Held>) -> Vec<Effect> {
        let open = self.opens.iter_mut().find(|open| open.id == id);
        let attached = open.and_then(|open| open.attached.as_mut());
        let Some(attached) = attached.filter(|attached| attached.number == number) else { return Vec::new() };
        attached.state = match held {
            Ok(held) => AttachState::Ready(Box::new(Board::new(held))),
            Err(error) => AttachState::Failed(error),
        };
        self.diagnose(id)
    }
}

/// Opens the picker of adapters.
pub(super) fn pick(app: &mut App) -> Vec<Effect> {
    let picker = Picker { purpose: Purpose::Attach, ..Picker::default() };
    app.overlay = Some(Overlay::Picker(Box::new(picker)));
    vec![Effect::FindAdapters]
}

/// Opens the picker of what could be the base of the adapter that is shown.
pub(super) fn choose_base(app: &mut App) -> Vec<Effect> {
    let picker = Picker { purpose: Purpose::Base, ..Picker::default() };
    app.overlay = Some(Overlay::Picker(Box::new(picker)));
    vec![Effect::FindPlaces]
}

/// Opens the base that was found.
pub(super) fn open_base(app: &mut App) -> Vec<Effect> {
    let found = app.ready().and_then(|ready| ready.base.as_ref()?.found.clone());
    found.map_or_else(Vec::new, |found| app.open_base(&found.path))
}

/// An adapter is shown by itself.
pub(super) fn is_adapter(app: &App) -> bool {
    app.ready().is_some_and(|ready| ready.adapter.is_some())
}

/// An adapter is shown by itself, and its base was found.
pub(super) fn has_base(app: &App) -> bool {
    is_adapter(app) && can_open_base(app).is_ok()
}

pub(super) fn needs_adapter(app: &App) -> std::result::Result<(), String> {
    super::command::has_checkpoint(app)?;
    if is_adapter(app) { Ok(()) } else { Err("this is no adapter: a attaches one to it".into()) }
}

pub(super) fn can_open_base(app: &App) -> std::result::Result<(), String> {
    needs_adapter(app)?;
    match app.ready().map(|ready| &ready.base) {
        Some(Some(search)) if search.found.is_some() => Ok(()),
        Some(Some(search)) if search.named.is_none() => {
            Err("the adapter does not name its base: a chooses it".into())
        }
        Some(Some(_)) => {
            Err("the base was not found here (4 says where it was looked for): a chooses it".into())
        }
        _ => Err("the base is still being looked for".into()),
    }
}

pub(super) fn can_attach(app: &App) -> std::result::Result<(), String> {
    super::command::has_checkpoint(app)?;
    if !app.is_readable() {
        return Err("nothing of this checkpoint could be read".into());
    }
    if is_adapter(app) {
        return Err("this is an adapter itself: o opens its base, a chooses it".into());
    }
    Ok(())
}

/// There is something in the tab of the adapter.
pub(super) fn has_adapter(app: &App) -> std::result::Result<(), String> {
    super::command::has_checkpoint(app)?;
    let is_adapter = app.ready().is_some_and(|ready| ready.adapter.is_some());
    if is_adapter || app.attached().is_some() { Ok(()) } else { Err("attach an adapter first (a)".into()) }
}
