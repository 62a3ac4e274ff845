//! Source: the values of a layer or a tensor, read in pieces.

use std::ops::Range;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::side::FileSide;
use crate::engine::cpu::Cpu;
use crate::engine::{Device as _, Resident, Scratch, Work};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::quant::change::Change;
use crate::quant::decode::{Beside, Decoding};
use crate::quant::dense;
use crate::tensor::{Dtype, elements, values};
use crate::units;

/// Whose values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// A layer's, decoded.
    Layer(u32),
    /// A tensor's, as they are stored.
    Tensor(u32),
}

/// Which values of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Part {
    /// The weights: decoded where they are packed.
    #[default]
    Weights,
    /// The code of each weight, as it is stored.
    Codes,
    /// What codes are multiplied by: each once.
    Scales,
    /// What is taken from codes before: each once.
    ZeroPoints,
    /// What is added to the product of code and scale: each once.
    Terms,
}

impl Part {
    /// All of them, in the order of the screen.
    pub const ALL: [Self; 5] = [Self::Weights, Self::Codes, Self::Scales, Self::ZeroPoints, Self::Terms];

    /// Returns what it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Codes => "codes",
            Self::Scales => "scales",
            Self::ZeroPoints => "zero points",
            Self::Terms => "terms",
        }
    }

    fn beside(self) -> Option<Beside> {
        match self {
            Self::Weights | Self::Codes => None,
            Self::Scales => Some(Beside::Scales),
            Self::ZeroPoints => Some(Beside::ZeroPoints),
            Self::Terms => Some(Beside::Terms),
        }
    }
}

/// Values of a piece: enough to be worth a read, few enough to stay in a cache.
const PIECE_VALUES: u64 = 512 << 10;

/// The values of a layer or a tensor.
pub struct Source<'a> {
    data: FileSide<'a>,
    /// What it is called.
    pub name: String,
    /// The shape of the values; a row is the last dimension.
    pub shape: Vec<u64>,
    /// The dtype of the values.
    pub dtype: Dtype,
    /// The tensor that is read: of a layer that with the codes.
    pub tensor: u32,
    /// How a layer is decoded; `None` for plain values.
    pub decoding: Option<Decoding>,
    /// All bytes of the tensor, where every piece needs all of them.
    whole: Option<Vec<u8>>,
    /// True if codes are read, not what they are decoded to.
    is_codes: bool,
}

/// Memory that a reader keeps from piece to piece.
#[derive(Default)]
pub struct Buffers {
    codes: Vec<u8>,
    values: Vec<u8>,
    numbers: Vec<u16>,
    scratch: Scratch,
}

impl<'a> Source<'a> {
    /// Returns a part of the values of a layer, or the values of a tensor, of a checkpoint that has been examined.
    ///
    /// # Errors
    /// They cannot be decoded, have no plain values or no such part, or do not fit their shape; in words.
    pub fn open(checkpoint: &'a Checkpoint, of: Of, part: Part) -> Result<Self> {
        let source = match of {
            Of::Layer(layer) => Self::layer(checkpoint, layer)?,
            Of::Tensor(tensor) => Self::tensor(checkpoint, tensor)?,
        };
        if part == Part::Weights { Ok(source) } else { source.part(checkpoint, part) }
    }

    /// Returns a part of what the values are made of.
    fn part(self, checkpoint: &Checkpoint, part: Part) -> Result<Self> {
        let none = |source: &Self, why: &str| Err(refused(checkpoint, &source.name, why));
        let Some(decoding) = &self.decoding else { return none(&self, "its values are not packed") };
        let Some(beside) = part.beside() else {
            return match decoding.rows.code_bits() {
                Some(0..=8) => Ok(Self { is_codes: true, dtype: Dtype::U8, ..self }),
                Some(_) => Ok(Self { is_codes: true, dtype: Dtype::U16, ..self }),
                None => {
                    none(&self, "its weights have no codes of their own, or they are not given one by one")
                }
            };
        };
        let Some(values) = decoding.rows.beside(beside) else {
            return none(&self, &format!("it has no {} beside its codes", part.name()));
        };
        let whole = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape = vec![values.len() as u64];
        Ok(Self { shape, dtype: Dtype::F32, decoding: None, whole: Some(whole), ..self })
    }

    /// Returns the same values changed: their rows in another order, or one less, or turned.
    ///
    /// # Errors
    /// They are not read as f32 without loss, or their shape does not fit; in words.
    pub fn changed(mut self, checkpoint: &Checkpoint, change: Change) -> Result<Self> {
        if change.is_none() {
            return Ok(self);
        }
        let all = checkpoint.files.tensors[self.tensor as usize].bytes;
        let decoding = match self.decoding.take() {
            Some(decoding) => Ok(decoding),
            None => dense::plain(self.tensor, self.dtype, &self.shape, all),
        };
        let decoding = decoding.and_then(|decoding| change.over(decoding));
        let decoding = decoding.map_err(|why| refused(checkpoint, &self.name, &why))?;
        if change == Change::MinusOne {
            // The difference has bits that a dtype of 16 bits has no room for.
            self.dtype = Dtype::F32;
        }
        self.shape.clone_from(&decoding.shape);
        let is_strewn = is_strewn(&decoding, all) && self.whole.is_none();
        self.decoding = Some(decoding);
        self.read_whole(checkpoint, is_strewn)?;
        Ok(self)
    }

    /// Returns the parts that there are.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let has = |part: &Part| match (&self.decoding, part, part.beside()) {
            (_, Part::Weights, _) => true,
            (None, ..) => false,
            (Some(decoding), _, None) => decoding.rows.code_bits().is_some(),
            (Some(decoding), _, Some(beside)) => decoding.rows.beside(beside).is_some(),
        };
        Part::ALL.into_iter().filter(has).collect()
    }

    fn layer(checkpoint: &'a Checkpoint, layer: u32) -> Result<Self> {
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let (name, spec) = (layers.name(&files.names, layer), layers.spec(layer));
        let format = spec.format.get();
        if !spec.is_quantized() && format.name() == "dense" {
            let tensors = layers.tensors(layer);
            let bytes = |tensor: &&u32| files.tensors[**tensor as usize].bytes;
            let shape = |tensor: &&u32| files.shape(&files.tensors[**tensor as usize]) == spec.shape;
            let main = tensors.iter().filter(shape).max_by_key(bytes).or(tensors.first());
            let main = *main.ok_or_else(|| refused(checkpoint, &name, "it has no tensor"))?;
            return Ok(Self { name, ..Self::tensor(checkpoint, main)? });
        }
        let data = FileSide::whole(files);
        let decoding = layers.with_parts(files, layer, &data, |parts| {
            if spec.broken.is_empty() { format.decode(parts, spec) } else { Err(spec.broken.join(", ")) }
        });
        let decoding = decoding.map_err(|why| refused(checkpoint, &name, &why))?;
        let tensor = decoding.codes;
        let is_strewn = is_strewn(&decoding, files.tensors[tensor as usize].bytes);
        let mut source = Self {
            data,
            shape: decoding.shape.clone(),
            dtype: decoding.dtype.unwrap_or_else(|| dtype_of(checkpoint)),
            tensor,
            decoding: Some(decoding),
            whole: None,
            is_codes: false,
            name,
        };
        source.read_whole(checkpoint, is_strewn)?;
        Ok(source)
    }

    fn tensor(checkpoint: &'a Checkpoint, tensor: u32) -> Result<Self> {
        let files = &checkpoint.files;
        let name = files.tensor_name(tensor);
        let record = &files.tensors[tensor as usize];
        let (dtype, shape) = (record.dtype, files.shape(record).to_vec());
        if !values::is_readable(dtype) {
            return Err(refused(checkpoint, &name, &format!("{dtype} has no plain values")));
        }
        let wanted = elements(&shape).and_then(|count| dtype.bytes_of(count));
        if wanted != Some(record.bytes) {
            let needs = wanted.map_or_else(|| "more than there can be".into(), |bytes| bytes.to_string());
            let why =
                format!("it has {} bytes, its shape {} needs {needs}", record.bytes, units::shape(&shape));
            return Err(refused(checkpoint, &name, &why));
        }
        let data = FileSide::whole(files);
        let mut source =
            Self { data, name, shape, dtype, tensor, decoding: None, whole: None, is_codes: false };
        source.read_whole(checkpoint, files.views.contains_key(&tensor))?;
        Ok(source)
    }

    /// Reads all bytes of the tensor if every piece would.
    fn read_whole(&mut self, checkpoint: &Checkpoint, is_needed: bool) -> Result<()> {
        if is_needed {
            let mut bytes = vec![0; checkpoint.files.tensors[self.tensor as usize].bytes as usize];
            self.data
                .fill(self.tensor, 0, &mut bytes)
                .map_err(|why| refused(checkpoint, &self.name, &why))?;
            self.whole = Some(bytes);
        }
        Ok(())
    }

    /// Returns how many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        elements(&self.shape).unwrap_or(0)
    }

    /// Returns the length of a row, at least 1.
    #[must_use]
    pub fn row_len(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// Returns how many rows there are.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.count() / self.row_len()
    }

    /// Returns how many values a piece has: whole rows, unless a row of plain values is longer.
    #[must_use]
    pub fn piece(&self) -> u64 {
        let row = self.row_len();
        match &self.decoding {
            None if row > PIECE_VALUES => PIECE_VALUES,
            None => PIECE_VALUES / row * row,
            Some(decoding) => {
                let at_once = decoding.rows.rows_at_once().max(1);
                (PIECE_VALUES / row).next_multiple_of(at_once).max(at_once) * row
            }
        }
    }

    /// Returns of how many values what is read may be a multiple: rows that are decoded together, or one value.
    #[must_use]
    pub fn grain(&self) -> u64 {
        let rows = self.decoding.as_ref().map(|decoding| decoding.rows.rows_at_once().max(1));
        rows.map_or(1, |rows| rows * self.row_len())
    }

    /// Returns the bytes of values in `dtype`: of a layer that is decoded whole rows.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read<'b>(&self, range: Range<u64>, buffers: &'b mut Buffers) -> Result<&'b [u8]> {
        let count = range.end - range.start;
        let Some(decoding) = &self.decoding else {
            let bytes = |values: u64| self.dtype.bytes_of(values).unwrap_or(0);
            buffers.values.resize(bytes(count) as usize, 0);
            self.fill(bytes(range.start), &mut buffers.values)?;
            return Ok(&buffers.values);
        };
        let rows = range.start / self.row_len()..range.end / self.row_len();
        let needed = decoding.rows.codes(rows.clone());
        let codes: &[u8] = if let Some(whole) = &self.whole {
            &whole[needed.start as usize..needed.end as usize]
        } else {
            buffers.codes.resize((needed.end - needed.start) as usize, 0);
            self.fill(needed.start, &mut buffers.codes)?;
            &buffers.codes
        };
        buffers.values.resize(self.dtype.bytes_of(count).unwrap_or(0) as usize, 0);
        if self.is_codes {
            buffers.numbers.resize(count as usize, 0);
            decoding.rows.stored_codes(rows, codes, &mut buffers.numbers);
            if self.dtype == Dtype::U8 {
                let numbers = buffers.values.iter_mut().zip(&buffers.numbers);
                numbers.for_each(|(out, number)| *out = *number as u8);
            } else {
                let numbers = buffers.values.as_chunks_mut().0.iter_mut().zip(&buffers.numbers);
                numbers.for_each(|(out, number)| *out = number.to_le_bytes());
            }
            return Ok(&buffers.values);
        }
        let work = Work {
            decoding,
            rows,
            codes,
            is_whole: false,
            codes_start: needed.start,
            native: self.dtype,
            dtype: self.dtype,
            resident: &Resident::default(),
        };
        Cpu.decode(&work, &mut buffers.scratch, &mut buffers.values)?;
        Ok(&buffers.values)
    }

    fn fill(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        if let Some(whole) = &self.whole {
            let from = offset as usize;
            let bytes = whole.get(from..).and_then(|rest| rest.get(..out.len()));
            out.copy_from_slice(bytes.ok_or_else(|| Error::input("a piece lies beyond its tensor"))?);
            return Ok(());
        }
        let failed = |why: String| Error::input(format!("{}: {why}", escape(&self.name)));
        self.data.fill(self.tensor, offset, out).map_err(failed)
    }
}

/// Returns true if a row needs all bytes of the codes, and there are more rows.
fn is_strewn(decoding: &Decoding, all: u64) -> bool {
    decoding.row_count() > 1 && decoding.rows.codes(0..1) == (0..all)
}

/// Returns the dtype of values whose format does not record one: the model's, and F32 for a GGUF file.
fn dtype_of(checkpoint: &Checkpoint) -> Dtype {
    let files = &checkpoint.files;
    if files.container.name() == "gguf" {
        return Dtype::F32;
    }
    let is_float = |dtype: &Dtype| matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32);
    files.configs.dtype().filter(is_float).unwrap_or(Dtype::BF16)
}

fn refused(checkpoint: &Checkpoint, name: &str, why: &str) -> Error {
    let error = Error::input(format!("{}: {why}", escape(name)));
    Error { tensor: Some(name.to_owned()), ..error.at(&checkpoint.files.path) }
}
