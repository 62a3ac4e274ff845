//! Anatomy: what of a checkpoint counts for memory: its linear layers by shape, all else by role, its attention.
//!
//! Roles are read off names and shapes. Linear layers of the decoder are matrices inside a numbered block; embeddings,
//! heads, norms, routers and vision towers are not among them: trainers leave those at 16 bit.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::architecture::Architecture;
use super::role::{Place, Role, role};
use crate::checkpoint::files::Files;
use crate::checkpoint::names::{NONE, NodeId};
use crate::checkpoint::{Checkpoint, CheckpointKind};

/// Linear layers of one label and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linears {
    /// Last component of their names: `q_proj`.
    pub label: String,
    /// Outputs and inputs, `[out, in]`.
    pub shape: [u64; 2],
    /// The word of their format: `GPTQ4`, `BF16`.
    pub format: String,
    /// How many there are.
    pub count: u64,
    /// Values of their biases.
    pub biases: u64,
    /// Bytes as they are stored.
    pub bytes: u64,
    /// True if they are quantized in any format.
    pub is_quantized: bool,
    /// True if they are 4-bit layers of bitsandbytes.
    pub is_bnb4: bool,
}

/// Layers of one role, summed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// How many there are.
    pub layers: u64,
    /// Their values that a loader casts: floats, and what is quantized.
    pub values: u64,
    /// Bytes of those values as they are stored.
    pub value_bytes: u64,
    /// Bytes of integers and truth values: no loader changes them.
    pub fixed_bytes: u64,
    /// Rows and columns of those that are matrices: what adafactor keeps.
    pub factored: u64,
}

/// What of a checkpoint counts for memory.
#[derive(Clone, Debug)]
pub struct Anatomy {
    /// Bytes of all tensors.
    pub stored_bytes: u64,
    /// Bytes of them that a loader drops: a stored head that is tied to the embeddings.
    pub tied_bytes: u64,
    /// Linear layers of the decoder, alike ones together.
    pub linears: Vec<Linears>,
    /// All other layers by role.
    pub others: BTreeMap<Role, Others>,
    /// Layers whose shape the files do not tell: their bytes count as stored, and as nothing else.
    pub shapeless: u64,
    /// True if this is an adapter: its base is not here.
    pub is_adapter: bool,
    /// True if a layer is quantized.
    pub is_quantized: bool,
    /// True if all floating values have 16 bits: as 16-bit is as stored.
    pub is_16bit: bool,
    /// The largest layer in values: what is dequantized at once.
    pub largest: u64,
    /// Vocabulary by the rows of the embeddings.
    pub vocabulary: Option<u64>,
    /// What the config or the metadata say.
    pub architecture: Architecture,
}

/// Keys and values that a block's tensors make of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Widths {
    /// Rows of the projection of keys.
    pub(super) keys: Option<u64>,
    /// Rows of the projection of values.
    pub(super) values: Option<u64>,
    /// Rows of the projection to the latent (MLA).
    pub(super) latent: Option<u64>,
    /// How many projections to a latent the block has.
    pub(super) latents: u64,
}

/// What the tensors say of the attention, by block.
pub(super) type Blocks = BTreeMap<u64, Widths>;

const GATES: [&str; 6] = ["gate_proj", "gate_up_proj", "ffn_gate", "ffn_gate_exps", "w3", "gate_up"];
const KEYS: [&str; 3] = ["k_proj", "attn_k", "wk"];
const VALUES: [&str; 3] = ["v_proj", "attn_v", "wv"];
const LATENTS: [&str; 2] = ["kv_a_proj_with_mqa", "attn_kv_a_mqa"];

impl Anatomy {
    /// Returns what of a checkpoint counts for memory: one walk over its layers.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let mut walk = Walk::new(checkpoint);
        for layer in 0..checkpoint.layers.len() as u32 {
            walk.take(layer);
        }
        let (mut anatomy, blocks, has_gate) = (walk.anatomy, walk.blocks, walk.has_gate);
        anatomy.linears = walk.linears.into_values().collect();
        anatomy.architecture = Architecture::of(checkpoint, &blocks, has_gate);
        anatomy
    }

    /// Returns the values of the linear layers and all else that a loader casts.
    #[must_use]
    pub fn values(&self) -> u64 {
        let linears = self.linears.iter().map(Linears::values);
        linears.chain(self.others.values().map(|other| other.values)).fold(0, u64::saturating_add)
    }

    /// Returns how many linear layers of the decoder there are.
    #[must_use]
    pub fn linear_count(&self) -> u64 {
        self.linears.iter().fold(0, |sum, group| group.count.saturating_add(sum))
    }
}

impl Linears {
    /// Returns the values of one of them, without its bias.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape[0].saturating_mul(self.shape[1])
    }

    /// Returns the values of all of them, with their biases.
    #[must_use]
    pub fn values(&self) -> u64 {
        self.elements().saturating_mul(self.count).saturating_add(self.biases)
    }
}

/// The walk over the layers.
struct Walk<'a> {
    checkpoint: &'a Checkpoint,
    places: FxHashMap<NodeId, Place>,
    linears: BTreeMap<(String, [u64; 2], u32), Linears>,
    blocks: Blocks,
    anatomy: Anatomy,
    /// True if the decoder has gated MLPs, by the names of its layers.
    has_gate: bool,
}

impl<'a> Walk<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Self {
        let anatomy = Anatomy {
            stored_bytes: checkpoint.files.total_bytes(),
            tied_bytes: 0,
            linears: Vec::new(),
            others: BTreeMap::new(),
            shapeless: 0,
            is_adapter: checkpoint.kind == CheckpointKind::Adapter,
            is_quantized: false,
            is_16bit: true,
            largest: 0,
            vocabulary: None,
            architecture: Architecture::default(),
        };
        Self {
            checkpoint,
            places: FxHashMap::default(),
            linears: BTreeMap::new(),
            blocks: Blocks::new(),
            anatomy,
            has_gate: false,
        }
    }

    fn files(&self) -> &'a Files {
        &self.checkpoint.files
    }

    fn take(&mut self, layer: u32) {
        let (layers, files) = (&self.checkpoint.layers, self.files());
        let (at, spec, bytes) =
            (layers.list()[layer as usize], layers.spec(layer), layers.bytes(files, layer));
        if at.tied {
            self.anatomy.tied_bytes = self.anatomy.tied_bytes.saturating_add(bytes);
            return;
        }
        let dtype = spec.dtype.filter(|_| !spec.is_quantized());
        self.anatomy.is_quantized |= spec.is_quantized();
        if !spec.shape_known || !spec.broken.is_empty() || spec.format.get().name() == "unknown" {
            self.anatomy.shapeless += 1;
            self.anatomy.is_16bit = false;
            return;
        }
        self.anatomy.is_16bit &=
            !spec.is_quantized() && dtype.is_none_or(|d| !d.is_float() || d.bits() == Some(16.0));
        let label = layers.label(&files.names, layer);
        let place = self.place(files.names.parent(at.node));
        let tensor = layers.tensors(layer).first().copied();
        let is_bare = tensor.is_none_or(|tensor| files.tensors[tensor as usize].node == at.node);
        let matrix = <[u64; 2]>::try_from(spec.shape.as_slice()).ok();
        let role = role(label, place, matrix, (spec.shape.len(), is_bare));
        if let (Some(Role::Embedding), Some([rows, _])) = (role, matrix)
            && !label.contains("pos")
            && !label.contains("type")
            && label != "wpe"
        {
            self.anatomy.vocabulary = self.anatomy.vocabulary.max(Some(rows));
        }
        self.has_gate |= GATES.contains(&label) && !place.is_vision;
        let is_fixed = dtype.is_some_and(|dtype| !dtype.is_float());
        if !is_fixed {
            let one =
                if spec.shape.len() == 3 { spec.parameters / spec.shape[0].max(1) } else { spec.parameters };
            if matches!(role, None | Some(Role::Experts)) {
                self.anatomy.largest = self.anatomy.largest.max(one);
            }
        }
        if let (None, Some(shape)) = (role, matrix) {
            self.widths(label, place, shape);
            let key = (label.to_owned(), shape, at.spec);
            let format = spec.format.get().name();
            let group = self.linears.entry(key).or_insert_with(|| Linears {
                label: label.to_owned(),
                shape,
                format: spec.label(),
                count: 0,
                biases: 0,
                bytes: 0,
                is_quantized: spec.is_quantized(),
                is_bnb4: matches!(format, "bnb-nf4" | "bnb-fp4"),
            });
            group.count += 1;
            group.biases = group.biases.saturating_add(spec.parameters.saturating_sub(group.elements()));
            group.bytes = group.bytes.saturating_add(bytes);
            return;
        }
        let other = self.anatomy.others.entry(role.unwrap_or(Role::Other)).or_default();
        other.layers += 1;
        if is_fixed {
            other.fixed_bytes = other.fixed_bytes.saturating_add(bytes);
            return;
        }
        other.values = other.values.saturating_add(spec.parameters);
        other.value_bytes = other.value_bytes.saturating_add(bytes);
        let [rows, columns] = matrix.unwrap_or([spec.parameters, 0]);
        other.factored = other.factored.saturating_add(rows).saturating_add(columns);
    }

    /// Keeps the rows of projections of keys and values of a decoder block.
    fn widths(&mut self, label: &str, place: Place, [rows, _]: [u64; 2]) {
        let Some(block) = place.block.filter(|_| !place.is_cross && !place.is_expert) else { return };
        if LATENTS.contains(&label) {
            let widths = self.blocks.entry(block).or_default();
            (widths.latent, widths.latents) = (Some(rows), widths.latents + 1);
        } else if KEYS.contains(&label) {
            self.blocks.entry(block).or_default().keys = Some(rows);
        } else if VALUES.contains(&label) {
            self.blocks.entry(block).or_default().values = Some(rows);
        }
    }

    /// Returns what a node and those above it say. No recursion: names may have any depth.
    fn place(&mut self, node: NodeId) -> Place {
        let names = &self.files().names;
        let (mut at, mut path) = (node, Vec::new());
        while at != NONE && !self.places.contains_key(&at) {
            path.push(at);
            at = names.parent(at);
        }
        let mut place = self.places.get(&at).copied().unwrap_or_default();
        for node in path.into_iter().rev() {
            place = place.below(names.label(node));
            self.places.insert(node, place);
        }
        place
    }
}
