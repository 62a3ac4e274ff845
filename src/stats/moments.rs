//! Moments: mean and deviation of values that come in blocks, in f64.

/// A sum whose rounding is carried along (Neumaier).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    /// Adds a number.
    pub(super) fn add(&mut self, number: f64) {
        let sum = self.sum + number;
        self.lost += if self.sum.abs() >= number.abs() {
            (self.sum - sum) + number
        } else {
            (number - sum) + self.sum
        };
        self.sum = sum;
    }

    /// Adds another sum.
    pub(super) fn join(&mut self, other: Self) {
        self.add(other.sum);
        self.add(other.lost);
    }

    /// Returns the sum.
    pub(super) fn value(self) -> f64 {
        self.sum + self.lost
    }
}

/// Moments of values seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    count: u64,
    sum: Sum,
    /// The sum of the squares of the differences from the mean.
    squares: f64,
}

impl Moments {
    /// Returns those of a block: how many values, their sum, the sum of the squares of their differences from its mean.
    pub(super) fn block(count: u64, sum: f64, squares: f64) -> Self {
        let mut moments = Self { count, squares, ..Self::default() };
        moments.sum.add(sum);
        moments
    }

    /// Adds those of other values.
    pub(super) fn add(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count > 0 {
            let far = other.mean() - self.mean();
            let (a, b) = (self.count as f64, other.count as f64);
            self.squares += far * far * (a / (a + b) * b);
        }
        self.squares += other.squares;
        self.count += other.count;
        self.sum.join(other.sum);
    }

    fn mean(self) -> f64 {
        self.sum.value() / self.count as f64
    }

    /// Returns mean and population standard deviation; `None` of nothing.
    pub(super) fn mean_and_std(self) -> Option<(f64, f64)> {
        (self.count > 0).then(|| (self.mean(), (self.squares / self.count as f64).sqrt()))
    }
}
