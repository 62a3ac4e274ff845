//! Which weights are packed, by what they are and by what the format's loaders do; and why the others are not.

use std::collections::BTreeSet;

use crate::checkpoint::Checkpoint;
use crate::footprint::role::{Place, Role, role};
use crate::plan::{OutTensor, conv1d};
use crate::quant::target::{LeftOut, Scope, Target};

/// Why a layer stays plain.
pub(super) enum Plain {
    /// It is nothing that would be packed: a norm, a bias, an embedding.
    Never,
    /// It is linear, and loaders of the format leave it plain.
    Default(String),
    /// It is linear, and loaders would expect it packed.
    Kept(String),
    /// Loaders of the format have no packed layer for it.
    Cannot(String),
}

impl From<LeftOut> for Plain {
    fn from(left: LeftOut) -> Self {
        if left.is_default { Self::Default(left.why.into()) } else { Self::Kept(left.why.into()) }
    }
}

/// Heads that loaders leave plain whatever else they have.
const WORD_HEADS: [&str; 4] = ["lm_head", "embed_out", "output", "output_layer"];

/// What decides whether a weight is packed, if nobody asks otherwise.
pub(super) struct Chooser<'a> {
    checkpoint: &'a Checkpoint,
    target: &'a dyn Target,
    /// The head that is tied to the embeddings.
    tied: Option<String>,
    /// Last layers of torch's `MultiheadAttention`, which reads their weights past them: no loader packs them.
    joint: BTreeSet<String>,
    /// True if what the input has plain was left so beside packed layers.
    is_chosen: bool,
    is_conv1d: bool,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, target: &'a dyn Target, tensors: &[OutTensor]) -> Self {
        let joint = tensors.iter().filter_map(|tensor| tensor.name.strip_suffix("in_proj_weight"));
        Self {
            checkpoint,
            target,
            tied: tied_head(checkpoint),
            joint: joint.map(|path| format!("{path}out_proj")).collect(),
            is_chosen: is_chosen(checkpoint),
            is_conv1d: conv1d::is_model(checkpoint),
        }
    }

    pub(super) fn standing(
        &self,
        tensor: &OutTensor,
        name: &str,
        layer: u32,
    ) -> std::result::Result<(), Plain> {
        let spec = self.checkpoint.layers.spec(layer);
        if self.is_conv1d && conv1d::is_passed_over(name, self.target.format()) {
            return Err(Plain::Cannot("a Conv1D, which loaders of the format do not pack".into()));
        }
        standing(tensor, self.target.scope(), (self.tied.as_deref() == Some(name), spec.bias))?;
        if let Some(left) = self.target.left_out(name, self.checkpoint.files.configs.get("config.json")) {
            return Err(left.into());
        }
        if self.is_chosen && !spec.is_quantized() {
            return Err(Plain::Kept("plain in the input, beside packed layers".into()));
        }
        if self.joint.contains(name) {
            return Err(Plain::Default("of torch's MultiheadAttention".into()));
        }
        Ok(())
    }
}

/// Returns true if whoever packed the input has chosen which layers to leave plain: a tower, layers that suffer. What was
/// left then stays so. A GGUF has types for every tensor, and says nothing by them.
fn is_chosen(checkpoint: &Checkpoint) -> bool {
    let is_gguf = checkpoint.files.container.name() == "gguf";
    !is_gguf && checkpoint.layers.specs().iter().any(crate::quant::LayerSpec::is_quantized)
}

/// Says whether a weight is packed by what it is.
fn standing(
    tensor: &OutTensor,
    scope: Scope,
    (is_tied, has_bias): (bool, bool),
) -> std::result::Result<(), Plain> {
    let (name, is_bare) = match tensor.name.strip_suffix(".weight") {
        Some(name) => (name, false),
        None => (tensor.name.as_str(), true),
    };
    let (path, label) = name.rsplit_once('.').unwrap_or(("", name));
    // A list of layers is called by its name, its members by their numbers: `xpath_embeddings.3`.
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut words = name.rsplit('.').filter(|part| !is_number(part));
    let (label, above) = (words.next().unwrap_or(label), words.next().unwrap_or(""));
    let place = path.split('.').fold(Place::default(), Place::below);
    let in_tower = place.is_vision;
    let place = Place { is_vision: false, ..place };
    let matrix = <[u64; 2]>::try_from(tensor.shape.as_slice()).ok();
    let what = role(label, place, matrix, (tensor.shape.len(), is_bare));
    if is_tied {
        return Err(Plain::Default("tied to the embeddings".into()));
    }
    // Layers that such modules keep inside: a table of positions, the layer of a router.
    let what = match above {
        "router" => Some(Role::Router),
        "embed_positions" | "position_embeddings" => Some(Role::Embedding),
        _ => what,
    };
    match (scope, what) {
        (Scope::Matrices, _) if matrix.is_some() => Ok(()),
        // Of other heads loaders know only the last weight of the model, and not if a bias follows it.
        (_, Some(Role::Head)) if has_bias && !WORD_HEADS.contains(&label) => Err(Plain::Kept("head".into())),
        (_, Some(Role::Head)) => Err(Plain::Default("head".into())),
        (_, Some(Role::Router)) => Err(Plain::Kept("router".into())),
        (Scope::Experts, Some(Role::Experts)) => Ok(()),
        (_, Some(Role::Experts)) => {
            Err(Plain::Default("experts in one tensor: the format packs linear layers".into()))
        }
        (Scope::Experts, None) => Err(Plain::Default("the format packs experts".into())),
        // A table has no biases: a layer that makes embeddings of values.
        (Scope::Linears, Some(Role::Embedding)) if has_bias && matrix.is_some() => Ok(()),
        (_, Some(Role::Embedding)) | (Scope::Matrices | Scope::Experts, _) => Err(Plain::Never),
        (Scope::Decoder, _) if in_tower => Err(Plain::Default("vision or sound".into())),
        (Scope::Linears | Scope::Decoder, None) => Ok(()),
        // Linear layers outside of blocks: what joins a tower to the decoder.
        (Scope::Linears, Some(Role::Other)) if matrix.is_some() && !is_bare => Ok(()),
        (Scope::Decoder, Some(Role::Other)) if matrix.is_some() && !is_bare => {
            Err(Plain::Default("outside the blocks of the decoder".into()))
        }
        (Scope::Linears | Scope::Decoder, Some(Role::Other | Role::Vision)) => Err(Plain::Never),
    }
}

/// Returns the name of a stored head that is tied to the embeddings.
fn tied_head(checkpoint: &Checkpoint) -> Option<String> {
    let layers = &checkpoint.layers;
    let tied = (0u32..).zip(layers.list()).find(|(_, layer)| layer.tied)?.0;
    Some(layers.name(&checkpoint.files.names, tied))
}
