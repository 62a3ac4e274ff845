//! Tasks: the parts put together, for each thing that can be done with a checkpoint.

use super::activations::Pass;
use super::numbers::{TOO_LARGE, product};
use super::role::Role;
use super::training::{Optimizer, Trainable};
use super::weights::{self, Packed};
use super::{Anatomy, CONTEXT_MAX, Footprint, Known, Part, PartKind, Settings, Task, TaskKind, Verdict};
use crate::name::escape;
use crate::units;

/// Memory of a CUDA context with its libraries: 0.3 to 0.6 GiB on current drivers.
const CONTEXT_BYTES: u64 = 460 << 20;
/// How far the workspace may be off.
const WORKSPACE_PERCENT: u8 = 35;
/// Bytes a token and word: F32 scores, their 16-bit twin, the gradient. Planned with 10 to 12.
const LOGITS_BYTES: u64 = 11;
/// How far that may be off.
const LOGITS_PERCENT: u8 = 20;
/// What is said where neither the config nor the embeddings tell.
const NO_VOCABULARY: &str = "the size of the vocabulary is not given";
/// Widths of a hidden state that a block holds at once while it reads a prompt, in 16 bit.
const PREFILL_WIDTHS: u64 = 8;

/// Returns what the tasks need.
pub(super) fn footprint(anatomy: &Anatomy, settings: &Settings, adapter: Option<&Trainable>) -> Footprint {
    if anatomy.is_adapter {
        return alone(anatomy);
    }
    let maker = Maker { anatomy, settings, adapter };
    let mut tasks = vec![maker.inference()];
    if !anatomy.is_16bit {
        tasks.push(maker.inference_16());
    }
    tasks.extend([maker.qlora(), maker.lora(), maker.full(TaskKind::Full), maker.full(TaskKind::Full16)]);
    Footprint { tasks, unknown: maker.unknown() }
}

/// Returns the longest context, at most `CONTEXT_MAX`, with which loading and generating fits into `free` bytes; `None`
/// if none does, or a part of the need is not known.
#[must_use]
pub fn context_that_fits(anatomy: &Anatomy, settings: &Settings, free: u64) -> Option<u64> {
    let fits = |context: u64| {
        let settings = Settings { context, ..settings.clone() };
        Maker { anatomy, settings: &settings, adapter: None }.inference().verdict(free) == Verdict::Fits
    };
    let (mut low, mut high) = (1, CONTEXT_MAX);
    if !fits(low) {
        return None;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}

/// An adapter by itself: what it takes is known, its base is not here.
fn alone(anatomy: &Anatomy) -> Footprint {
    let bytes = weights::stored(anatomy);
    let words = "the adapter's own tensors, as stored".to_owned();
    let task = Task {
        kind: TaskKind::Inference,
        name: "load this adapter".into(),
        parts: vec![Part { kind: PartKind::Adapter, bytes, known: Known::Exact, words }],
        left_out: vec![
            "its base, which takes nearly all of the memory: open the base with this adapter".into(),
        ],
    };
    Footprint { tasks: vec![task], unknown: vec!["what the base takes, and so whether anything fits".into()] }
}

/// Puts the parts of tasks together.
struct Maker<'a> {
    anatomy: &'a Anatomy,
    settings: &'a Settings,
    adapter: Option<&'a Trainable>,
}

impl Maker<'_> {
    fn inference(&self) -> Task {
        let bytes = weights::stored(self.anatomy);
        let tied = self.anatomy.tied_bytes;
        let dropped = if tied > 0 {
            format!("; a tied head of {} is dropped", units::bytes(tied))
        } else {
            String::new()
        };
        let words = format!("as stored, from the headers{dropped}");
        let mut task = Task::new(TaskKind::Inference, "load and generate".into());
        task.push(PartKind::Weights, bytes, Known::Exact, words);
        self.generate(&mut task, self.anatomy.is_quantized);
        task
    }

    fn inference_16(&self) -> Task {
        let mut task = Task::new(TaskKind::Inference16, "  as 16-bit".into());
        self.plain(&mut task, 2, "16 bit");
        self.generate(&mut task, false);
        task
    }

    /// Adds what generating takes beside the weights.
    fn generate(&self, task: &mut Task, dequantizes: bool) {
        let settings = self.settings;
        match &self.anatomy.architecture.cache {
            Err(why) => task.leave_out("KV cache", why),
            Ok(cache) => {
                let words = format!(
                    "{} tokens × batch {}, {}",
                    units::exact(settings.context),
                    settings.batch,
                    settings.cache.name()
                );
                match cache.bytes(settings.context, settings.batch, settings.cache) {
                    Some(bytes) => task.push(PartKind::KvCache, bytes, Known::Exact, words),
                    None => task.leave_out("KV cache", TOO_LARGE),
                }
                task.left_out.extend(cache.left_out.iter().map(|why| format!("KV cache: {why}")));
            }
        }
        match self.vocabulary() {
            Some(words) => {
                let bytes = product(&[settings.batch, words, 6]);
                let words = "of the last token, F32 and 16 bit".to_owned();
                task.push_or_leave(PartKind::Logits, bytes, Known::Exact, words);
            }
            None => task.leave_out("logits", NO_VOCABULARY),
        }
        let shape = self.anatomy.architecture.shape.as_ref().ok();
        let prefill = shape.and_then(|shape| {
            let widths =
                shape.hidden.checked_mul(PREFILL_WIDTHS)?.checked_add(shape.inner.checked_mul(3)?)?;
            product(&[settings.context, settings.batch, widths, 2])
        });
        let words = match prefill {
            Some(bytes) => format!("a prompt of that length read at once {}", units::bytes(bytes)),
            None => "reading the prompt is not counted".into(),
        };
        self.workspace(task, dequantizes, prefill.unwrap_or(0), Some(words));
    }

    fn qlora(&self) -> Task {
        let settings = self.settings;
        let is_packed = self.anatomy.linears.iter().any(|group| group.is_bnb4);
        let packed = if is_packed {
            weights::packed_already(self.anatomy, settings.kbit_prep)
        } else {
            weights::nf4(self.anatomy, settings.double_quant, if settings.kbit_prep { 4 } else { 2 })
        };
        let name = if is_packed { "qlora on this base" } else { "qlora on bnb-nf4" };
        let mut task = Task::new(TaskKind::Qlora, name.into());
        self.shapeless(&mut task);
        if packed.layers > 0 {
            let words = packed_words(&packed, is_packed, settings.kbit_prep);
            task.push(PartKind::Weights, packed.total(), Known::Exact, words);
        } else {
            task.leave_out("weights", "no linear layer of a decoder was found, so nothing is packed");
        }
        self.adapter(&mut task, settings.kbit_prep);
        self.workspace(&mut task, true, 0, None);
        task
    }

    fn lora(&self) -> Task {
        let mut task = Task::new(TaskKind::Lora, "lora on 16-bit".into());
        self.plain(&mut task, 2, "16 bit");
        self.adapter(&mut task, false);
        self.workspace(&mut task, false, 0, None);
        task
    }

    fn full(&self, kind: TaskKind) -> Task {
        let optimizer = self.settings.optimizer.name();
        let (name, width) = match kind {
            TaskKind::Full16 => (format!("full in 16-bit, {optimizer}"), 2),
            _ => (format!("full training, {optimizer}"), 4),
        };
        let mut task = Task::new(kind, name);
        let words = if width == 4 { "F32, computed in 16 bit" } else { "16 bit" };
        self.plain(&mut task, width, words);
        let trained = Trainable::all(self.anatomy);
        self.states(&mut task, &trained, width);
        self.activations(&mut task, &trained, false);
        self.workspace(&mut task, false, 0, None);
        task
    }

    /// Adds weights as plain values.
    fn plain(&self, task: &mut Task, width: u64, words: &str) {
        self.shapeless(task);
        let values = units::count(self.anatomy.values());
        let decoded = if self.anatomy.is_quantized { ", decoded" } else { "" };
        let bytes = weights::plain(self.anatomy, width);
        task.push(PartKind::Weights, bytes, Known::Exact, format!("{values} values in {words}{decoded}"));
    }

    /// Adds what training an adapter takes beside the weights.
    fn adapter(&self, task: &mut Task, is_kbit: bool) {
        let own = Trainable::lora(self.anatomy, self.settings.rank, &self.settings.targets);
        let trained = match (self.adapter, own) {
            (Some(adapter), _) => adapter.clone(),
            (None, Ok(trained)) => trained,
            (None, Err(why)) => {
                for part in ["adapter", "gradients", "optimizer", "activations", "logits"] {
                    task.leave_out(part, &why);
                }
                return;
            }
        };
        let words = format!("{} values F32, {}", units::count(trained.values), trained.words);
        task.push(PartKind::Adapter, trained.values.saturating_mul(4), Known::Exact, words);
        self.states(task, &trained, 4);
        self.activations(task, &trained, is_kbit);
    }

    fn states(&self, task: &mut Task, trained: &Trainable, width: u64) {
        let name = if width == 4 { "F32" } else { "16 bit" };
        task.push(PartKind::Gradients, trained.values.saturating_mul(width), Known::Exact, name.into());
        let optimizer = self.settings.optimizer;
        let is_8bit = matches!(optimizer, Optimizer::AdamW8 | Optimizer::PagedAdamW8 | Optimizer::Lion8);
        // Tensors below 4096 values keep 32-bit states.
        let known = if is_8bit { Known::Formula(5) } else { Known::Exact };
        let words = format!("{}: {}", optimizer.name(), optimizer.words());
        task.push(PartKind::Optimizer, optimizer.bytes(trained, width), known, words);
    }

    fn activations(&self, task: &mut Task, trained: &Trainable, is_kbit: bool) {
        let settings = self.settings;
        match &self.anatomy.architecture.shape {
            Err(why) => task.leave_out("activations", why),
            Ok(shape) => {
                let pass = Pass { trained: trained.trained, rank: trained.rank, is_kbit };
                let on = if settings.checkpointing { "on" } else { "off" };
                let mut words = format!(
                    "{} tokens × batch {}, checkpointing {on}",
                    units::exact(settings.context),
                    settings.batch
                );
                if !shape.why.is_empty() {
                    words = format!("{words}; {}", shape.why);
                }
                task.push_or_leave(PartKind::Activations, shape.bytes(pass, settings), shape.known, words);
            }
        }
        let Some(words) = self.vocabulary() else {
            return task.leave_out("logits", NO_VOCABULARY);
        };
        let bytes = product(&[settings.context, settings.batch, words, LOGITS_BYTES]);
        let text = format!("{LOGITS_BYTES} bytes × tokens × {} words", units::exact(words));
        task.push_or_leave(PartKind::Logits, bytes, Known::Guess(LOGITS_PERCENT), text);
    }

    fn workspace(&self, task: &mut Task, dequantizes: bool, more: u64, words: Option<String>) {
        let temporary = if dequantizes { self.anatomy.largest.saturating_mul(2) } else { 0 };
        let mut parts = vec!["CUDA context".to_owned()];
        if dequantizes && temporary > 0 {
            parts.push(format!("a layer dequantized {}", units::bytes(temporary)));
        }
        parts.extend(words);
        let bytes = CONTEXT_BYTES.saturating_add(temporary).saturating_add(more);
        task.push(PartKind::Workspace, bytes, Known::Guess(WORKSPACE_PERCENT), parts.join(", "));
    }

    /// Words that are scored: the config's, else the rows of the embeddings.
    fn vocabulary(&self) -> Option<u64> {
        self.anatomy.architecture.vocabulary.or(self.anatomy.vocabulary)
    }

    fn shapeless(&self, task: &mut Task) {
        let count = self.anatomy.shapeless;
        if count > 0 {
            let layers = units::plural(usize::try_from(count).unwrap_or(usize::MAX), "layer");
            task.leave_out("weights", &format!("{layers} whose shape or format the files do not tell"));
        }
    }

    /// What cannot be known from the files, and what was decided in its place.
    fn unknown(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let has = |role| self.anatomy.others.contains_key(&role);
        if has(Role::Experts) {
            lines.push("stacked experts count with 16 bit and without an adapter: bitsandbytes and PEFT take linear layers".into());
        } else if has(Role::Router) && self.anatomy.linears.iter().any(|group| group.count > 1) {
            lines.push("experts count as linear layers; transformers 5 stacks them, and bitsandbytes leaves stacks at 16 bit".into());
        }
        if has(Role::Vision) {
            lines.push("images and sound: their tokens, activations and towers in training".into());
        }
        if let Some(name) = &self.anatomy.architecture.name
            && let Err(why) = &self.anatomy.architecture.cache
        {
            lines.push(format!("the cache of {}: {why}", escape(name)));
        }
        lines.push("your sequence packing, flash attention, fused losses (they keep few of the logits), other processes that start later".into());
        lines
    }
}

impl Task {
    fn new(kind: TaskKind, name: String) -> Self {
        Self { kind, name, parts: Vec::new(), left_out: Vec::new() }
    }

    fn push(&mut self, kind: PartKind, bytes: u64, known: Known, words: String) {
        self.parts.push(Part { kind, bytes, known, words });
    }

    fn push_or_leave(&mut self, kind: PartKind, bytes: Option<u64>, known: Known, words: String) {
        match bytes {
            Some(bytes) => self.push(kind, bytes, known, words),
            None => self.leave_out(kind.words(), TOO_LARGE),
        }
    }

    fn leave_out(&mut self, part: &str, why: &str) {
        self.left_out.push(format!("{part}: {why}"));
    }
}

fn packed_words(packed: &Packed, is_packed: bool, is_kbit: bool) -> String {
    let layers = match packed.layers {
        1 => "1 layer".to_owned(),
        layers => format!("{} layers", units::exact(layers)),
    };
    let how = if is_packed { "as stored" } else { "nf4" };
    let others = match (is_kbit, is_packed) {
        (true, _) => "all else F32",
        (false, true) => "all else as stored",
        (false, false) => "all else 16 bit",
    };
    format!(
        "{layers} {how} ({:.2} bit) {} + {others} {}",
        packed.bits(),
        units::bytes(packed.bytes),
        units::bytes(packed.others)
    )
}
