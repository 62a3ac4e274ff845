//! Methods: how a module of an adapter changes its weight, by its parts and the config.

use serde_json::Value;

use super::refused;
use crate::adapter::align::{Aligned, Alignment, Part};
use crate::adapter::delta::{Method, Oft, Projection};

/// Terms of a series of OFT; more than anyone takes.
const TERMS_MAX: i64 = 32;
/// Values of a projection that are drawn for each module.
const PROJECTION_MAX: u64 = 1 << 27;

/// Returns how a module changes its weight; `None` if it only brings tensors.
///
/// # Errors
/// Its method, or what its config says of that, is not computed here; in words.
pub(super) fn of(
    module: &Aligned,
    alignment: &Alignment,
    config: Option<&Value>,
) -> Result<Option<Method>, String> {
    let has = |part: &str| module.part(part).is_some();
    Ok(Some(match module.method {
        "SAVED" => return Ok(None),
        "LORA" if has("lora_embedding_A") => Method::Embedding,
        "LORA" if module.experts > 1 => Method::Experts,
        "LORA" => Method::Lora,
        "ADALORA" => Method::AdaLora,
        "LOHA" => Method::LoHa,
        "LOKR" => Method::LoKr,
        "IA3" => Method::Ia3,
        "OFT" if has("oft_r") => {
            return Err(
                "OFT of PEFT before 0.16, which computed it in another way: train it anew, or merge it with \
                        PEFT 0.15"
                    .into(),
            );
        }
        "OFT" if has("oft_R") => Method::Oft(oft(config)?),
        "OFT" => return Err("OFT of LyCORIS, which computes it in another way".into()),
        "VERA" if is_shared(&alignment.shared) => Method::Vera,
        "VERA" => Method::VeraDrawn(projection(alignment, config)?),
        "TRAINABLE_TOKENS" => Method::Tokens,
        other => {
            return Err(
                refused::method(other).unwrap_or_else(|| format!("{other} is a type that is not known here"))
            );
        }
    }))
}

fn is_shared(shared: &[Part]) -> bool {
    ["vera_A", "vera_B"].iter().all(|name| shared.iter().any(|part| part.part == *name))
}

/// Returns how OFT makes matrices of its angles. Source: PEFT 0.21, `tuners/oft/config.py`.
fn oft(config: Option<&Value>) -> Result<Oft, String> {
    let value = |key: &str| config.and_then(|config| config.get(key)).filter(|value| !value.is_null());
    let flag = |key: &str, default: bool| match value(key) {
        None => Ok(default),
        Some(value) => value.as_bool().ok_or_else(|| format!("{key} is neither true nor false")),
    };
    let terms = match value("num_cayley_neumann_terms") {
        None => 5,
        Some(terms) => terms.as_i64().ok_or("num_cayley_neumann_terms is no number")?,
    };
    if terms > TERMS_MAX {
        return Err(format!("num_cayley_neumann_terms is {terms}, and at most {TERMS_MAX} are computed"));
    }
    let series = flag("use_cayley_neumann", true)?.then_some(terms.max(0) as u32);
    let eps = match value("eps") {
        None => 6e-5,
        Some(eps) => eps.as_f64().ok_or("eps is no number")?,
    };
    Ok(Oft { series, longest: flag("coft", false)?.then_some(eps) })
}

/// Returns what PEFT draws where the projections are not saved.
fn projection(alignment: &Alignment, config: Option<&Value>) -> Result<Projection, String> {
    let why = "its projections are not saved, and";
    let config =
        config.ok_or_else(|| format!("{why} without adapter_config.json they cannot be drawn anew"))?;
    if config.get("save_projection").and_then(Value::as_bool) == Some(true) {
        return Err(format!("{why} the config says that they are: PEFT stops too"));
    }
    let key = match config.get("projection_prng_key") {
        Some(Value::Number(key)) => key.as_u64().or_else(|| key.as_i64().map(|key| key as u64)),
        _ => None,
    };
    let key = key.ok_or_else(|| format!("{why} the config has no projection_prng_key to draw them from"))?;
    let modules = || alignment.modules.iter().filter(|module| module.method == "VERA");
    let rank = config.get("r").and_then(Value::as_u64).unwrap_or(0);
    // Their size is that of the largest module that PEFT targets: all must be known.
    if let Some(untouched) = alignment.untouched.first() {
        return Err(format!("{why} their size is not sure: {}", crate::name::escape(untouched)));
    }
    let mut largest = [0, 0];
    for module in modules() {
        let Some([out, inputs]) = module.delta else {
            return Err(format!("{why} their size is not sure: not all modules fit the base"));
        };
        largest = [largest[0].max(out), largest[1].max(inputs)];
    }
    let [outputs, inputs] = largest;
    let count = outputs.checked_add(inputs).and_then(|sum| sum.checked_mul(rank));
    if rank == 0 || count.is_none_or(|count| count > PROJECTION_MAX) {
        return Err(format!("{why} r {rank} with {outputs} outputs and {inputs} inputs is no size to draw"));
    }
    Ok(Projection { key, rank, inputs, outputs })
}
