//! The names a pickle may use, and what each stands for here.
//!
//! A pickle builds objects by naming Python globals. Nothing is ever imported or called: a name either
//! stands in these tables, and then means one of the few things that a state dict is made of, or it is
//! refused. Classes of `KNOWN` are met in real checkpoints; they become an inert object (their parts are
//! looked through for tensors) and the reader says what they are.
//! Source: PyTorch `torch/_weights_only_unpickler.py` (`_get_allowed_globals`), `torch/_utils.py`.

use crate::tensor::Dtype;

/// An element type as torch stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) dtype: Dtype,
    /// Bytes of one torch element.
    pub(super) bytes: u8,
}

/// How the arguments of a rebuild function lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuild {
    /// `(storage, offset, size, stride[, requires_grad, hooks[, metadata]])`.
    Tensor,
    /// `(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])`.
    TensorWithDtype,
    /// `(storage, offset, size, stride, quantizer, …)`: integers with torch's own scales.
    Quantized,
    /// `(tensor, …)`: a parameter around a tensor.
    Parameter,
    /// `(function, class, arguments, state)`: a tensor with attributes, or a subclass.
    FromType,
}

/// What an allowed name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// A dict that keeps its order, or one with default values.
    Dict,
    /// A storage class with its element type.
    Storage(Element),
    /// `torch.storage.UntypedStorage`: bytes.
    Untyped,
    /// `torch.float32` and its like.
    Element(Element),
    /// A function that makes a tensor.
    Rebuild(Rebuild),
    /// `torch.Size`.
    Size,
    /// A harmless value that is of no use here (`torch.device`, layouts, sets, bytes).
    Inert,
    /// A recognized class that is not built, by its number in the heap.
    Known(u32),
}

/// What a name turned out to be.
pub(super) enum Lookup {
    /// It stands in the allow-list.
    Allowed(Global),
    /// It is met in real files and not built; the text says what it is.
    Known(&'static str),
    /// It stands in no table.
    Refused,
}

/// Storage classes and dtypes of torch with the dtype they hold. An empty spelling: there is no such
/// name. Dtypes that no other format has keep torch's spelling.
const ELEMENTS: &[(&str, &[&str], Known, u8)] = &[
    ("DoubleStorage", &["float64", "double"], Known::Is(Dtype::F64), 8),
    ("FloatStorage", &["float32", "float"], Known::Is(Dtype::F32), 4),
    ("HalfStorage", &["float16", "half"], Known::Is(Dtype::F16), 2),
    ("BFloat16Storage", &["bfloat16"], Known::Is(Dtype::BF16), 2),
    ("LongStorage", &["int64", "long"], Known::Is(Dtype::I64), 8),
    ("IntStorage", &["int32", "int"], Known::Is(Dtype::I32), 4),
    ("ShortStorage", &["int16", "short"], Known::Is(Dtype::I16), 2),
    ("CharStorage", &["int8"], Known::Is(Dtype::I8), 1),
    ("ByteStorage", &["uint8"], Known::Is(Dtype::U8), 1),
    ("BoolStorage", &["bool"], Known::Is(Dtype::Bool), 1),
    ("ComplexFloatStorage", &["complex64", "cfloat"], Known::Is(Dtype::C64), 8),
    ("ComplexDoubleStorage", &["complex128", "cdouble"], Known::Is(Dtype::C128), 16),
    ("", &["uint16"], Known::Is(Dtype::U16), 2),
    ("", &["uint32"], Known::Is(Dtype::U32), 4),
    ("", &["uint64"], Known::Is(Dtype::U64), 8),
    ("", &["float8_e4m3fn"], Known::Is(Dtype::F8E4M3), 1),
    ("", &["float8_e5m2"], Known::Is(Dtype::F8E5M2), 1),
    ("", &["float8_e4m3fnuz"], Known::Is(Dtype::F8E4M3Fnuz), 1),
    ("", &["float8_e5m2fnuz"], Known::Is(Dtype::F8E5M2Fnuz), 1),
    ("", &["float8_e8m0fnu"], Known::Is(Dtype::F8E8M0), 1),
    ("", &["float4_e2m1fn_x2"], Known::Spelled("float4_e2m1fn_x2"), 1),
    ("ComplexHalfStorage", &["complex32", "chalf"], Known::Spelled("complex32"), 4),
    ("QInt8Storage", &["qint8"], Known::Spelled("qint8"), 1),
    ("QUInt8Storage", &["quint8"], Known::Spelled("quint8"), 1),
    ("QInt32Storage", &["qint32"], Known::Spelled("qint32"), 4),
    ("QUInt4x2Storage", &["quint4x2"], Known::Spelled("quint4x2"), 1),
    ("QUInt2x4Storage", &["quint2x4"], Known::Spelled("quint2x4"), 1),
];

/// A dtype that the program knows, or torch's word for one that it does not.
#[derive(Clone, Copy)]
enum Known {
    Is(Dtype),
    Spelled(&'static str),
}

impl Known {
    fn element(self, bytes: u8) -> Element {
        let dtype = match self {
            Self::Is(dtype) => dtype,
            Self::Spelled(name) => Dtype::parse(name),
        };
        Element { dtype, bytes }
    }
}

/// The other allowed names.
const ALLOWED: &[(&str, &str, Global)] = &[
    ("collections", "OrderedDict", Global::Dict),
    ("collections", "defaultdict", Global::Dict),
    ("collections", "Counter", Global::Inert),
    ("torch._utils", "_rebuild_tensor", Global::Rebuild(Rebuild::Tensor)),
    ("torch._utils", "_rebuild_tensor_v2", Global::Rebuild(Rebuild::Tensor)),
    ("torch._utils", "_rebuild_tensor_v3", Global::Rebuild(Rebuild::TensorWithDtype)),
    ("torch._utils", "_rebuild_qtensor", Global::Rebuild(Rebuild::Quantized)),
    ("torch._utils", "_rebuild_parameter", Global::Rebuild(Rebuild::Parameter)),
    ("torch._utils", "_rebuild_parameter_with_state", Global::Rebuild(Rebuild::Parameter)),
    ("torch._tensor", "_rebuild_from_type_v2", Global::Rebuild(Rebuild::FromType)),
    ("torch", "Size", Global::Size),
    ("torch", "device", Global::Inert),
    ("torch", "Tensor", Global::Inert),
    ("torch.serialization", "_get_layout", Global::Inert),
    ("torch.nn.parameter", "Parameter", Global::Rebuild(Rebuild::Parameter)),
    ("torch", "per_tensor_affine", Global::Inert),
    ("torch", "per_tensor_symmetric", Global::Inert),
    ("torch", "per_channel_affine", Global::Inert),
    ("torch", "per_channel_symmetric", Global::Inert),
    ("torch", "per_channel_affine_float_qparams", Global::Inert),
    ("torch.storage", "UntypedStorage", Global::Untyped),
    ("torch", "UntypedStorage", Global::Untyped),
    ("torch.storage", "TypedStorage", Global::Inert),
    ("_codecs", "encode", Global::Inert),
    ("builtins", "bytearray", Global::Inert),
    ("builtins", "set", Global::Inert),
    ("builtins", "frozenset", Global::Inert),
    ("builtins", "complex", Global::Inert),
    // Plain types that stand in a pickle as the default of a defaultdict.
    ("builtins", "dict", Global::Inert),
    ("builtins", "list", Global::Inert),
    ("builtins", "int", Global::Inert),
    ("builtins", "float", Global::Inert),
];

/// Classes of real checkpoints that are explained and not built: module (a trailing dot: and everything
/// below it), name (empty: any), what it is. The first row that fits counts.
const KNOWN: &[(&str, &str, &str)] = &[
    ("argparse", "Namespace", "the command line of a training script"),
    ("types", "SimpleNamespace", "settings of a training script"),
    ("numpy.", "", "a numpy value"),
    ("numpy", "", "a numpy value"),
    ("transformers.", "", "settings or state of a transformers Trainer, not weights"),
    ("trl.", "", "settings of a trl trainer, not weights"),
    ("peft.", "", "settings of a PEFT adapter, not weights"),
    ("accelerate.", "", "settings of accelerate, not weights"),
    ("torchao.", "", "a torchao tensor subclass: its parts are listed, its packing is not undone"),
    ("bitsandbytes.", "", "a bitsandbytes parameter: its packed bytes are listed, its state is not read"),
    ("torch.nn.modules.", "", "a whole module saved instead of its state dict"),
    ("torch.nn.parallel.", "", "a whole module saved instead of its state dict"),
    ("torch._utils", "_rebuild_wrapper_subclass", "a tensor subclass; only its own library can build it"),
    ("torch._utils", "_rebuild_sparse_tensor", "a sparse tensor; its indices and values are listed"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage", "a tensor on the meta device, which has no data"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy", "a tensor saved through numpy"),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", "a tensor of another device"),
    ("torch.distributed.", "", "a tensor spread over several processes"),
    ("__torch__", "", "a TorchScript class"),
    ("__torch__.", "", "a TorchScript class"),
    ("torch.jit.", "", "a TorchScript value"),
    ("omegaconf.", "", "settings of a training script"),
    ("pathlib", "", "a file path"),
    ("datetime", "", "a date"),
    ("enum", "", "an enumeration"),
];

/// Names that are never recognized, whatever module claims them: they read files, import, or load a
/// pickle inside the pickle.
const NEVER: &[(&str, &str)] = &[
    ("numpy", "load"),
    ("numpy", "fromfile"),
    ("numpy", "memmap"),
    ("numpy.testing.", ""),
    ("numpy.f2py.", ""),
    ("numpy.distutils.", ""),
];

/// Returns what `module.name` stands for.
pub(super) fn lookup(module: &str, name: &str) -> Lookup {
    // Protocol 2 pickles carry Python 2 module names.
    let module = if module == "__builtin__" { "builtins" } else { module };
    if let Some(&(.., global)) = ALLOWED.iter().find(|(m, n, _)| *m == module && *n == name) {
        return Lookup::Allowed(global);
    }
    if let Some(global) = element(module, name) {
        return Lookup::Allowed(global);
    }
    let fits = |m: &str, n: &str| {
        let in_module = if m.ends_with('.') { module.starts_with(m) } else { module == m };
        in_module && (n.is_empty() || n == name)
    };
    // A dotted name walks through attributes (`Namespace.__init__.__globals__`): never a class's own.
    if name.contains('.') || NEVER.iter().any(|(m, n)| fits(m, n)) {
        return Lookup::Refused;
    }
    KNOWN.iter().find(|(m, n, _)| fits(m, n)).map_or(Lookup::Refused, |&(.., what)| Lookup::Known(what))
}

fn element(module: &str, name: &str) -> Option<Global> {
    if name.is_empty() || (module != "torch" && module != "torch.cuda") {
        return None;
    }
    ELEMENTS.iter().find_map(|&(storage, dtypes, known, bytes)| {
        if storage == name {
            Some(Global::Storage(known.element(bytes)))
        } else if module == "torch" && dtypes.contains(&name) {
            Some(Global::Element(known.element(bytes)))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_run_code_are_in_no_table() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "exec"),
            ("builtins", "getattr"),
            ("__builtin__", "getattr"),
            ("builtins", "__import__"),
            ("torch.storage", "_load_from_bytes"),
            ("torch", "load"),
            ("torch.hub", "load"),
            ("torch.serialization", "load"),
            ("numpy.testing._private.utils", "runstring"),
            ("numpy", "load"),
            ("subprocess", "Popen"),
            ("argparse", "Namespace.__init__"),
            ("functools", "partial"),
        ] {
            assert!(matches!(lookup(module, name), Lookup::Refused), "{module}.{name}");
        }
    }

    #[test]
    fn every_storage_and_dtype_has_its_element() {
        for &(storage, dtypes, _, bytes) in ELEMENTS {
            for dtype in dtypes {
                assert!(
                    matches!(lookup("torch", dtype), Lookup::Allowed(Global::Element(e)) if e.bytes == bytes)
                );
            }
            if !storage.is_empty() {
                assert!(matches!(lookup("torch.cuda", storage), Lookup::Allowed(Global::Storage(_))));
            }
        }
        assert!(matches!(lookup("torch", ""), Lookup::Refused));
    }
}
