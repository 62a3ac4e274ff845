//! Scale: rank, alpha and scaling of a module, by its tensors, the config, and whoever wrote it.

use super::Aligned;
use super::build::Context;
use crate::adapter::group::Group;
use crate::adapter::keys::Family;
use crate::adapter::names::PREFIX;
use crate::adapter::{config as fields, values};

impl Context<'_> {
    /// Fills in rank, alpha and scaling. A scaling that nothing tells stays unknown.
    pub(super) fn scale(&self, module: &mut Aligned, group: &Group) {
        let by_tensor = group
            .part("alpha")
            .and_then(|tensor| values::single(&self.adapter.files, self.asked.values, tensor));
        // Patterns are matched against the module's name in the wrapped model.
        let own = group.path.strip_prefix(PREFIX).unwrap_or(&group.path);
        let rank = module.rank;
        let given = self.facts.rank.filter(|&rank| rank > 0);
        let pattern = |path: &str| self.targets.rank(path);
        let said = pattern(own).or_else(|| pattern(&module.path)).or(given);
        // The tensors are right where the config contradicts them: a repair corrects it so.
        let effective = match module.method {
            "LORA" | "ADALORA" | "LOHA" => rank.or(said),
            _ => said.or(rank),
        };
        let alpha = self.targets.alpha(own).or_else(|| self.targets.alpha(&module.path)).or(self.facts.alpha);
        module.rank = effective;
        let is_kohya = matches!(group.family, Family::ComfyOrKohya | Family::Lycoris);
        (module.alpha, module.scaling) = if by_tensor.is_some() || is_kohya && alpha.is_none() {
            // Without an alpha it is the rank, and the scale 1.
            let alpha = by_tensor.or(rank.map(|rank| rank as f64));
            let scaling = alpha.zip(rank).map(|(alpha, rank)| alpha / rank as f64);
            // Both factors of a Kronecker product whole: there is no rank, LyCORIS takes the scale 1.
            (alpha, scaling.or((module.method == "LOKR").then_some(1.0)))
        } else if group.family == Family::Mlx {
            (None, fields::mlx_scale(self.config))
        } else if alpha.is_none() && self.is_of_diffusers(group) {
            self.by_diffusers(group, effective)
        } else {
            (alpha, fields::scaling(module.method, effective, alpha, self.facts))
        };
    }

    /// Returns true if diffusers or `ComfyUI` wrote a module's keys: there is no config, and no alpha is the rank.
    fn is_of_diffusers(&self, group: &Group) -> bool {
        /// What pipelines call their models.
        const MODELS: [&str; 7] = [
            "unet.",
            "transformer.",
            "text_encoder.",
            "text_encoder_2.",
            "text_encoder_3.",
            "prior.",
            "diffusion_model.",
        ];
        let is_model = MODELS.iter().any(|model| group.path.starts_with(model));
        group.family == Family::Diffusers || is_model && self.config.is_none()
    }

    /// Returns alpha and scaling by `lora_adapter_metadata`, which diffusers from 0.34 writes into the file: PEFT's
    /// config of each of a pipeline's models, its keys behind the model's name.
    fn by_diffusers(&self, group: &Group, rank: Option<u64>) -> (Option<f64>, Option<f64>) {
        let text = self.adapter.files.metadata("lora_adapter_metadata").and_then(|value| value.as_str());
        let said = text.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let model = group.path.split('.').next().unwrap_or("");
        let field = |key: &str| {
            let said = said.as_ref()?;
            said.get(format!("{model}.{key}")).or_else(|| said.get(key))
        };
        let Some(alpha) = field("lora_alpha").and_then(serde_json::Value::as_f64) else {
            return (None, Some(1.0));
        };
        let is_root = field("use_rslora").and_then(serde_json::Value::as_bool) == Some(true);
        let rank = rank.filter(|&rank| rank > 0).map(|rank| rank as f64);
        if is_root {
            return (None, rank.map(|rank| alpha / rank.sqrt()));
        }
        (Some(alpha), rank.map(|rank| alpha / rank))
    }
}
