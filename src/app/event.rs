//! Events and effects: what happens to the workbench, and what only the loop can do.

use super::compare::News;
use super::form::Planned;
use super::jobs::meter::Counts;
use super::values::{RegionRead, Seen};
use super::{Focus, Tab, picker};
use crate::adapter::base::Search;
use crate::adapter::held::Held;
use crate::checkpoint::Checkpoint;
use crate::diagnose::Diagnosis;
use crate::diagnose::message::Answer;
use crate::engine::Outcome;
use crate::engine::candidates::Candidate;
use crate::engine::cuda::probe::Probed;
use crate::engine::deltas::Delta;
use crate::error::Error;
use crate::gauges::Sample;
use crate::quant::Evidence;

/// Something that happened.
pub enum Event {
    /// A key, as `keys::text` names it.
    Key(String),
    /// Pasted text.
    Paste(String),
    /// A click on a tree row, by index.
    ClickRow(usize),
    /// A click on a place of the picker, by its place among those shown.
    ClickPlace(usize),
    /// A click on a tab.
    ClickTab(Tab),
    /// A click on a field of the form, by its row in the table.
    ClickField(usize),
    /// A click on a job, by its row.
    ClickJob(usize),
    /// A click on a GPU, by its row.
    ClickGpu(usize),
    /// A click on a cell of the map of values, by its line and column.
    ClickCell([usize; 2]),
    /// A click in a pane.
    ClickPane(Focus),
    /// A click on a finding, by its row.
    ClickFinding(usize),
    /// A click on a row of the board.
    ClickBoard(usize),
    /// The wheel over a pane, in lines.
    Wheel(Focus, isize),
    /// The border was dragged to this share of the width.
    Split(u16),
    /// A checkpoint has been opened.
    Opened(u32, Box<Result<Checkpoint, Error>>),
    /// A checkpoint has been examined.
    Examined(u32, Box<Checkpoint>),
    /// Evidence of a layer has been gathered.
    Explained(u32, u32, Vec<Evidence>),
    /// The machine has been sampled.
    Sampled(Box<Sample>),
    /// Places that can be opened were found.
    Places(Vec<picker::Place>),
    /// Facts of a place, by its path, have been read.
    PlaceFacts(String, picker::Facts),
    /// An adapter was held against the checkpoint of this id, or could not be: the number of the question.
    Attached(u32, u32, Box<Result<Held, Error>>),
    /// So many layers that an adapter changes were looked at: the number of the question.
    Weighing(u32, usize),
    /// How much an adapter changes each layer, or why that is not known: the number of the question.
    Weighed(u32, Box<Result<Vec<Delta>, Error>>),
    /// The rules have looked at the checkpoint of this id: the number of the question.
    Diagnosed(u32, u32, Box<Diagnosis>),
    /// The rules have looked at the error text: the number of the question.
    ErrorExplained(u32, Box<Answer>),
    /// The base of the adapter of this id was looked for.
    BaseFound(u32, Box<Search>),
    /// A further adapter was held against the base of the form, or could not be: the number of the question.
    Held(u32, Box<Result<Held, Error>>),
    /// A comparison has found something: its number.
    Compared(u32, Box<News>),
    /// A plan has been made, or could not be, for the question of this number.
    Planned(u32, Box<Result<Planned, Error>>),
    /// A format that could be written was looked at.
    Looked(Box<Candidate>),
    /// CUDA has said which GPUs can compute.
    Probed(Box<Probed>),
    /// Values were read, in whole or in part: the number of the question.
    ValuesSeen(u32, Box<Seen>),
    /// A region of the map was read, or why it could not be: the number of the question.
    RegionRead(u32, Box<Result<RegionRead, String>>),
    /// Counts of the job that runs were taken.
    JobTicked(u32, Counts),
    /// A job has ended.
    JobEnded(u32, Box<Result<Outcome, Error>>),
    /// The toast has stood long enough to be read.
    ToastRead,
    /// Work in the background ended badly.
    JobPanicked(&'static str, String),
}

/// Something that only the loop can do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a path.
    Open(u32, String),
    /// Read the side data of a checkpoint.
    Examine(u32),
    /// Gather the evidence of a layer.
    Explain(u32, u32),
    /// Look for adapters near the checkpoint that is shown.
    FindAdapters,
    /// Open the adapter of a checkpoint and hold it against it; the number of the question.
    Attach(u32, u32),
    /// Look at how much the attached adapter changes each layer; the number of the question.
    Weigh(u32, u32),
    /// Ask the rules about a checkpoint and what is attached to it; the number of the question.
    Diagnose(u32, u32),
    /// Ask the rules about the error text; the number of the question.
    ExplainError(u32),
    /// Look for the base of an adapter that was opened.
    FindBase(u32),
    /// Open an adapter and hold it against a checkpoint, for its form: the number of the question, the adapter.
    Hold(u32, u32, String),
    /// Compare two checkpoints: the number of the comparison.
    Compare(u32),
    /// Look closely at the pair of layers that a comparison asks for: the number of the comparison.
    LookAtPair(u32),
    /// Read what values that stand beside each other need: the number of the comparison.
    ReadBeside(u32),
    /// Make the plan that the form asks for; the number of the question.
    Plan(u32),
    /// Look at formats that could be written; the number of the question.
    Look(u32),
    /// Start a job.
    StartJob(u32),
    /// End a job; its end is sent as an event.
    CancelJob(u32),
    /// Ask CUDA for its GPUs.
    AskGpus,
    /// Make a picture of the screen, as SVG where the name ends so, else as text.
    Picture(String),
    /// Write a text to a new file: its name, and the text.
    Export(String, String),
    /// Read the values that the tab asks for; the number of the question.
    ScanValues(u32),
    /// Stop reading values.
    StopValues,
    /// Read what the map shows closer; the number of the question.
    ReadRegion(u32),
    /// Copy to the clipboard.
    Copy(String),
    /// Look for places that can be opened.
    FindPlaces,
    /// Draw every cell again.
    Repaint,
    /// Give the terminal back to the shell.
    Suspend,
    /// End.
    Quit,
}
