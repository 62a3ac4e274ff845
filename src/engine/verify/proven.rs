//! What a proof has shown, in numbers and in words.

use super::Quality;
use crate::units;

/// What was proven.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proven {
    /// Files whose structure was checked.
    pub files: usize,
    /// Tensors compared with their source, as it is or with its rows in the order that was asked for.
    pub copied: usize,
    /// Tensors that were copied by the kernel and not compared, others of the same file were.
    pub unsampled: usize,
    /// Files of tensors that went over as they are, and were compared.
    pub whole: usize,
    /// True if only parts of those files were compared.
    pub is_sampled: bool,
    /// Layers decoded again and compared.
    pub decoded: usize,
    /// Layers that were decoded in all.
    pub decoded_of: usize,
    /// Merged weights computed again and compared.
    pub merged: usize,
    /// Merged weights in all.
    pub merged_of: usize,
    /// Layers that were packed, among those that were compared.
    pub packed: usize,
    /// Layers that were packed in all.
    pub packed_of: usize,
    /// Rows of merged weights computed another way, in f64.
    pub rows: u64,
    /// How far they were from what was written at most, in units of the last place.
    pub ulps: f64,
    /// What packing took of each layer, by the number of its pack.
    pub quality: Vec<(u32, Quality)>,
}

impl std::ops::AddAssign for Proven {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.copied += other.copied;
        self.unsampled += other.unsampled;
        self.whole += other.whole;
        self.is_sampled |= other.is_sampled;
        self.decoded += other.decoded;
        self.decoded_of += other.decoded_of;
        self.merged += other.merged;
        self.merged_of += other.merged_of;
        self.packed += other.packed;
        self.packed_of += other.packed_of;
        self.rows += other.rows;
        self.ulps = self.ulps.max(other.ulps);
        self.quality.extend(other.quality);
    }
}

impl Proven {
    /// Returns the line that says it: `2 files, 12 tensors as in the source, 8 of 196 layers decoded again`.
    #[must_use]
    pub fn words(&self) -> String {
        let files = units::plural(self.files, "file");
        let mut words = format!("{files} checked");
        if self.unsampled > 0 {
            let all = units::plural(self.copied + self.unsampled, "tensor");
            words = format!("{words}, {} of {all} compared with the source", self.copied);
        } else if self.copied > 0 {
            words = format!("{words}, {} as in the source", units::plural(self.copied, "tensor"));
        }
        if self.whole > 0 {
            let how = if self.is_sampled { "compared in parts" } else { "compared byte by byte" };
            words = format!("{words}, {} unchanged and {how}", units::plural(self.whole, "file"));
        }
        if self.decoded_of > 0 {
            words = format!("{words}, {} of {} layers decoded again", self.decoded, self.decoded_of);
        }
        if self.merged_of > 0 {
            let rows = units::plural(self.rows as usize, "row");
            words = format!(
                "{words}, {} of {} merged weights computed again, {rows} of them in f64 too: at most {:.2} ulp away",
                self.merged, self.merged_of, self.ulps
            );
        }
        if self.packed_of > 0 {
            words = format!("{words}, {} of {} packed layers made again", self.packed, self.packed_of);
        }
        words
    }
}
