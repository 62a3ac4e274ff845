//! Roles: what a layer is, by its name and shape alone.

/// What a layer is that is no linear layer of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Tables of tokens or positions.
    Embedding,
    /// From hidden states to scores of words or classes.
    Head,
    /// Which experts a token goes to.
    Router,
    /// Experts in one tensor.
    Experts,
    /// Towers of images or sound, and what joins them to the decoder.
    Vision,
    /// Norms, biases, convolutions, buffers.
    Other,
}

impl Role {
    /// Returns it in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Embedding => "embeddings",
            Self::Head => "head",
            Self::Router => "routers",
            Self::Experts => "stacked experts",
            Self::Vision => "vision and sound",
            Self::Other => "norms and others",
        }
    }
}

/// Words in a path that belong to a tower of images or sound, or join it to the decoder.
const VISION: [&str; 14] = [
    "vision",
    "visual",
    "image",
    "vpm",
    "apm",
    "audio",
    "resampler",
    "projector",
    "vit",
    "siglip",
    "clip",
    "perceiver",
    "connector",
    "speech",
];
const HEADS: [&str; 8] =
    ["lm_head", "embed_out", "output", "output_layer", "score", "classifier", "qa_outputs", "head"];
const EMBEDDINGS: [&str; 5] = ["wte", "wpe", "shared", "tok_embeddings", "relative_attention_bias"];
const ROUTERS: [&str; 7] =
    ["gate", "router", "wg", "shared_expert_gate", "ffn_gate_inp", "ffn_gate_inp_shexp", "router_gate"];

/// What a path says of the layers below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the block.
    pub block: Option<u64>,
    /// True in a tower of images or sound, and in what joins it to the decoder.
    pub is_vision: bool,
    /// True in an attention to another sequence.
    pub is_cross: bool,
    /// True in an expert.
    pub is_expert: bool,
}

impl Place {
    /// Returns what a path says that is longer by one component.
    #[must_use]
    pub fn below(mut self, label: &str) -> Self {
        let lower = label.to_ascii_lowercase();
        // `layers.0`: the first number of a path is the block's; a second one is an expert's.
        if let (None, Ok(number)) = (self.block, label.parse()) {
            self.block = Some(number);
        }
        let is_part = |word: &str| {
            lower.split(['_', '-']).any(|piece| piece == word || piece.strip_suffix('s') == Some(word))
        };
        self.is_vision |= VISION.iter().any(|word| is_part(word)) || matches!(lower.as_str(), "v" | "mm");
        self.is_cross |= lower.contains("cross") || lower == "encoder_attn" || lower == "encdecattention";
        self.is_expert |= is_part("expert");
        self
    }
}

/// Returns what a layer is, `None` for a linear layer of the decoder.
#[must_use]
pub fn role(
    label: &str,
    place: Place,
    matrix: Option<[u64; 2]>,
    (dims, is_bare): (usize, bool),
) -> Option<Role> {
    let lower = label.to_ascii_lowercase();
    if place.is_vision {
        return Some(Role::Vision);
    }
    let is_expert = place.is_expert || lower.contains("expert") || lower.ends_with("_exps");
    if dims == 3 && is_expert {
        return Some(Role::Experts);
    }
    if matrix.is_none() {
        return Some(Role::Other);
    }
    if lower.contains("embd") || lower.contains("embed") || EMBEDDINGS.contains(&lower.as_str()) {
        // `embed_out` is a head.
        return Some(if lower == "embed_out" { Role::Head } else { Role::Embedding });
    }
    if ROUTERS.contains(&lower.as_str()) {
        return Some(Role::Router);
    }
    if place.block.is_none() {
        return Some(if HEADS.contains(&lower.as_str()) { Role::Head } else { Role::Other });
    }
    // A matrix under its own full name is no weight of a linear layer: `A_log`, a table of codes.
    is_bare.then_some(Role::Other)
}
