//! Problem: what is wrong with a checkpoint that opened all the same.
//!
//! Containers, configs and layers report problems while a checkpoint is read; rules (`diagnose`) turn
//! problems and the opened checkpoint into findings. Every kind of problem is one row of `KINDS`: a
//! code, a kebab-case name for the bad pattern, a severity. Codes are stable: scripts match on them.
//! The letter says where the fault lies: `K` container, `S` shards and index, `C` config, `Q`
//! quantization, `A` adapter, `V` values, `N` names.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Loading fails, or silently gives wrong weights.
    Error,
    /// It works and something is odd.
    Warning,
    /// Nothing is wrong: something to know.
    Info,
}

impl Severity {
    /// Returns the word that `--json` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A kind of problem: one row of `KINDS`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ProblemKind {
    /// Stable code, `K002`.
    pub code: &'static str,
    /// Kebab-case name of the bad pattern, `lfs-pointer`.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
}

/// One fault that was seen, with the place and the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of fault.
    pub kind: &'static ProblemKind,
    /// One line: what was seen, the numbers; names the file when there is one.
    pub message: String,
    /// File name inside the checkpoint's folder.
    pub file: Option<String>,
    /// Full tensor (or layer) name, unescaped.
    pub tensor: Option<String>,
}

impl Problem {
    /// Returns a problem with no place yet.
    #[must_use]
    pub fn new(kind: &'static ProblemKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), file: None, tensor: None }
    }

    /// Returns the problem with its file set.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Returns the problem with its tensor set.
    #[must_use]
    pub fn tensor(mut self, tensor: impl Into<String>) -> Self {
        self.tensor = Some(tensor.into());
        self
    }

    /// Returns true if this is an error and not a warning.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.kind.severity == Severity::Error
    }
}

/// Declares the kinds as constants and collects them in `KINDS`.
macro_rules! kinds {
    ($($(#[$doc:meta])* $id:ident = $code:literal $name:literal $severity:ident;)*) => {
        /// The kinds, one constant each.
        pub mod kind {
            use super::{ProblemKind, Severity};
            $($(#[$doc])* pub static $id: ProblemKind =
                ProblemKind { code: $code, name: $name, severity: Severity::$severity };)*
        }
        /// Every kind of problem, in the order of the codes' groups.
        pub static KINDS: &[&ProblemKind] = &[$(&kind::$id),*];
    };
}

kinds! {
    /// The file has no byte.
    EMPTY_FILE = "K001" "empty-file" Error;
    /// A Git LFS pointer stands where the weights should be.
    LFS_POINTER = "K002" "lfs-pointer" Error;
    /// A web page (an error page of a download) stands where the weights should be.
    HTML_PAGE = "K003" "html-page" Error;
    /// The bytes are of no container we know.
    NOT_A_CONTAINER = "K004" "not-a-container" Error;
    /// The header's length field cannot be true (over the format's limit, or beyond the file).
    HEADER_LENGTH = "K005" "header-length" Error;
    /// The header is not what the format says (not JSON, not UTF-8, wrong structure).
    HEADER_DAMAGED = "K006" "header-damaged" Error;
    /// The file ends before the data that its header names.
    TRUNCATED = "K007" "truncated" Error;
    /// Bytes follow the last tensor.
    TRAILING_BYTES = "K008" "trailing-bytes" Error;
    /// Bytes between tensors belong to none.
    HOLE = "K009" "hole" Error;
    /// Two tensors claim the same bytes (in a format that forbids it).
    OVERLAP = "K010" "overlap" Error;
    /// Offsets are reversed or lie outside the file.
    BAD_OFFSETS = "K011" "bad-offsets" Error;
    /// Shape times dtype is not the byte count, or overflows.
    SHAPE_SIZE = "K012" "shape-size" Error;
    /// A dtype that the format does not define.
    UNKNOWN_DTYPE = "K013" "unknown-dtype" Error;
    /// The same tensor name twice in one file.
    DUPLICATE_NAME = "K014" "duplicate-name" Error;
    /// The strict reader of the format rejects this file; its own words follow.
    STRICT_READER = "K015" "strict-reader-rejects" Error;
    /// Format version that current readers refuse.
    BAD_VERSION = "K016" "bad-version" Error;
    /// A pickle names a global that could run code.
    UNSAFE_PICKLE = "K017" "unsafe-pickle" Error;
    /// A pickle or its zip container is damaged.
    PICKLE_DAMAGED = "K018" "pickle-damaged" Error;
    /// A count, size or depth over our bound; what lies beyond was not read.
    OVER_LIMIT = "K019" "over-limit" Error;
    /// Header text or metadata that is legal but odd (leading spaces, missing format key).
    ODD_HEADER = "K020" "odd-header" Warning;
    /// Weights are stored as a pickle: loading them elsewhere can run code.
    PICKLE_WEIGHTS = "K021" "pickle-weights" Warning;
    /// A metadata value is of the wrong type.
    BAD_METADATA = "K022" "bad-metadata" Error;
    /// A file could not be read at all (permission, I/O error).
    UNREADABLE_FILE = "K023" "unreadable-file" Error;
    /// Big-endian data, which readers here do not take.
    BIG_ENDIAN = "K024" "big-endian" Error;
    /// An element type or layout that is recognized and not supported (fork types, torchscript).
    UNSUPPORTED_CONTAINER = "K025" "unsupported-container" Error;
    /// The safetensors metadata do not say for which framework the file was saved.
    METADATA_FORMAT = "K026" "metadata-format" Warning;

    /// The index names a file that is not there.
    MISSING_SHARD = "S001" "missing-shard" Error;
    /// The index is not readable as JSON.
    INDEX_DAMAGED = "S002" "index-damaged" Error;
    /// The index names a path outside the folder.
    INDEX_ESCAPES = "S003" "index-path-escapes" Error;
    /// The index names a tensor that no shard holds.
    INDEX_ABSENT_TENSOR = "S004" "index-absent-tensor" Error;
    /// The index says another shard than the one that holds the tensor.
    INDEX_WRONG_SHARD = "S005" "index-wrong-shard" Error;
    /// A shard holds tensors that the index does not name: loaders skip them.
    INDEX_OMITS_TENSOR = "S006" "index-omits-tensor" Error;
    /// The same tensor in two shards.
    DUPLICATE_ACROSS_SHARDS = "S007" "duplicate-across-shards" Error;
    /// `total_size` is not the sum of the tensors.
    TOTAL_SIZE = "S008" "total-size" Warning;
    /// File names say `of N` and fewer than N are there, without an index.
    INCOMPLETE_SET = "S009" "incomplete-set" Error;
    /// Several shards, and no index that joins them.
    MISSING_INDEX = "S010" "missing-index" Error;
    /// Weight files in the folder that no index names and loaders ignore.
    STRAY_WEIGHTS = "S011" "stray-weights" Warning;

    /// `config.json` is absent.
    CONFIG_MISSING = "C001" "config-missing" Error;
    /// A config file is not readable as JSON.
    CONFIG_DAMAGED = "C002" "config-damaged" Error;
    /// A tensor's shape is not what the config says.
    CONFIG_SHAPE = "C003" "config-shape-mismatch" Error;
    /// The config's layer count is not that of the tensors.
    CONFIG_LAYERS = "C004" "config-layer-count" Warning;
    /// The config's dtype is not that of most weights.
    CONFIG_DTYPE = "C005" "config-dtype" Warning;
    /// A config value is of the wrong type.
    CONFIG_VALUE = "C006" "config-bad-value" Error;
    /// `lm_head` is stored although the config ties it to the embeddings.
    TIED_STORED = "C007" "tied-head-stored" Warning;
    /// A stored head differs from the embeddings that the config ties it to: loaders drop it.
    TIED_DIFFERS = "C009" "tied-head-differs" Error;
    /// No head is stored and the config does not tie it to the embeddings: loaders make one up.
    HEAD_MISSING = "C021" "head-missing" Error;
    /// Tensors that the architecture expects are not here.
    ARCHITECTURE_GAPS = "C008" "architecture-gaps" Warning;

    /// A layer lacks a part that its format needs.
    LAYER_INCOMPLETE = "Q020" "layer-incomplete" Error;
    /// A part of a layer has a shape or dtype that does not fit the others.
    LAYER_PART_SHAPE = "Q002" "layer-part-shape" Error;
    /// A quant state (bitsandbytes' JSON and the like) cannot be read or contradicts its tensors.
    QUANT_STATE = "Q015" "quant-state-damaged" Error;
    /// Scales (or other side values) are NaN or infinite.
    BAD_SCALES = "Q004" "bad-scales" Error;
    /// `g_idx` points outside the groups.
    GROUP_INDEX = "Q005" "group-index-out-of-range" Error;
    /// `g_idx` counts from the end.
    GROUP_INDEX_NEGATIVE = "Q006" "group-index-negative" Warning;
    /// The tensors are quantized and no config says how.
    QUANT_CONFIG_MISSING = "Q007" "quant-config-missing" Error;
    /// The config names one quantization method, the tensors are of another.
    QUANT_METHOD_DISAGREES = "Q008" "quant-method-disagrees" Error;
    /// The config names a method that no loader knows.
    QUANT_METHOD_UNKNOWN = "Q009" "quant-method-unknown" Error;
    /// Bits in the config and in the tensors differ.
    QUANT_BITS_DISAGREE = "Q010" "quant-bits-disagree" Error;
    /// Group or block size in the config and in the tensors differ.
    QUANT_GROUP_DISAGREES = "Q011" "quant-group-disagrees" Error;
    /// The config says quantized and no tensor is.
    QUANT_CONFIG_LEFT = "Q012" "quant-config-left-behind" Error;
    /// Another flag of the config (`sym`, `desc_act`, double quant, version) contradicts the tensors.
    QUANT_FLAG_DISAGREES = "Q013" "quant-flag-disagrees" Warning;
    /// Packed weights whose format is not known.
    UNKNOWN_QUANT = "Q021" "unknown-quantization" Warning;
    /// Two config files (or blocks) describe the quantization differently.
    QUANT_CONFIGS_DISAGREE = "Q003" "config-names-two-methods" Warning;
    /// Zero points of GPTQ v1 that wrap around: readers disagree on them.
    ZERO_POINT_WRAP = "Q016" "zero-point-wrap" Warning;
    /// The scales' dtype is not the config's dtype.
    SCALE_DTYPE = "Q017" "scale-dtype" Warning;
    /// GPTQ v1 or v2: the config says one, the zero points the other.
    GPTQ_VERSION = "Q018" "gptq-version-disagrees" Error;
    /// `quant_map` in the file is not the table that the kernels use.
    QUANT_MAP = "Q019" "quant-map-differs" Warning;

    /// `adapter_config.json` is absent or lacks its type.
    ADAPTER_CONFIG = "A005" "adapter-config" Error;
    /// Half a pair: A without B, or B without A.
    ADAPTER_HALF_PAIR = "A002" "adapter-half-pair" Error;
    /// Rank in the config and in the tensors differ.
    ADAPTER_RANK = "A003" "adapter-rank-disagrees" Error;
    /// The config's type and the keys disagree.
    ADAPTER_KIND = "A004" "adapter-kind-disagrees" Error;
    /// Keys that current PEFT would not match.
    ADAPTER_KEYS = "A001" "adapter-keys-miss-base" Error;
    /// Adapter weights are absent, empty or of size zero.
    ADAPTER_WEIGHTS = "A006" "adapter-weights" Error;
    /// The base that the adapter names is not on this disk.
    ADAPTER_BASE = "A007" "adapter-base-not-here" Warning;
    /// The config's targets name no module of the base: PEFT stops.
    ADAPTER_TARGETS = "A008" "adapter-targets-nothing" Error;
    /// Targets that name nothing, or layers that are targeted and have no adapter.
    ADAPTER_UNTOUCHED = "A009" "adapter-untouched-targets" Warning;
    /// Embeddings of another vocabulary than the base's.
    ADAPTER_VOCABULARY = "A010" "adapter-vocabulary" Warning;
    /// Deltas that are zero.
    ADAPTER_ZERO = "A011" "adapter-zero-delta" Warning;
    /// Keys that PEFT does not use.
    ADAPTER_UNUSED = "A012" "adapter-unused-keys" Warning;
    /// Fields of the config that PEFT does not know, or that cannot be read.
    ADAPTER_FIELD = "A013" "adapter-odd-field" Warning;
    /// The adapter was made for another base, by what the two say of themselves.
    ADAPTER_IDENTITY = "A014" "adapter-other-base" Warning;
    /// A change of head or embeddings that the base ties to one tensor.
    ADAPTER_TIED = "A015" "adapter-tied-embeddings" Warning;

    /// Values that are NaN.
    NAN_VALUES = "V001" "nan-values" Error;
    /// Values that are infinite.
    INF_VALUES = "V002" "inf-values" Warning;
    /// Data that could not be read.
    UNREAD_VALUES = "V003" "values-unread" Error;

    /// A tensor name with control or bidirectional characters.
    NAME_CONTROL = "N001" "name-control-characters" Warning;
    /// A tensor name longer than any loader makes.
    NAME_LONG = "N002" "name-long" Warning;
    /// A tensor name with more components than the tree shows; the rest is joined.
    NAME_DEEP = "N003" "name-deep" Warning;
}

#[cfg(test)]
mod tests {
    use super::KINDS;

    #[test]
    fn codes_and_names_are_unique() {
        for (i, a) in KINDS.iter().enumerate() {
            for b in &KINDS[i + 1..] {
                assert_ne!(a.code, b.code);
                assert_ne!(a.name, b.name);
            }
        }
    }
}
