//! Numbers without order.

/// A sequence without order and without surprises (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    /// Begins anywhere.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, from zero up to `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % end
    }
}
