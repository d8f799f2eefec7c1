//! Reads the state tree: actors and their addresses.

use anyhow::{Context, Result, anyhow};
use bucket_rpc::{Failure, server::code};
use cid::Cid;
use fvm::state_tree::{ActorState, StateTree};
use fvm_ipld_encoding::tuple::*;
use fvm_ipld_hamt::Hamt;
use fvm_shared::{
    ActorID, HAMT_BIT_WIDTH,
    address::{Address, Protocol},
};

use crate::store::Store;

const INIT_ACTOR_ID: ActorID = 1;

/// The three states that the FVM reads by itself; it keeps their types private.
///
/// f00: which code is which built-in actor.
#[derive(Serialize_tuple, Deserialize_tuple)]
pub(crate) struct SystemState {
    /// `[(name, code CID)]`.
    pub builtin_actors: Cid,
}

/// f01: names and code.
#[derive(Serialize_tuple, Deserialize_tuple)]
pub(crate) struct InitState {
    /// `HAMT[Address]ActorID`.
    pub address_map: Cid,
    pub next_id: ActorID,
    pub network_name: String,
    /// `[code CID]`; there because the FVM is built with the feature `m2-native`.
    pub installed_actors: Cid,
}

/// An account: whose key may sign.
#[derive(Serialize_tuple, Deserialize_tuple)]
pub(crate) struct AccountState {
    pub address: Address,
}

/// The state tree under a root.
pub struct State {
    store: Store,
    tree: StateTree<Store>,
}

impl State {
    /// The tree under `root`, which has to be in the store.
    pub fn load(store: &Store, root: &Cid) -> Result<Self> {
        let tree = StateTree::new_from_root(store.clone(), root).map_err(|error| anyhow!("{error}"))?;
        Ok(Self { store: store.clone(), tree })
    }

    /// The actor's id; none when nobody has used the address.
    pub fn id(&self, address: &Address) -> Result<Option<ActorID>> {
        self.tree.lookup_id(address).map_err(|error| anyhow!("{error}"))
    }

    /// The actor with its id; none when there is none.
    pub fn find(&self, address: &Address) -> Result<Option<(ActorID, ActorState)>> {
        let Some(id) = self.id(address)? else { return Ok(None) };
        let actor = self.tree.get_actor(id).map_err(|error| anyhow!("{error}"))?;
        Ok(actor.map(|actor| (id, actor)))
    }

    /// The actor with its id, or Lotus' error that there is none.
    pub fn actor(&self, address: &Address) -> Result<(ActorID, ActorState)> {
        self.find(address)?.ok_or_else(|| not_found(address))
    }

    /// The address that an account signs for: f1, f3 or f410. lotus:chain/vm/vm.go `ResolveToDeterministicAddr`.
    pub fn key_address(&self, address: &Address) -> Result<Address> {
        if matches!(address.protocol(), Protocol::Secp256k1 | Protocol::BLS | Protocol::Delegated) {
            return Ok(*address);
        }
        let (id, actor) = self.actor(address)?;
        if let Some(delegated) = actor.delegated_address {
            return Ok(delegated);
        }
        let account: AccountState = self
            .store
            .object(&actor.state, "the state of the account")
            .with_context(|| format!("the actor f0{id} has no key: it is no account"))?;
        Ok(account.address)
    }

    /// The address that an actor keeps when a reorg gives it another id: f4, else f1 or f3, else f2.
    pub fn robust_address(&self, address: &Address) -> Result<Address> {
        if address.protocol() != Protocol::ID {
            return Ok(*address);
        }
        let (id, actor) = self.actor(address)?;
        if let Some(delegated) = actor.delegated_address {
            return Ok(delegated);
        }
        let (_, init) = self.actor(&Address::new_id(INIT_ACTOR_ID))?;
        let init: InitState = self.store.object(&init.state, "Init's state")?;
        let map = Hamt::<_, ActorID>::load_with_bit_width(&init.address_map, &self.store, HAMT_BIT_WIDTH)?;
        let mut found = None;
        map.for_each(|key, value| {
            if *value == id {
                found = Some(Address::from_bytes(key)?);
            }
            Ok(())
        })?;
        found.with_context(|| format!("the actor {address} has no other address than its id"))
    }
}

fn not_found(address: &Address) -> anyhow::Error {
    Failure::with_code(code::ACTOR_NOT_FOUND, format!("actor not found: {address}")).into()
}
