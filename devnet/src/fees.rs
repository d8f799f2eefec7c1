//! The base fee, and what a message ought to offer.
//!
//! The rule is lotus:chain/store/basefee.go `ComputeNextBaseFee`: an eighth up for a full block, an eighth down for an
//! empty one.

use fvm_shared::{
    bigint::{BigInt, Integer},
    econ::TokenAmount,
};

/// The most gas that a block's messages may ask for together.
pub const BLOCK_GAS_LIMIT: u64 = 10_000_000_000;

/// Half of it: what the base fee steers to.
pub const BLOCK_GAS_TARGET: u64 = BLOCK_GAS_LIMIT / 2;

/// The base fee changes by at most one such part.
const MAX_CHANGE_DENOMINATOR: i64 = 8;

/// Never less, in attoFIL.
pub const MINIMUM_BASE_FEE: i64 = 100;

/// Gas estimation offers this when nobody competes, in attoFIL. lotus:node/impl/full/gas.go `MinGasPremium`.
pub const MINIMUM_PREMIUM: i64 = 100_000;

/// The base fee after a tipset of one block, whose messages asked for `gas_limits` in all.
pub fn next_base_fee(base_fee: &TokenAmount, gas_limits: u64) -> TokenAmount {
    let target = BigInt::from(BLOCK_GAS_TARGET);
    let off_target = (BigInt::from(gas_limits) - &target).clamp(-target.clone(), target.clone());
    // Go's big.Div rounds towards negative infinity for a positive divisor, and so does div_floor.
    let change = (base_fee.atto() * off_target).div_floor(&target).div_floor(&BigInt::from(MAX_CHANGE_DENOMINATOR));
    TokenAmount::from_atto((base_fee.atto() + change).max(BigInt::from(MINIMUM_BASE_FEE)))
}

/// The base fee after so many full blocks, within rounding. lotus:node/impl/full/gas.go `GasEstimateFeeCap`.
pub fn base_fee_after(base_fee: &TokenAmount, full_blocks: u32) -> TokenAmount {
    let up = BigInt::from(MAX_CHANGE_DENOMINATOR + 1).pow(full_blocks);
    let down = BigInt::from(MAX_CHANGE_DENOMINATOR).pow(full_blocks);
    TokenAmount::from_atto((base_fee.atto() * up).div_ceil(&down))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(base_fee: i64, gas_limits: u64) -> TokenAmount {
        next_base_fee(&TokenAmount::from_atto(base_fee), gas_limits)
    }

    #[test]
    fn the_base_fee_moves_by_at_most_an_eighth() {
        // All but the fourth are in lotus:chain/store/basefee_test.go, for the rule after the Smoke upgrade.
        assert_eq!(next(100_000_000, 0), TokenAmount::from_atto(87_500_000));
        assert_eq!(next(100_000_000, BLOCK_GAS_TARGET), TokenAmount::from_atto(100_000_000));
        assert_eq!(next(100_000_000, BLOCK_GAS_TARGET * 2), TokenAmount::from_atto(112_500_000));
        assert_eq!(next(100_000_000, BLOCK_GAS_TARGET * 2 + 1), TokenAmount::from_atto(112_500_000));
        assert_eq!(next(100_000_000, BLOCK_GAS_TARGET * 3 / 2), TokenAmount::from_atto(106_250_000));
    }

    #[test]
    fn the_base_fee_has_a_floor() {
        assert_eq!(next(100, 0), TokenAmount::from_atto(100));
        assert_eq!(next(110, 0), TokenAmount::from_atto(100));
    }

    #[test]
    fn a_fee_cap_lasts_for_full_blocks() {
        let mut base_fee = TokenAmount::from_atto(1_000_000_007);
        let cap = base_fee_after(&base_fee, 20);
        for _ in 0..20 {
            base_fee = next_base_fee(&base_fee, BLOCK_GAS_LIMIT);
        }
        assert!(base_fee <= cap, "{base_fee} > {cap}");
        assert!(next_base_fee(&base_fee, BLOCK_GAS_LIMIT) > cap);
    }
}
