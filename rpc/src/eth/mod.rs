//! Senders with an Ethereum key: f410 addresses and delegated signatures.
//!
//! Such a key doesn't sign the message's CID. It signs an EIP-1559 transaction, so that any Ethereum wallet can, and a
//! node builds that transaction from the message before it looks at the signature. What the transaction can't say can
//! therefore not be sent: see [`Transaction::from_message`].
//!
//! The signature is 65 bytes: r, s, and the parity of the point. Lotus also takes longer ones, which sign the two older
//! kinds of transaction; here they are refused. FIP-0054, FIP-0055, and the files of Lotus that the items name.

mod address;
mod rlp;
mod transaction;

#[cfg(test)]
mod tests;

use fvm_shared::MethodNum;
use fvm_shared::address::Address;
use k256::ecdsa::{RecoveryId, Signature as Ecdsa, SigningKey, VerifyingKey};
use multihash_codetable::{Code, MultihashDigest};

use crate::json::{Message, Signature, SignatureType, SignedMessage, format_address};

pub use address::{EAM_ID, EthAddress};
pub use transaction::{CREATE_EXTERNAL, INVOKE_CONTRACT, Transaction};

/// The length of a delegated signature: r, s, parity.
pub const SIGNATURE_BYTES: usize = 65;

/// Why a message can't be signed by an Ethereum key, or isn't.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EthError {
    /// The sender has no Ethereum key.
    #[error("expected a sender with an Ethereum address (f410f…), got {}", format_address(.0))]
    Sender(Address),
    /// The receiver can't stand in a transaction.
    #[error(
        "expected a receiver with an f0 or f410f address, as an Ethereum transaction can hold no other, got {}: its f0 \
         address will do",
        format_address(.0)
    )]
    Receiver(Address),
    /// A transaction has no method number.
    #[error(
        "expected method {INVOKE_CONTRACT} (InvokeContract), as Ethereum-style senders have no other, even to send FIL; \
         got method {method} of {}",
        format_address(.to)
    )]
    Method {
        /// The receiver.
        to: Address,
        /// What was to be called.
        method: MethodNum,
    },
    /// The parameters don't hold a transaction's input.
    #[error("expected as parameters of an Ethereum-style sender a CBOR byte string or nothing, got {0}")]
    Params(&'static str),
    /// Lotus knows version 0 only.
    #[error("expected message version 0, got {0}")]
    Version(u64),
    /// Transactions have no signed numbers.
    #[error("{0} is negative")]
    Negative(&'static str),
    /// A signature of another kind.
    #[error("expected a delegated signature (type 3), got type {}", *.0 as u8)]
    Type(SignatureType),
    /// Not r, s and parity.
    #[error("expected a delegated signature of {SIGNATURE_BYTES} bytes (r, s, parity), got {0}")]
    Length(usize),
    /// No key makes this signature.
    #[error("the delegated signature is no signature by any key")]
    Unrecoverable,
    /// It is a signature of something else or by somebody else.
    #[error("the delegated signature is by {}, or of another message; the sender is {}", format_address(.signer), format_address(.sender))]
    Signer {
        /// Whose signature it would be.
        signer: Box<Address>,
        /// Whose it should be.
        sender: Address,
    },
    /// The key can't sign.
    #[error("the key can't sign")]
    Key,
    /// A node's idea of its network.
    #[error("expected a chain id such as \"0x13a\", got {0:?}")]
    ChainId(String),
}

/// Whether messages from `address` have delegated signatures.
pub fn is_eth_sender(address: &Address) -> bool {
    address::sender(address).is_ok()
}

/// Signs `data`, which for a message are [`Transaction::unsigned_bytes`].
///
/// lotus:lib/sigs/delegated/init.go `Sign`.
pub fn sign(key: &SigningKey, data: &[u8]) -> Result<Signature, EthError> {
    let (signature, recovery) = key.sign_prehash_recoverable(&keccak_256(data)).map_err(|_| EthError::Key)?;
    let mut bytes = signature.to_vec();
    bytes.push(recovery.to_byte());
    Ok(Signature { sig_type: SignatureType::Delegated, data: bytes })
}

/// Signs a message for the network `chain_id`.
pub fn sign_message(key: &SigningKey, message: Message, chain_id: u64) -> Result<SignedMessage, EthError> {
    let signature = sign(key, &Transaction::from_message(&message, chain_id)?.unsigned_bytes())?;
    Ok(SignedMessage { message, signature })
}

/// Whether the message is signed by its sender for the network `chain_id`.
///
/// lotus:lib/sigs/delegated/init.go `Verify`.
pub fn verify(signed: &SignedMessage, chain_id: u64) -> Result<(), EthError> {
    let (transaction, signature) = read(signed, chain_id)?;
    let (signer, sender) = (recover(&transaction.signing_hash(), &signature)?.to_filecoin(), signed.message.from);
    if signer == sender { Ok(()) } else { Err(EthError::Signer { signer: signer.into(), sender }) }
}

/// The name by which Ethereum's tools know a signed message.
pub fn transaction_hash(signed: &SignedMessage, chain_id: u64) -> Result<[u8; 32], EthError> {
    let (transaction, signature) = read(signed, chain_id)?;
    Ok(transaction.hash(&signature))
}

fn read(signed: &SignedMessage, chain_id: u64) -> Result<(Transaction, [u8; SIGNATURE_BYTES]), EthError> {
    let Signature { sig_type, data } = &signed.signature;
    if *sig_type != SignatureType::Delegated {
        return Err(EthError::Type(*sig_type));
    }
    let signature = data.as_slice().try_into().map_err(|_| EthError::Length(data.len()))?;
    Ok((Transaction::from_message(&signed.message, chain_id)?, signature))
}

/// Whose signature of a hash it is.
pub fn recover(hash: &[u8; 32], signature: &[u8; SIGNATURE_BYTES]) -> Result<EthAddress, EthError> {
    let [compact @ .., parity] = signature;
    let unrecoverable = |_| EthError::Unrecoverable;
    let mut ecdsa = Ecdsa::from_slice(compact).map_err(unrecoverable)?;
    let mut recovery = RecoveryId::from_byte(*parity).ok_or(EthError::Unrecoverable)?;
    // Of s and its negative Ethereum takes the lower only; Lotus takes both, so this does. `k256` doesn't.
    if let Some(low) = ecdsa.normalize_s() {
        ecdsa = low;
        recovery = RecoveryId::new(!recovery.is_y_odd(), recovery.is_x_reduced());
    }
    let key = VerifyingKey::recover_from_prehash(hash, &ecdsa, recovery).map_err(unrecoverable)?;
    Ok(EthAddress::of_key(&key))
}

/// Reads what `Filecoin.EthChainId` gave.
pub fn parse_chain_id(text: &str) -> Result<u64, EthError> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| EthError::ChainId(text.chars().take(40).collect()))
}

/// The hash of Ethereum, which is not quite SHA-3.
fn keccak_256(bytes: &[u8]) -> [u8; 32] {
    let hash = Code::Keccak256.digest(bytes);
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.digest());
    digest
}
