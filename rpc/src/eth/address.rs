//! Ethereum's addresses, and which of Filecoin's they are.

use std::fmt;

use fvm_shared::ActorID;
use fvm_shared::address::{Address, Payload};
use k256::ecdsa::VerifyingKey;

use super::{EthError, keccak_256};

/// The Ethereum address manager, in whose namespace f410 addresses are.
pub const EAM_ID: ActorID = 10;

/// Twenty bytes, written `0x…`.
///
/// An f410 address holds one. An f0 address has the form `0xff`, eleven zeros, the id: "masked".
///
/// lotus:chain/types/ethtypes/eth_types.go `EthAddress`, FIP-0055.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EthAddress(pub [u8; 20]);

impl EthAddress {
    /// Where a masked id has the id itself.
    const MASK: [u8; 12] = [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// The address of a key: the end of the hash of its point.
    pub fn of_key(key: &VerifyingKey) -> Self {
        let point = key.to_encoded_point(false);
        // The first byte says "uncompressed".
        let hash = keccak_256(&point.as_bytes()[1..]);
        let mut address = [0; 20];
        address.copy_from_slice(&hash[12..]);
        Self(address)
    }

    /// The masked form of an actor's id.
    pub fn of_id(id: ActorID) -> Self {
        let mut address = [0; 20];
        address[..12].copy_from_slice(&Self::MASK);
        address[12..].copy_from_slice(&id.to_be_bytes());
        Self(address)
    }

    /// The form of an f410 or f0 address; others have none.
    pub fn of(address: &Address) -> Option<Self> {
        match address.payload() {
            Payload::ID(id) => Some(Self::of_id(*id)),
            Payload::Delegated(delegated) if delegated.namespace() == EAM_ID => {
                let address = Self(delegated.subaddress().try_into().ok()?);
                // Such an f410 address would be read as the f0 one.
                (!address.is_masked_id()).then_some(address)
            }
            _ => None,
        }
    }

    /// Whether it stands for an f0 address.
    pub fn is_masked_id(&self) -> bool {
        self.0.starts_with(&Self::MASK)
    }

    /// The f410 address, or the f0 one for a masked id.
    pub fn to_filecoin(self) -> Address {
        if self.is_masked_id() {
            let mut id = [0; 8];
            id.copy_from_slice(&self.0[12..]);
            return Address::new_id(u64::from_be_bytes(id));
        }
        Address::new_delegated(EAM_ID, &self.0).expect("an f4 address may hold up to 54 bytes")
    }
}

/// The Ethereum form of an address that can sign as an Ethereum account does: f410, and no masked id.
pub(super) fn sender(address: &Address) -> Result<EthAddress, EthError> {
    match (address.payload(), EthAddress::of(address)) {
        (Payload::Delegated(_), Some(sender)) => Ok(sender),
        _ => Err(EthError::Sender(*address)),
    }
}

impl fmt::Display for EthAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EthAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
