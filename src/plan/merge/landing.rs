//! Landings: where the modules of an adapter go, and whether all of them do.

use serde_json::Value;

use super::{Landing, Target, method};
use crate::adapter::align::{Aligned, Alignment, Place, State};
use crate::adapter::delta::{EditSpec, Method, Recipe};
use crate::adapter::gguf_base::GgufBase;
use crate::adapter::held::Held;
use crate::adapter::names::PREFIX;
use crate::adapter::targets::Targets;
use crate::checkpoint::Checkpoint;
use crate::name::escape;
use crate::plan::{At, Coverage};
use crate::tensor::elements;
use crate::units;

/// An adapter that is merged.
#[derive(Clone, Copy)]
pub struct Attached<'a> {
    /// Its files.
    pub checkpoint: &'a Checkpoint,
    /// How it lies on the base.
    pub alignment: &'a Alignment,
    /// What its deltas are multiplied by, beside their own scaling.
    pub weight: f64,
}

impl<'a> Attached<'a> {
    /// Returns an adapter that was held against the base, with what its deltas are multiplied by.
    #[must_use]
    pub fn new(held: &'a Held, weight: f64) -> Self {
        Self { checkpoint: &held.adapter, alignment: &held.alignment, weight }
    }
}

/// What adapters bring.
#[derive(Clone, Debug, Default)]
pub struct Landings {
    /// What goes where, in the order of the adapters.
    pub list: Vec<(Target, Landing)>,
    /// How many modules are merged.
    pub coverage: Coverage,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Landings {
    /// Adds the modules of an adapter, the `number`th.
    pub fn add(&mut self, base: &Checkpoint, number: usize, attached: &Attached<'_>, recipe: Recipe) {
        let config = attached.checkpoint.files.configs.get("adapter_config.json");
        let (mut zero, mut is_drawn) = (0, false);
        let targets = config.map(Targets::read).unwrap_or_default();
        let rank = config.and_then(|config| config.get("r")).and_then(Value::as_u64);
        let gguf = GgufBase::known(base);
        for module in &attached.alignment.modules {
            self.coverage.total += 1;
            let found = mergeable(module)
                .and_then(|()| right_rank(module, &targets, rank))
                .and_then(|()| one((base, gguf.as_ref()), (number, attached), module, recipe, config));
            match found {
                Ok(landings) => {
                    self.coverage.merged += 1;
                    zero += usize::from(module.zero_delta);
                    is_drawn |= landings.iter().any(|(_, landing)| landing.is_drawn());
                    self.list.extend(landings);
                }
                Err(why) => self.coverage.left.push(format!("{}: {why}", escape(&module.name))),
            }
        }
        if is_drawn {
            self.warnings.push(
                "the projections of VeRA are not saved: they are drawn from projection_prng_key and rounded to the \
                 base's dtype, as PEFT and torch do it on x86 for a base of this dtype"
                    .into(),
            );
        }
        if zero > 0 {
            self.warnings.push(format!(
                "{zero} of {} modules change nothing: a factor of each is all zero",
                attached.alignment.modules.len()
            ));
        }
        let unused = attached.alignment.unused.len();
        if unused > 0 {
            self.warnings.push(format!("{unused} tensors of the adapter are not used"));
        }
    }
}

/// Says whether a module can be merged as it stands.
fn mergeable(module: &Aligned) -> Result<(), String> {
    if module.has_nan {
        return Err("its values are NaN".into());
    }
    if module.has_infinity {
        return Err("some of its values are infinite".into());
    }
    let fits = match module.state {
        State::Aligned | State::Saved => module.is_applied || module.state == State::Saved,
        State::Renamed => module.is_applied,
        // PEFT cannot address a part of a layer; here its rows are known.
        State::Fused => !module.places.is_empty(),
        State::Incomplete
        | State::Missing
        | State::Shape
        | State::Padded
        | State::Wrapped
        | State::Dropped => false,
    };
    if fits { Ok(()) } else { Err(format!("{}: {}", module.state.name(), module.evidence)) }
}

/// Refuses a module of another rank than the config gives it: alpha belongs to one of the two, and which is not known.
fn right_rank(module: &Aligned, targets: &Targets, rank: Option<u64>) -> Result<(), String> {
    let own = module.name.strip_prefix(PREFIX).unwrap_or(&module.name);
    let said = targets.rank(own).or_else(|| targets.rank(&module.path)).or(rank);
    match (said, module.rank) {
        (Some(said), Some(rank)) if module.method == "LORA" && said != rank => Err(format!(
            "the config's rank is {said}, its tensors have {rank}, and which of the two alpha belongs to is not known: \
             align --repair --keep decides"
        )),
        _ => Ok(()),
    }
}

/// Returns what a module brings.
fn one(
    (base, gguf): (&Checkpoint, Option<&GgufBase>),
    (number, attached): (usize, &Attached<'_>),
    module: &Aligned,
    recipe: Recipe,
    config: Option<&Value>,
) -> Result<Vec<(Target, Landing)>, String> {
    let method = method::of(module, attached.alignment, config)?;
    let mut landings = Vec::new();
    let layer = module.layer.ok_or("it belongs to no layer of the base")?;
    let has_scale = matches!(module.method, "LORA" | "ADALORA" | "LOHA" | "LOKR");
    if has_scale && module.scaling.is_none() {
        return Err("its scale is not known: neither config nor file give an alpha".into());
    }
    // Factors by a layer's own name are for its rows as they lie: llama.cpp's are.
    let order = |layer: u32| {
        let is_own = base.layers.name(&base.files.names, layer) == module.path;
        gguf.filter(|_| !is_own)?.order(layer)
    };
    let edit = |(method, recipe), place: &Place| {
        let edit = edit(number, attached, module, (method, recipe), place)?;
        Ok::<_, String>(EditSpec { order: order(place.layer), ..edit })
    };
    if let Some(method) = method {
        for place in places(module, layer)? {
            let edit = edit((method, recipe), &place)?;
            landings.push((Target { layer: place.layer, is_bias: false }, Landing::Edit(Box::new(edit))));
        }
    }
    for part in &module.parts {
        let target = |is_bias| Target { layer, is_bias };
        let at = At { input: number + 1, tensor: part.tensor };
        match part.part {
            "lora_B.bias" => {
                if module.places.len() > 1 {
                    return Err("its bias belongs to several layers".into());
                }
                let edit = edit((Method::Bias, recipe), &whole(layer))?;
                landings.push((target(true), Landing::Edit(Box::new(edit))));
            }
            "weight" => landings.push((target(false), Landing::Saved(at))),
            "bias" => landings.push((target(true), Landing::Saved(at))),
            // A factor an output goes for the bias as well.
            "ia3_l" if shape(attached, part.tensor).last() == Some(&1) && has_bias(base, layer) => {
                let edit = edit((Method::Ia3, recipe), &whole(layer))?;
                landings.push((target(true), Landing::Edit(Box::new(edit))));
            }
            _ => {}
        }
    }
    if landings.is_empty() {
        return Err(format!("{} brings nothing that can be merged", module.method));
    }
    let is_scaled = attached.weight != 1.0;
    let is_delta = landings.iter().all(|(_, landing)| match landing {
        Landing::Edit(edit) => !matches!(edit.method, Method::Ia3 | Method::Oft(_) | Method::Tokens),
        // A copy of an embedding's own weight beside its factors: these are what is multiplied.
        Landing::Saved(_) => method.is_some() && !module.parts.iter().any(|part| part.part == "bias"),
    });
    if is_scaled && !is_delta {
        return Err(format!(
            "{} has no delta that could be multiplied by {}",
            module.method, attached.weight
        ));
    }
    Ok(landings)
}

/// Returns the place of a module that is for a layer as it is.
fn whole(layer: u32) -> Place {
    Place { layer, expert: None, slab: None, delta_rows: 0..0, layer_rows: 0..0 }
}

fn shape<'a>(attached: &Attached<'a>, tensor: u32) -> &'a [u64] {
    let files = &attached.checkpoint.files;
    files.shape(&files.tensors[tensor as usize])
}

fn has_bias(base: &Checkpoint, layer: u32) -> bool {
    base.layers.spec(layer).bias
}

/// Returns the places of a module: the whole of its layer where none are named.
fn places(module: &Aligned, layer: u32) -> Result<Vec<Place>, String> {
    if module.experts > 1 && module.places.is_empty() {
        return Err("it is not known where its experts go".into());
    }
    let is_stack = |place: &Place| place.layer == layer && place.slab.is_some() && place.slab == place.expert;
    if module.places.len() as u64 == module.experts
        && module.experts > 1
        && module.places.iter().all(is_stack)
    {
        // All experts of one tensor: one edit.
        return Ok(vec![whole(layer)]);
    }
    if module.places.is_empty() {
        return Ok(vec![whole(layer)]);
    }
    Ok(module.places.clone())
}

fn edit(
    number: usize,
    attached: &Attached<'_>,
    module: &Aligned,
    (method, recipe): (Method, Recipe),
    place: &Place,
) -> Result<EditSpec, String> {
    if let Some(part) = module.parts.iter().find(|part| part.is_transposed) {
        return Err(format!(
            "{} is stored the other way around; align --repair gives it PEFT's form",
            part.part
        ));
    }
    let base = module.base_shape.as_deref().unwrap_or_default();
    let is_flat = convolution(attached, module, (method, place), base)?;
    // Of a stack, those of one matrix.
    let (high, wide) = match *base {
        [high, ref rest @ ..] if is_flat => (high, elements(rest).ok_or("its shape overflows")?),
        [.., high, wide] => (high, wide),
        _ => (0, 0),
    };
    let outputs_of_base = if module.is_transposed { wide } else { high };
    let outputs_of_delta = module.delta.map_or(0, |[rows, _]| rows);
    let is_all = |rows: &std::ops::Range<u64>, all: u64| rows.is_empty() || *rows == (0..all);
    let outputs = (!is_all(&place.delta_rows, outputs_of_delta)).then(|| place.delta_rows.clone());
    let is_own = module.experts > 1 && place.slab.is_none();
    let rows = match place.slab {
        // A layer of its own for each expert: its shape is not the stack's.
        _ if is_own || is_all(&place.layer_rows, outputs_of_base) && place.slab.is_none() => None,
        _ if module.is_transposed && !is_all(&place.layer_rows, outputs_of_base) => {
            return Err("a part of the outputs of a weight that is stored [in, out]".into());
        }
        Some(slab) if module.is_transposed => Some(slab * high..(slab + 1) * high),
        slab => {
            let first = slab.unwrap_or(0) * high;
            Some(first + place.layer_rows.start..first + place.layer_rows.end)
        }
    };
    let mut parts: Vec<(&'static str, u32)> =
        module.parts.iter().map(|part| (part.part, part.tensor)).collect();
    parts.extend(attached.alignment.shared.iter().map(|part| (part.part, part.tensor)));
    let experts = module.experts.max(1);
    Ok(EditSpec {
        adapter: number,
        module: module.name.clone(),
        method,
        parts,
        scaling: module.scaling.unwrap_or(1.0),
        weight: attached.weight,
        transposed: module.is_transposed,
        recipe,
        experts,
        tokens: module.tokens.clone(),
        outputs,
        expert: place.expert.filter(|_| experts > 1),
        rows,
        order: None,
        is_flat,
        combination: None,
    })
}

/// Returns true for the weight of a convolution, `[out, in, …]`.
///
/// # Errors
/// It is one, and the method has no arithmetic for it here, or its factors are those of another.
fn convolution(
    attached: &Attached<'_>,
    module: &Aligned,
    (method, place): (Method, &Place),
    base: &[u64],
) -> Result<bool, String> {
    if base.len() <= 2 || module.experts > 1 || place.slab.is_some() || method == Method::Bias {
        return Ok(false);
    }
    let [out, kernel @ ..] = base else { return Ok(false) };
    let of = |part: &str| module.part(part).map_or(&[][..], |tensor| shape(attached, tensor));
    if matches!(method, Method::LoHa | Method::LoKr) {
        // With a kernel of its own, or with that of all inputs in one factor.
        let cores = ["hada_t1", "hada_t2", "lokr_t2", "lokr_w2"].map(of);
        let is_own = |core: &[u64]| core.len() == 4 && base.len() == 4 && core[2..] == kernel[1..];
        let inputs = module.delta.map(|[_, inputs]| inputs);
        let is_other = cores.iter().filter(|core| core.len() > 2).any(|core| !is_own(core));
        if !is_other && (cores.iter().any(|core| is_own(core)) || inputs == elements(kernel)) {
            return Ok(true);
        }
        let (kind, shape) = (module.method, units::shape(base));
        return Err(format!("the {kind} is not that of a convolution {shape} without groups"));
    }
    if method != Method::Lora {
        let (kind, shape) = (module.method, units::shape(base));
        return Err(format!(
            "{kind} of a convolution {shape}, which is not computed here: merge it with PEFT (merge_and_unload)"
        ));
    }
    let (down, up) = (of("lora_A"), of("lora_B"));
    let is_pointwise = up.len() == base.len() && up[2..].iter().all(|&size| size == 1);
    if down.get(1..) == Some(kernel) && is_pointwise && up[0] == *out && up[1] == down[0] {
        return Ok(true);
    }
    Err(format!(
        "lora_A {} and lora_B {} are not those of a convolution {} without groups, and PEFT merges no other",
        units::shape(down),
        units::shape(up),
        units::shape(base)
    ))
}
