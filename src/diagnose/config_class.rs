//! Config classes: the name that transformers has for the config of each quantization method, as its messages print it.
//! Source: transformers 5.23, `utils/quantization_config.py`.

/// Methods and their classes.
const CLASSES: [(&str, &str); 18] = [
    ("gptq", "GPTQConfig"),
    ("awq", "AwqConfig"),
    ("fp8", "FineGrainedFP8Config"),
    ("fbgemm_fp8", "FbgemmFp8Config"),
    ("compressed-tensors", "CompressedTensorsConfig"),
    ("mxfp4", "Mxfp4Config"),
    ("bitsandbytes", "BitsAndBytesConfig"),
    ("hqq", "HqqConfig"),
    ("aqlm", "AqlmConfig"),
    ("eetq", "EetqConfig"),
    ("quanto", "QuantoConfig"),
    ("torchao", "TorchAoConfig"),
    ("bitnet", "BitNetQuantConfig"),
    ("vptq", "VptqConfig"),
    ("spqr", "SpQRConfig"),
    ("higgs", "HiggsConfig"),
    ("quark", "QuarkConfig"),
    ("auto-round", "AutoRoundConfig"),
];

/// Other words for a method: of configs, and of messages.
const ALIASES: [(&str, &str); 4] = [
    ("bits_and_bytes", "bitsandbytes"),
    ("bnb", "bitsandbytes"),
    ("auto_round", "auto-round"),
    ("intel/auto-round", "auto-round"),
];

/// Returns the class of a method's config.
#[must_use]
pub fn class_of(method: &str) -> Option<&'static str> {
    let method = plain(method);
    CLASSES.iter().find(|(known, _)| *known == method).map(|(_, class)| *class)
}

/// Returns the method that a config class, or a word of a message, stands for.
#[must_use]
pub fn method_of(word: &str) -> Option<&'static str> {
    let word = word.trim_matches(['\'', '<', '>']);
    let word = word.rsplit('.').next().unwrap_or(word).to_ascii_lowercase();
    let name = plain(&word);
    let is_it = |(method, class): &&(&str, &str)| *method == name || class.to_ascii_lowercase() == name;
    CLASSES.iter().find(is_it).map(|(method, _)| *method)
}

/// Returns the usual word for a method.
fn plain(method: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == method).map_or(method, |(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_methods_lead_to_each_other() {
        for (method, class) in CLASSES {
            assert_eq!(
                (class_of(method), method_of(class), method_of(method)),
                (Some(class), Some(method), Some(method))
            );
        }
        assert_eq!(method_of("<QuantizationMethod.GPTQ>"), Some("gptq"));
        assert_eq!(class_of("intel/auto-round"), Some("AutoRoundConfig"));
        assert_eq!((class_of("frobnicate"), method_of("TrainerConfig")), (None, None));
    }
}
