//! What a proof has shown, in numbers and in words.

use crate::units;

/// What was proven.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// Merged weights that were packed again, among those that were compared.
    pub packed: usize,
    /// Rows of merged weights computed another way, in f64.
    pub rows: u64,
    /// How far they were from what was written at most, in units of the last place.
    pub ulps: f64,
    /// Of rows that were packed again: sum of the squares of what is lost, and of what they should be.
    pub lost: [f64; 2],
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
        self.rows += other.rows;
        self.ulps = self.ulps.max(other.ulps);
        self.lost = std::array::from_fn(|at| self.lost[at] + other.lost[at]);
    }
}

impl Proven {
    /// Returns what packing again lost, relative to the values: the square root of the quotient of the sums.
    #[must_use]
    pub fn relative_loss(&self) -> f64 {
        let [lost, all] = self.lost;
        if all > 0.0 { (lost / all).sqrt() } else { 0.0 }
    }

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
        if self.packed > 0 {
            let percent = 100.0 * self.relative_loss();
            words = format!("{words}; packed again they are {percent:.2} % (relative L2) from the exact sum");
        }
        words
    }
}
