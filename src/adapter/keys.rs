//! Keys: what the name of an adapter's tensor says: which module, which part of it, in whose spelling.
//!
//! A key is `MODULE.MARK[.NAME][.weight]`: the module's path, the mark that tells the part, and sometimes the
//! adapter's name that a save left in. `MARKS` holds every mark that we know, one row a spelling; a row says
//! what PEFT calls the part and how its own file would end. What has no mark is a saved tensor: a bias, an
//! embedding, a module that was trained whole, or a copy of a base weight.
//!
//! Sources: PEFT 0.21 `utils/save_and_load.py` and its tuners; kohya `networks/lora.py`; LyCORIS `modules/`;
//! diffusers `loaders/lora_conversion_utils.py`; llama.cpp `convert_lora_to_gguf.py`; mlx-lm `tuner/lora.py`;
//! torchtune `modules/peft`; NeMo `collections/llm/peft`.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use self::Family::{ComfyOrKohya, Diffusers, Gguf, Lycoris, Mlx, Nemo, Peft, Torchtune};
use self::Form::{Any, Bare, Bias, Dotted, Joined, Weight};

/// Whose spelling a key is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// PEFT, and all who write its files (ms-swift, unsloth, axolotl, LLaMA-Factory).
    Peft,
    /// kohya sd-scripts and `ComfyUI`: `lora_down`, `lora_up`, `alpha`.
    ComfyOrKohya,
    /// LyCORIS: `dora_scale`, `diff`, `oft_blocks`.
    Lycoris,
    /// Old diffusers: `to_q_lora.down`.
    Diffusers,
    /// llama.cpp.
    Gguf,
    /// mlx-lm: halves are transposed, the scale is in the config.
    Mlx,
    /// torchtune: Meta's names.
    Torchtune,
    /// NeMo and Megatron: fused projections.
    Nemo,
}

impl Family {
    /// Returns the name to show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Peft => "PEFT",
            ComfyOrKohya => "kohya",
            Lycoris => "LyCORIS",
            Diffusers => "diffusers (old)",
            Gguf => "llama.cpp",
            Mlx => "mlx-lm",
            Torchtune => "torchtune",
            Nemo => "NeMo",
        }
    }
}

/// What may follow a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing, `.weight`, `.NAME` or `.NAME.weight`.
    Dotted,
    /// `.bias` or `.NAME.bias`.
    Bias,
    /// Nothing.
    Bare,
    /// `.weight`.
    Weight,
    /// Nothing; and the mark continues the module's last component (`to_q_lora.down.weight`).
    Joined,
    /// Anything: tensors that all modules share.
    Any,
}

/// One spelling of one part.
#[derive(Debug)]
pub struct Mark {
    /// The text in the key.
    text: &'static str,
    form: Form,
    /// The family that spells it so.
    pub family: Family,
    /// The PEFT type that it shows: `LORA`.
    pub kind: &'static str,
    /// What PEFT calls the part: `lora_A`.
    pub part: &'static str,
    /// What a file of PEFT has after the module's path.
    pub tail: &'static str,
    /// What it does to the values.
    pub role: Role,
}

/// What a part is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A factor of the delta: if it is all zero, the module changes nothing.
    Factor,
    /// A factor that is stored transposed to how PEFT has it.
    Transposed,
    /// Anything else.
    Other,
}

const fn mark(
    text: &'static str,
    form: Form,
    (family, kind): (Family, &'static str),
    (part, tail): (&'static str, &'static str),
    role: Role,
) -> Mark {
    Mark { text, form, family, kind, part, tail, role }
}

/// A part as PEFT 0.21 spells it, without `.weight`.
const fn plain(text: &'static str, kind: &'static str) -> Mark {
    mark(text, Dotted, (Peft, kind), (text, text), Role::Other)
}

/// A factor of the delta as PEFT 0.21 spells it, without `.weight`.
const fn factor(text: &'static str, kind: &'static str) -> Mark {
    mark(text, Dotted, (Peft, kind), (text, text), Role::Factor)
}

/// A part that PEFT stores with `.weight`.
const fn weight(text: &'static str, kind: &'static str, tail: &'static str, role: Role) -> Mark {
    mark(text, Dotted, (Peft, kind), (text, tail), role)
}

const A: (&str, &str) = ("lora_A", "lora_A.weight");
const B: (&str, &str) = ("lora_B", "lora_B.weight");
const MAGNITUDE: (&str, &str) = ("lora_magnitude_vector", "lora_magnitude_vector");

/// Every spelling that is known. Where two texts begin alike, the longer one counts.
pub static MARKS: &[Mark] = &[
    weight("lora_A", "LORA", "lora_A.weight", Role::Factor),
    weight("lora_B", "LORA", "lora_B.weight", Role::Factor),
    mark("lora_B", Bias, (Peft, "LORA"), ("lora_B.bias", "lora_B.bias"), Role::Other),
    factor("lora_embedding_A", "LORA"),
    factor("lora_embedding_B", "LORA"),
    plain("lora_magnitude_vector", "LORA"),
    factor("lora_E", "ADALORA"),
    plain("ranknum", "ADALORA"),
    factor("hada_w1_a", "LOHA"),
    factor("hada_w1_b", "LOHA"),
    factor("hada_w2_a", "LOHA"),
    factor("hada_w2_b", "LOHA"),
    factor("hada_t1", "LOHA"),
    factor("hada_t2", "LOHA"),
    factor("lokr_w1", "LOKR"),
    factor("lokr_w1_a", "LOKR"),
    factor("lokr_w1_b", "LOKR"),
    factor("lokr_w2", "LOKR"),
    factor("lokr_w2_a", "LOKR"),
    factor("lokr_w2_b", "LOKR"),
    factor("lokr_t2", "LOKR"),
    plain("ia3_l", "IA3"),
    weight("oft_R", "OFT", "oft_R.weight", Role::Factor),
    factor("oft_r", "OFT"),
    plain("oft_s", "OFT"),
    factor("boft_R", "BOFT"),
    plain("boft_s", "BOFT"),
    factor("vera_lambda_b", "VERA"),
    factor("vera_lambda_d", "VERA"),
    plain("vera_A", "VERA"),
    plain("vera_B", "VERA"),
    factor("fourierft_spectrum", "FOURIERFT"),
    plain("hra_u", "HRA"),
    plain("vblora_logits_A", "VBLORA"),
    plain("vblora_logits_B", "VBLORA"),
    plain("vblora_logits_A_topk_indices", "VBLORA"),
    plain("vblora_logits_A_topk_weights", "VBLORA"),
    plain("vblora_logits_B_topk_indices", "VBLORA"),
    plain("vblora_logits_B_topk_weights", "VBLORA"),
    plain("vblora_vector_bank", "VBLORA"),
    factor("randlora_lambda", "RANDLORA"),
    factor("randlora_gamma", "RANDLORA"),
    plain("randlora_A", "RANDLORA"),
    plain("randlora_B", "RANDLORA"),
    factor("shira_weight", "SHIRA"),
    plain("shira_indices", "SHIRA"),
    factor("c3a_kernel", "C3A"),
    factor("miss_block", "MISS"),
    factor("bone_block", "MISS"),
    plain("road_alpha", "ROAD"),
    plain("road_theta", "ROAD"),
    factor("waveft_spectrum", "WAVEFT"),
    weight("ln_tuning_layers", "LN_TUNING", "ln_tuning_layers.weight", Role::Other),
    mark("ln_tuning_layers", Bias, (Peft, "LN_TUNING"), LN_BIAS, Role::Other),
    plain("delora_A", "DELORA"),
    factor("delora_B", "DELORA"),
    plain("delora_lambda", "DELORA"),
    plain("delora_w_norm", "DELORA"),
    plain("gralora_A", "GRALORA"),
    factor("gralora_B", "GRALORA"),
    plain("gralora_A_general", "GRALORA"),
    plain("gralora_B_general", "GRALORA"),
    factor("hira_A", "HIRA"),
    factor("hira_B", "HIRA"),
    plain("deft_P", "DEFT"),
    factor("deft_R", "DEFT"),
    weight("peanut_A", "PEANUT", "peanut_A.weight", Role::Other),
    weight("peanut_B", "PEANUT", "peanut_B.weight", Role::Factor),
    plain("beft_bias", "BEFT"),
    plain("osf_svd_params.U_low", "OSF"),
    plain("osf_svd_params.S_low", "OSF"),
    plain("osf_svd_params.V_low", "OSF"),
    plain("poly_lora_A", "POLY"),
    factor("poly_lora_B", "POLY"),
    plain("poly_router.module_logits", "POLY"),
    weight("lily_A", "LILY", "lily_A.weight", Role::Other),
    weight("lily_B", "LILY", "lily_B.weight", Role::Factor),
    weight("lily_router", "LILY", "lily_router.weight", Role::Other),
    factor("pvera_lambda_b", "PVERA"),
    factor("pvera_lambda_d", "PVERA"),
    plain("pvera_A", "PVERA"),
    plain("pvera_B", "PVERA"),
    plain("tinylora_A", "TINYLORA"),
    plain("tinylora_B", "TINYLORA"),
    plain("tinylora_P", "TINYLORA"),
    mark("tinylora_v", Any, (Peft, "TINYLORA"), ("tinylora_v", "tinylora_v"), Role::Other),
    weight("psoft_R", "PSOFT", "psoft_R.weight", Role::Other),
    plain("psoft_R.vector_a", "PSOFT"),
    plain("psoft_R.vector_b", "PSOFT"),
    plain("glora_A.Xd", "GLORA"),
    plain("glora_A.Xu", "GLORA"),
    plain("glora_B.Xd", "GLORA"),
    plain("glora_B.Xu", "GLORA"),
    plain("glora_C.zeros", "GLORA"),
    plain("glora_D.zeros", "GLORA"),
    plain("glora_E.zeros", "GLORA"),
    mark("glora_A", Any, (Peft, "GLORA"), ("glora_A", "glora_A"), Role::Other),
    mark("glora_B", Any, (Peft, "GLORA"), ("glora_B", "glora_B"), Role::Other),
    mark("glora_C", Any, (Peft, "GLORA"), ("glora_C", "glora_C"), Role::Other),
    mark("glora_D", Any, (Peft, "GLORA"), ("glora_D", "glora_D"), Role::Other),
    mark("glora_E", Any, (Peft, "GLORA"), ("glora_E", "glora_E"), Role::Other),
    plain("frod_lambda_l", "FROD"),
    plain("frod_lambda_s_values", "FROD"),
    mark("frod_s_indices", Any, (Peft, "FROD"), ("frod_s_indices", "frod_s_indices"), Role::Other),
    mark("frod_s_size", Any, (Peft, "FROD"), ("frod_s_size", "frod_s_size"), Role::Other),
    mark("frod_V", Any, (Peft, "FROD"), ("frod_V", "frod_V"), Role::Other),
    plain("unilora_theta_d", "UNILORA"),
    plain("supertuning_indices", "SUPERTUNING"),
    factor("supertuning_values", "SUPERTUNING"),
    plain("adaption_prompt", "ADAPTION_PROMPT"),
    plain("adaption_gate", "ADAPTION_PROMPT"),
    plain("prompt_embeddings", "PROMPT_TUNING"),
    plain("prefix_task_cols", "MULTITASK_PROMPT_TUNING"),
    plain("prefix_task_rows", "MULTITASK_PROMPT_TUNING"),
    mark("internal_xlora_classifier", Any, (Peft, "XLORA"), XLORA, Role::Other),
    plain("trainable_tokens_delta", "TRAINABLE_TOKENS"),
    mark("token_adapter.trainable_tokens_delta", Dotted, (Peft, "TRAINABLE_TOKENS"), TOKENS, Role::Other),
    // The same in other hands.
    mark("lora_down", Weight, (ComfyOrKohya, "LORA"), A, Role::Factor),
    mark("lora_up", Weight, (ComfyOrKohya, "LORA"), B, Role::Factor),
    mark("lora_mid", Weight, (ComfyOrKohya, "LORA"), ("lora_mid", "lora_mid.weight"), Role::Other),
    mark("alpha", Bare, (ComfyOrKohya, "LORA"), ("alpha", "alpha"), Role::Other),
    mark("dora_scale", Bare, (Lycoris, "LORA"), MAGNITUDE, Role::Other),
    mark("diff", Bare, (Lycoris, "DIFF"), ("diff", "diff"), Role::Factor),
    mark("diff_b", Bare, (Lycoris, "DIFF"), ("diff_b", "diff_b"), Role::Other),
    mark("oft_blocks", Bare, (Lycoris, "OFT"), ("oft_blocks", "oft_blocks"), Role::Factor),
    mark("oft_diag", Bare, (Lycoris, "OFT"), ("oft_diag", "oft_diag"), Role::Factor),
    mark("_lora.down.weight", Joined, (Diffusers, "LORA"), A, Role::Factor),
    mark("_lora.up.weight", Joined, (Diffusers, "LORA"), B, Role::Factor),
    mark("lora_linear_layer.down", Weight, (Diffusers, "LORA"), A, Role::Factor),
    mark("lora_linear_layer.up", Weight, (Diffusers, "LORA"), B, Role::Factor),
    mark("lora.down", Weight, (Diffusers, "LORA"), A, Role::Factor),
    mark("lora.up", Weight, (Diffusers, "LORA"), B, Role::Factor),
    mark("weight.lora_a", Bare, (Gguf, "LORA"), A, Role::Factor),
    mark("weight.lora_b", Bare, (Gguf, "LORA"), B, Role::Factor),
    mark("lora_a", Bare, (Mlx, "LORA"), A, Role::Transposed),
    mark("lora_b", Bare, (Mlx, "LORA"), B, Role::Transposed),
    mark("m", Bare, (Mlx, "LORA"), MAGNITUDE, Role::Other),
    mark("lora_a", Weight, (Torchtune, "LORA"), A, Role::Factor),
    mark("lora_b", Weight, (Torchtune, "LORA"), B, Role::Factor),
    mark("magnitude", Bare, (Torchtune, "LORA"), MAGNITUDE, Role::Other),
    mark("adapter.linear_in", Weight, (Nemo, "LORA"), A, Role::Factor),
    mark("adapter.linear_out", Weight, (Nemo, "LORA"), B, Role::Factor),
];

const LN_BIAS: (&str, &str) = ("ln_tuning_layers.bias", "ln_tuning_layers.bias");
const XLORA: (&str, &str) = ("internal_xlora_classifier", "internal_xlora_classifier");
const TOKENS: (&str, &str) = ("trainable_tokens_delta", "token_adapter.trainable_tokens_delta");

/// Marks that continue a component.
static JOINED: LazyLock<Vec<&'static Mark>> =
    LazyLock::new(|| MARKS.iter().filter(|mark| mark.form == Joined).collect());

/// The other marks, by their first component: adapters have tens of thousands of keys.
static BY_HEAD: LazyLock<FxHashMap<&'static str, Vec<&'static Mark>>> = LazyLock::new(|| {
    let mut marks: FxHashMap<_, Vec<_>> = FxHashMap::default();
    for mark in MARKS.iter().filter(|mark| mark.form != Joined) {
        marks.entry(head(mark.text)).or_default().push(mark);
    }
    marks
});

/// Returns the first component.
fn head(text: &str) -> &str {
    text.split('.').next().unwrap_or(text)
}

/// The key segment that PEFT inserts before the weights it wraps.
pub const BASE_LAYER: &str = "base_layer";

/// Components that a mark and what follows it may have.
const MARK_COMPONENTS_MAX: usize = 4;

/// What a key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key<'n> {
    /// Path of the module, as spelled; empty for tensors of the whole adapter.
    pub module: &'n str,
    /// What it is of the module.
    pub tensor: Tensor,
    /// The adapter's name, where a save left it in.
    pub name: Option<&'n str>,
}

/// What a key's tensor is of its module.
#[derive(Clone, Copy, Debug)]
pub enum Tensor {
    /// A part of the delta.
    Part(&'static Mark),
    /// A tensor of the module itself: `weight`, `bias`, or anything else.
    Saved(&'static str),
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Part(a), Self::Part(b)) => std::ptr::eq(*a, *b),
            (Self::Saved(a), Self::Saved(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Tensor {}

impl<'n> Key<'n> {
    /// Takes a key apart.
    #[must_use]
    pub fn parse(key: &'n str) -> Self {
        Self::of_part(key).unwrap_or_else(|| Self::of_saved(key))
    }

    fn of_part(key: &'n str) -> Option<Self> {
        for mark in JOINED.iter() {
            if let Some(module) = key.strip_suffix(mark.text).filter(|module| !module.is_empty()) {
                return Some(Self { module, tensor: Tensor::Part(mark), name: None });
            }
        }
        // From the left, so that `lora_B.bias` is not taken for the bias of a module `lora_B`.
        let mut starts = [key.len(); MARK_COMPONENTS_MAX];
        let mut end = key.len();
        for start in starts.iter_mut().rev() {
            *start = key[..end].rfind('.').map_or(0, |dot| dot + 1);
            if *start == 0 {
                break;
            }
            end = *start - 1;
        }
        starts.into_iter().filter(|&start| start < key.len()).find_map(|start| {
            let rest = &key[start..];
            let marks = BY_HEAD.get(head(rest))?;
            let fitting = marks.iter().filter_map(|mark| Some((*mark, mark.name_in(rest)?)));
            let (mark, name) = fitting.max_by_key(|(mark, _)| mark.text.len())?;
            let module = key[..start].strip_suffix('.').unwrap_or("");
            Some(Self { module, tensor: Tensor::Part(mark), name })
        })
    }

    fn of_saved(key: &'n str) -> Self {
        let (path, part) = match key.rsplit_once('.') {
            Some((path, "weight")) => (path, "weight"),
            Some((path, "bias")) => (path, "bias"),
            _ => (key, ""),
        };
        // A full state names what stands behind a saved module: `lm_head.modules_to_save.default.weight`.
        if let Some((module, name)) = path.rsplit_once(".modules_to_save.").filter(|(_, n)| !n.contains('.'))
        {
            return Self { module, tensor: Tensor::Saved(part), name: Some(name) };
        }
        Self { module: path, tensor: Tensor::Saved(part), name: None }
    }
}

impl Mark {
    /// Returns true if anything may follow the mark, and belongs to the part's name.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.form == Any
    }

    /// Returns the adapter's name in `rest` (or none), if `rest` is this mark and what may follow it.
    #[expect(clippy::option_option, reason = "not this mark, or this mark with or without a name")]
    fn name_in<'n>(&self, rest: &'n str) -> Option<Option<&'n str>> {
        let after = rest.strip_prefix(self.text)?;
        if after.is_empty() {
            return matches!(self.form, Dotted | Bare | Any).then_some(None);
        }
        let after = after.strip_prefix('.')?;
        let is_name = |name: &str| !name.is_empty() && !name.contains('.') && name != "bias";
        match self.form {
            Any => Some(None),
            Weight => (after == "weight").then_some(None),
            Dotted if after == "weight" => Some(None),
            Dotted => {
                let name = after.strip_suffix(".weight").unwrap_or(after);
                is_name(name).then_some(Some(name))
            }
            Bias if after == "bias" => Some(None),
            Bias => after.strip_suffix(".bias").filter(|name| is_name(name)).map(Some),
            Bare | Joined => None,
        }
    }
}

#[cfg(test)]
mod tests;
