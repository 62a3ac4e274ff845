//! Bits: one bit a node, a layer or a tensor. An index beyond the length reads as unset.

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    pub(super) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len: len as u32 }
    }

    pub(super) fn get(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, index: u32) {
        if index < self.len {
            self.words[index as usize / 64] |= 1 << (index % 64);
        }
    }

    pub(super) fn clear(&mut self, index: u32) {
        if index < self.len {
            self.words[index as usize / 64] &= !(1 << (index % 64));
        }
    }

    pub(super) fn put(&mut self, index: u32, value: bool) {
        if value {
            self.set(index);
        } else {
            self.clear(index);
        }
    }

    pub(super) fn clear_all(&mut self) {
        self.words.fill(0);
    }

    pub(super) fn set_all(&mut self) {
        self.words.fill(u64::MAX);
        if let Some(last) = self.words.last_mut()
            && !self.len.is_multiple_of(64)
        {
            *last = (1 << (self.len % 64)) - 1;
        }
    }

    /// Returns true if `count` bits from `a` are those from `b`.
    pub(super) fn alike(&self, a: u32, b: u32, count: u32) -> bool {
        let mut done = 0;
        while done < count {
            let step = (count - done).min(64);
            let mask = if step == 64 { u64::MAX } else { (1 << step) - 1 };
            if (self.window(a + done) ^ self.window(b + done)) & mask != 0 {
                return false;
            }
            done += step;
        }
        true
    }

    /// Returns the 64 bits from `index` on.
    fn window(&self, index: u32) -> u64 {
        let (word, shift) = (index as usize / 64, index % 64);
        let low = self.words.get(word).copied().unwrap_or(0) >> shift;
        if shift == 0 {
            return low;
        }
        low | self.words.get(word + 1).copied().unwrap_or(0) << (64 - shift)
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn ranges_compare_across_words() {
        let mut bits = Bits::new(300);
        for index in [3, 70, 103, 170] {
            bits.set(index);
        }
        assert!(bits.alike(0, 100, 100));
        bits.set(199);
        assert!(!bits.alike(0, 100, 100));
        assert!(bits.alike(0, 100, 99));
        bits.set_all();
        assert!(bits.get(299));
        assert!(!bits.get(300));
    }
}
