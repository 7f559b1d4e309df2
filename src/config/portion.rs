//! A part of something whose size is known later: octets, a share in percent, or whichever of both is less.

/// The part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// At most this many octets.
    pub octets: u64,
    /// At most this share of the whole, percent.
    pub percent: u64,
}

impl Portion {
    /// Everything; each bound that is given makes it less.
    pub const WHOLE: Self = Self { octets: u64::MAX, percent: 100 };

    /// The part of `whole` octets.
    pub fn of(&self, whole: u64) -> u64 {
        // Divided first: the whole may be as large as the type.
        let share = if self.percent == 100 { whole } else { whole / 100 * self.percent };
        self.octets.min(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_bound_counts() {
        let portion = Portion { octets: 1000, percent: 50 };
        assert_eq!((portion.of(10_000), portion.of(1_000)), (1000, 500));
        assert_eq!(Portion::WHOLE.of(u64::MAX), u64::MAX);
    }
}
