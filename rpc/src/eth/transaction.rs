//! A message as the transaction that an Ethereum wallet signs.

use fvm_ipld_encoding::{BytesDe, BytesSer, from_slice, to_vec};
use fvm_shared::MethodNum;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigUint;
use fvm_shared::econ::TokenAmount;

use super::address::{EAM_ID, EthAddress, sender};
use super::rlp::List;
use super::{EthError, SIGNATURE_BYTES, keccak_256};
use crate::json::Message;

/// The method by which a contract, or an actor that behaves like one, is called: FRC-0042 hash of `InvokeEVM`.
pub const INVOKE_CONTRACT: MethodNum = 3_844_450_837;

/// The method of f010 that creates a contract; it stands for a transaction without receiver.
pub const CREATE_EXTERNAL: MethodNum = 4;

/// EIP-1559's type of transaction.
const TYPE: u8 = 2;

/// An EIP-1559 transaction with an empty access list.
///
/// lotus:chain/types/ethtypes/eth_1559_transactions.go `Eth1559TxArgs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The network, as `Filecoin.EthChainId` gives it.
    pub chain_id: u64,
    /// The sender's sequence number.
    pub nonce: u64,
    /// The message's gas premium.
    pub max_priority_fee_per_gas: BigUint,
    /// The message's gas fee cap.
    pub max_fee_per_gas: BigUint,
    /// Most gas.
    pub gas_limit: u64,
    /// The receiver; none creates a contract.
    pub to: Option<EthAddress>,
    /// What is sent along, in attoFIL.
    pub value: BigUint,
    /// The bytes in the CBOR byte string that the message's parameters are.
    pub input: Vec<u8>,
}

impl Transaction {
    /// The transaction that stands for `message`. Only few messages have one, and others can't be signed:
    ///
    /// - the sender is an f410 address, the receiver an f410 or f0 one: whoever has an f1, f2 or f3 address has to look
    ///   up its id first;
    /// - the method is [`INVOKE_CONTRACT`], even where FIL is only sent, or [`CREATE_EXTERNAL`] of f010;
    /// - the parameters are absent or one CBOR byte string that is not empty.
    ///
    /// lotus:chain/types/ethtypes/eth_transactions.go `EthTransactionFromSignedFilecoinMessage`, and
    /// lotus:chain/consensus/signatures.go `AuthenticateMessage`, which has the message come out the same again.
    pub fn from_message(message: &Message, chain_id: u64) -> Result<Self, EthError> {
        let Message { version, to, from, nonce, value, gas_limit, gas_fee_cap, gas_premium, method, params } = message;
        sender(from)?;
        if *version != 0 {
            return Err(EthError::Version(*version));
        }
        Ok(Self {
            chain_id,
            nonce: *nonce,
            max_priority_fee_per_gas: amount("GasPremium", gas_premium)?,
            max_fee_per_gas: amount("GasFeeCap", gas_fee_cap)?,
            gas_limit: *gas_limit,
            to: receiver(to, *method)?,
            value: amount("Value", value)?,
            input: input(params)?,
        })
    }

    fn fields(&self) -> List {
        List::default()
            .number(&self.chain_id.to_be_bytes())
            .number(&self.nonce.to_be_bytes())
            .number(&self.max_priority_fee_per_gas.to_bytes_be())
            .number(&self.max_fee_per_gas.to_bytes_be())
            .number(&self.gas_limit.to_be_bytes())
            .bytes(self.to.as_ref().map_or(&[], |to| &to.0[..]))
            .number(&self.value.to_bytes_be())
            .bytes(&self.input)
            // The access list, which has no meaning on Filecoin.
            .empty_list()
    }

    /// What is hashed, and the hash signed.
    pub fn unsigned_bytes(&self) -> Vec<u8> {
        self.fields().typed(TYPE)
    }

    /// Keccak-256 of [`Transaction::unsigned_bytes`].
    pub fn signing_hash(&self) -> [u8; 32] {
        keccak_256(&self.unsigned_bytes())
    }

    /// What an Ethereum wallet hands in.
    pub fn signed_bytes(&self, signature: &[u8; SIGNATURE_BYTES]) -> Vec<u8> {
        let (r, rest) = signature.split_at(32);
        let (s, v) = rest.split_at(32);
        self.fields().number(v).number(r).number(s).typed(TYPE)
    }

    /// The name by which Ethereum's tools know the transaction.
    pub fn hash(&self, signature: &[u8; SIGNATURE_BYTES]) -> [u8; 32] {
        keccak_256(&self.signed_bytes(signature))
    }
}

fn receiver(to: &Address, method: MethodNum) -> Result<Option<EthAddress>, EthError> {
    match (*to == Address::new_id(EAM_ID), method) {
        (true, CREATE_EXTERNAL) => Ok(None),
        (false, INVOKE_CONTRACT) => EthAddress::of(to).map(Some).ok_or(EthError::Receiver(*to)),
        _ => Err(EthError::Method { to: *to, method }),
    }
}

fn amount(field: &'static str, amount: &TokenAmount) -> Result<BigUint, EthError> {
    amount.atto().to_biguint().ok_or(EthError::Negative(field))
}

/// The content of a CBOR byte string, which has to be written as Lotus would.
fn input(params: &[u8]) -> Result<Vec<u8>, EthError> {
    if params.is_empty() {
        return Ok(Vec::new());
    }
    let BytesDe(input) = from_slice(params).map_err(|_| EthError::Params("something else"))?;
    if input.is_empty() {
        return Err(EthError::Params("an empty one, for which there should be no bytes at all"));
    }
    match to_vec(&BytesSer(&input)) {
        Ok(canonical) if canonical == params => Ok(input),
        _ => Err(EthError::Params("one with a longer length than it needs, or with more behind it")),
    }
}
