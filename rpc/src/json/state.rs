//! An actor as the state tree holds it.

use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;
use fvm_shared::state::ActorState as FvmActorState;
use serde::{Deserialize, Serialize};

use super::lotus;

/// An actor as the state tree holds it.
///
/// lotus:chain/types/actor.go `ActorV5`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActorState {
    /// Which wasm runs.
    #[serde(with = "lotus")]
    pub code: Cid,
    /// The root of the actor's own state.
    #[serde(with = "lotus")]
    pub head: Cid,
    /// The next nonce of its messages.
    pub nonce: u64,
    /// What it owns.
    #[serde(with = "lotus")]
    pub balance: TokenAmount,
    /// Its f4 address, if any.
    #[serde(default, with = "lotus")]
    pub delegated_address: Option<Address>,
}

impl From<FvmActorState> for ActorState {
    fn from(actor: FvmActorState) -> Self {
        let FvmActorState { code, state, sequence, balance, delegated_address } = actor;
        Self { code, head: state, nonce: sequence, balance, delegated_address }
    }
}

impl From<ActorState> for FvmActorState {
    fn from(actor: ActorState) -> Self {
        let ActorState { code, head, nonce, balance, delegated_address } = actor;
        Self { code, state: head, sequence: nonce, balance, delegated_address }
    }
}
