//! Statistics: what the values of layers and tensors are, and how far two of them lie apart.
//!
//! `Source` gives the values of a layer (decoded as its format's library decodes it) or of a tensor (as stored), in
//! pieces; `scan` reads all of them into a `Summary`. Everything is streamed: what is held does not grow with the tensor,
//! but for a number a row and a number a column.
//!
//! How the figures are exact: values of 16 bits and fewer are counted by their bit patterns, of which there are 65,536 at
//! most, and all figures but positions come of those counts. Wider ones are counted by their upper 16 bits; what lies
//! between (quantiles, bins) is counted in further passes over the bits below.

mod beside;
mod block;
pub mod compare;
pub mod counts;
pub mod distribution;
pub mod every;
pub mod histogram;
pub mod matched;
mod moments;
pub mod odd;
pub mod pairs;
mod pass;
mod quiet;
mod refine;
pub mod region;
pub mod report;
pub mod scan;
pub mod seek;
mod share_out;
mod sides;
pub mod source;
pub mod spread;
pub mod summary;

#[cfg(test)]
mod tests;

pub use compare::{Compared, compare};
pub use distribution::Distribution;
pub use matched::{Matched, NameMap, Pair};
pub use scan::{Options, Watch, scan};
pub use source::{Of, Part, Source};
pub use summary::{Extreme, Summary};
