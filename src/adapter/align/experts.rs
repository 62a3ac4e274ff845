//! Experts: adapters of stacked expert parameters (`target_parameters`).
//!
//! PEFT nests one wrapper a parameter, in the order in which the module registers them, whatever order the
//! config has: the innermost (most `base_layer`s in the key) is `gate_up_proj`, then `down_proj`. The factors of
//! all experts are stacked: `lora_A [E r, in]` with the expert slowest, `lora_B [out, r E]` with it fastest. The base
//! may hold one tensor for all experts, or one layer an expert.
//! Source: PEFT 0.21 `ParamWrapper`, transformers 5 `Experts` modules; names of Mixtral's files.

use super::build::Context;
use super::check::{Verdict, shape_verdict};
use super::{Aligned, Place, State};
use crate::adapter::dims::Dims;
use crate::adapter::group::Group;
use crate::adapter::names::PREFIX;

/// A stacked parameter, the layers that one expert keeps it in, and their other names (Mixtral's).
const PARAMETERS: [(&str, &[&str], &[&str]); 2] =
    [("gate_up_proj", &["gate_proj", "up_proj"], &["w1", "w3"]), ("down_proj", &["down_proj"], &["w2"])];

/// Experts of a layer that are counted; the largest models have some hundreds.
const EXPERTS_MAX: u64 = 4096;

/// The parameter that a module adapts.
pub(super) struct Stacked {
    pub(super) experts: u64,
    /// Index into `PARAMETERS`; `None` if neither config nor shapes tell.
    parameter: Option<usize>,
}

/// Returns true if a path of the base holds experts.
pub(super) fn is_stacked(context: &Context<'_>, path: &str) -> bool {
    path.rsplit('.').next() == Some("experts")
        && (context.names.has(&format!("{path}.0"))
            || context.names.layer(&format!("{path}.gate_up_proj")).is_some())
}

/// Returns which parameter of which experts a group adapts, if it is one of stacked experts.
pub(super) fn of(
    context: &Context<'_>,
    module: &Aligned,
    group: &Group,
    siblings: &[&Group],
) -> Option<Stacked> {
    if module.method != "LORA" || !is_stacked(context, &module.path) {
        return None;
    }
    let own = group.path.strip_prefix(PREFIX).unwrap_or(&group.path);
    let targeted: Vec<usize> = (0..PARAMETERS.len())
        .filter(|&at| {
            context.targets.parameters.is_empty()
                || context.targets.names_parameter(&format!("{own}.{}", PARAMETERS[at].0))
        })
        .collect();
    let mut nested: Vec<usize> = siblings.iter().filter(|s| s.kind.is_some()).map(|s| s.wraps).collect();
    nested.sort_unstable_by(|a, b| b.cmp(a));
    let place = nested.iter().position(|&wraps| wraps == group.wraps).unwrap_or(0);
    let parameter = (nested.len() == targeted.len()).then(|| targeted.get(place).copied()).flatten();
    let experts = context
        .names
        .layer(&format!("{}.gate_up_proj", module.path))
        .and_then(|layer| context.base.layers.spec(layer).shape.first().copied())
        .unwrap_or_else(|| {
            (0..EXPERTS_MAX).take_while(|e| context.names.has(&format!("{}.{e}", module.path))).count() as u64
        });
    Some(Stacked { experts: experts.max(1), parameter })
}

impl Stacked {
    /// Decides where the delta goes.
    pub(super) fn place(&self, context: &Context<'_>, module: &mut Aligned, dims: Dims) -> Verdict {
        let (Some(out), Some(inputs)) = (dims.out, dims.inputs) else {
            return Verdict::new(State::Incomplete, "its shapes do not tell the delta".into());
        };
        if dims.rank.is_some_and(|rank| rank % self.experts != 0) {
            let rank = dims.rank.unwrap_or(0);
            return Verdict::new(
                State::Shape,
                format!("{rank} rows of lora_A are no multiple of {} experts", self.experts),
            );
        }
        module.delta = Some([out, inputs]);
        let candidates: Vec<usize> =
            self.parameter.map_or_else(|| (0..PARAMETERS.len()).collect(), |one| vec![one]);
        let mut wrong = None;
        for at in candidates {
            match self.fit(context, module, PARAMETERS[at], [out, inputs]) {
                Ok(evidence) => return Verdict::new(State::Aligned, evidence),
                Err(verdict) => wrong = wrong.or(Some(verdict)),
            }
        }
        wrong.unwrap_or_else(|| Verdict::new(State::Missing, "the base has no such experts".into()))
    }

    fn fit(
        &self,
        context: &Context<'_>,
        module: &mut Aligned,
        (name, halves, others): (&str, &[&str], &[&str]),
        delta: [u64; 2],
    ) -> Result<String, Verdict> {
        let path = module.path.clone();
        let layers = &context.base.layers;
        if let Some(layer) = context.names.layer(&format!("{path}.{name}")) {
            let shape = &layers.spec(layer).shape;
            let [_, a, b] = shape[..] else {
                return Err(Verdict::new(
                    State::Shape,
                    format!("the experts' {name} has the shape {shape:?}"),
                ));
            };
            let model = context.base.files.configs.get("config.json");
            let is_oss = model.and_then(|c| c.get("model_type")).and_then(serde_json::Value::as_str)
                == Some("gpt_oss");
            let is_turned = [b, a] == delta && (is_oss || a != b);
            if !is_turned && [a, b] != delta {
                return Err(shape_verdict(delta, if is_oss { [b, a] } else { [a, b] }));
            }
            module.base_shape = Some(shape.clone());
            module.is_transposed = is_turned;
            module.layer = Some(layer);
            module.places = (0..self.experts)
                .map(|expert| Place {
                    layer,
                    expert: Some(expert),
                    slab: Some(expert),
                    delta_rows: 0..delta[0],
                    layer_rows: 0..delta[0],
                })
                .collect();
            module.path = format!("{path}.{name}");
            return Ok(format!("{} experts stacked, delta {delta:?} each", self.experts));
        }
        let mut places = Vec::new();
        for expert in 0..self.experts {
            let mut row = 0;
            for (half, other) in halves.iter().zip(others) {
                let found = [half, other]
                    .iter()
                    .find_map(|name| context.names.layer(&format!("{path}.{expert}.{name}")));
                let Some(layer) = found else {
                    return Err(Verdict::new(
                        State::Missing,
                        format!("expert {expert} of the base has no {half}"),
                    ));
                };
                let shape = &layers.spec(layer).shape;
                let [rows, columns] = shape[..] else {
                    return Err(Verdict::new(
                        State::Shape,
                        format!("{half} of expert {expert} has the shape {shape:?}"),
                    ));
                };
                if columns != delta[1] || rows.saturating_add(row) > delta[0] {
                    return Err(shape_verdict(delta, [rows.saturating_mul(halves.len() as u64), columns]));
                }
                places.push(Place {
                    layer,
                    expert: Some(expert),
                    slab: None,
                    delta_rows: row..row + rows,
                    layer_rows: 0..rows,
                });
                row += rows;
            }
            if row != delta[0] {
                return Err(shape_verdict(delta, [row, delta[1]]));
            }
        }
        module.layer = places.first().map(|place| place.layer);
        module.base_shape = Some(vec![self.experts, delta[0], delta[1]]);
        module.places = places;
        module.path = format!("{path}.{name}");
        Ok(format!("{} experts, delta {delta:?} each; the base keeps them apart", self.experts))
    }
}
