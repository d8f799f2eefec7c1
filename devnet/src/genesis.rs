//! The state that a devnet begins with.
//!
//! | actor | what |
//! |---|---|
//! | f00 | system: holds the manifest, that is, which code is which built-in |
//! | f01 | Init: the address map, and the installed code |
//! | f02 | reward: takes the miner's tips; it pays no block rewards, the devnet has no implicit messages |
//! | f010 | the Ethereum address manager's place |
//! | f099 | where burnt fees go |
//! | f0100 … | the funded accounts, then the faucet, then the funded Ethereum accounts; actors made later begin at f01001 |
//!
//! The recipe follows ref-fvm:testing/integration/src/tester.rs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bucket_rpc::eth;
use cid::Cid;
use devnet_actors_wasm::{ACCOUNT, ETHACCOUNT, IDLE, INIT, NOOP};
use fvm::{
    machine::{BURNT_FUNDS_ACTOR_ID, REWARD_ACTOR_ID},
    state_tree::{ActorState, StateTree},
};
use fvm_ipld_blockstore::{Block, Blockstore};
use fvm_ipld_hamt::Hamt;
use fvm_shared::{
    ActorID, EMPTY_ARR_CID, HAMT_BIT_WIDTH, IPLD_RAW, address::Address, econ::TokenAmount, state::StateTreeVersion,
};
use multihash_codetable::{Code, MultihashDigest};
use num_traits::Zero;

use crate::{
    account::{Account, blake2b_256},
    bundle,
    config::Config,
    state::{AccountState, InitState, SystemState},
    store::Store,
};

const SYSTEM_ACTOR_ID: ActorID = 0;

const INIT_ACTOR_ID: ActorID = 1;

/// The Ethereum address manager.
const EAM_ACTOR_ID: ActorID = 10;

/// The id of the first account.
const FIRST_ACCOUNT_ID: ActorID = 100;

/// The id of the first actor that a message makes, as on Lotus' local networks.
const FIRST_FREE_ID: ActorID = 1001;

/// What the faucet owns: nearly half of all FIL there can be.
fn faucet_balance() -> TokenAmount {
    TokenAmount::from_whole(900_000_000)
}

/// Writes the state that the head of this module describes, and returns the root of its tree.
pub fn build(store: &Store, config: &Config) -> Result<Cid> {
    let manifest = match &config.bundle {
        Some(file) => with_our_init(store, bundle::load(store, file)?)?,
        None => own_manifest(store)?,
    };
    let mut tree = Tree { store, tree: StateTree::new(store.clone(), StateTreeVersion::V5)?, code: manifest.clone() };

    let manifest: Vec<(String, Cid)> = manifest.into_iter().collect();
    let system = SystemState { builtin_actors: store.put_object(&manifest)? };
    tree.set(SYSTEM_ACTOR_ID, "system", store.put_object(&system)?, TokenAmount::zero())?;
    tree.set(INIT_ACTOR_ID, "init", init_state(store, config)?, TokenAmount::zero())?;
    // No state of the devnet's own: it is never read, because the actor is never called.
    tree.set(REWARD_ACTOR_ID, "reward", empty_state(store)?, TokenAmount::zero())?;
    tree.set(EAM_ACTOR_ID, "eam", empty_state(store)?, TokenAmount::zero())?;
    let burnt = AccountState { address: Address::new_id(BURNT_FUNDS_ACTOR_ID) };
    tree.set(BURNT_FUNDS_ACTOR_ID, "account", store.put_object(&burnt)?, TokenAmount::zero())?;

    for (account, balance) in funded(config)? {
        tree.fund(&account, balance)?;
    }
    tree.set_next_id(FIRST_FREE_ID)?;
    Ok(tree.tree.flush()?)
}

/// The settings that genesis depends on, in words: what has to stay the same for as long as the chain lives.
pub fn settings(config: &Config) -> String {
    let Config { network_name, accounts, eth_accounts, balance, seed, base_fee, .. } = config;
    let Config { block_delay, actor_debugging, .. } = config;
    let bundle = config.bundle.as_ref().map_or_else(|| "none".into(), |file| file.display().to_string());
    let actors: Vec<String> = config.actors.iter().map(|actor| hex::encode(&blake2b_256(&actor.wasm)[..8])).collect();
    format!(
        "network {network_name}, {accounts} accounts and {eth_accounts} Ethereum accounts of {balance} from the seed {seed:?}, \
         base fee {base_fee}, {block_delay} s a block, debugging {actor_debugging}, bundle {bundle}, actors [{}]",
        actors.join(", ")
    )
}

/// All FIL that genesis hands out.
pub fn supply(config: &Config) -> Result<TokenAmount> {
    Ok(funded(config)?.into_iter().map(|(_, balance)| balance).fold(TokenAmount::zero(), |sum, one| sum + one))
}

fn funded(config: &Config) -> Result<Vec<(Account, TokenAmount)>> {
    let most = usize::try_from(FIRST_FREE_ID - FIRST_ACCOUNT_ID - 1)?;
    let all = config.accounts.saturating_add(config.eth_accounts);
    ensure!(all <= most, "at most {most} accounts can be funded, not {all}");
    let mut funded = (0..config.accounts)
        .map(|index| Ok((Account::derive(&config.seed, index)?, config.balance.clone())))
        .collect::<Result<Vec<_>>>()?;
    funded.push((Account::faucet(&config.seed)?, faucet_balance()));
    for index in 0..config.eth_accounts {
        funded.push((Account::derive_eth(&config.seed, index)?, config.balance.clone()));
    }
    Ok(funded)
}

/// The devnet's own built-in actors. The FVM tells them apart by code, so that every one needs another CID.
fn own_manifest(store: &Store) -> Result<BTreeMap<String, Cid>> {
    let of = |name: &str| match name {
        "init" => INIT.to_vec(),
        "account" => ACCOUNT.to_vec(),
        "ethaccount" => ETHACCOUNT.to_vec(),
        // What is at an f410 address takes anything until it sends something itself.
        "placeholder" => tagged(IDLE, name),
        _ => tagged(NOOP, name),
    };
    ["system", "init", "cron", "account", "reward", "placeholder", "eam", "ethaccount"]
        .into_iter()
        .map(|name| Ok((name.to_owned(), put_code(store, &of(name))?)))
        .collect()
}

/// An official bundle with Init replaced: the official one admits no code of ours.
fn with_our_init(store: &Store, mut manifest: BTreeMap<String, Cid>) -> Result<BTreeMap<String, Cid>> {
    manifest.insert("init".into(), put_code(store, INIT)?);
    Ok(manifest)
}

/// The module with a custom section that holds a name and changes nothing but the hash.
fn tagged(wasm: &[u8], name: &str) -> Vec<u8> {
    let mut wasm = wasm.to_vec();
    // Section 0, its size, the name's size, the name. Both sizes are LEB128; names here are far below 128 bytes.
    let size = name.len() as u8;
    wasm.extend([0, size + 1, size]);
    wasm.extend(name.as_bytes());
    wasm
}

/// The name of code on a chain.
pub fn code_cid(wasm: &[u8]) -> Cid {
    Cid::new_v1(IPLD_RAW, Code::Blake2b256.digest(wasm))
}

fn put_code(store: &Store, wasm: &[u8]) -> Result<Cid> {
    store.put(Code::Blake2b256, &Block::new(IPLD_RAW, wasm))
}

fn empty_state(store: &Store) -> Result<Cid> {
    let cid = store.put_object::<[(); 0]>(&[])?;
    ensure!(cid == EMPTY_ARR_CID, "the empty state is {cid}, the FVM takes it for {EMPTY_ARR_CID}");
    Ok(cid)
}

fn init_state(store: &Store, config: &Config) -> Result<Cid> {
    let code = config.actors.iter().map(|actor| put_code(store, &actor.wasm)).collect::<Result<Vec<_>>>()?;
    store.put_object(&InitState {
        address_map: Hamt::<_, ActorID>::new_with_bit_width(store, HAMT_BIT_WIDTH).flush()?,
        next_id: FIRST_ACCOUNT_ID,
        network_name: config.network_name.clone(),
        installed_actors: store.put_object(&code)?,
    })
}

struct Tree<'a> {
    store: &'a Store,
    tree: StateTree<Store>,
    code: BTreeMap<String, Cid>,
}

impl Tree<'_> {
    fn set(&mut self, id: ActorID, kind: &str, state: Cid, balance: TokenAmount) -> Result<()> {
        let code = *self.code.get(kind).with_context(|| format!("the manifest has no actor {kind:?}"))?;
        self.tree.set_actor(id, ActorState::new(code, state, balance, 0, None));
        Ok(())
    }

    /// What the FVM makes when value is sent to an f410 address. The first message from there turns it into an account.
    fn set_placeholder(&mut self, id: ActorID, address: Address, balance: TokenAmount) -> Result<()> {
        let code = *self.code.get("placeholder").context("the manifest has no actor \"placeholder\"")?;
        let state = empty_state(self.store)?;
        self.tree.set_actor(id, ActorState::new(code, state, balance, 0, Some(address)));
        Ok(())
    }

    fn fund(&mut self, account: &Account, balance: TokenAmount) -> Result<()> {
        let address = account.address();
        let id = self.tree.register_new_address(&address)?;
        if eth::is_eth_sender(&address) {
            return self.set_placeholder(id, address, balance);
        }
        let state = self.store.put_object(&AccountState { address })?;
        self.set(id, "account", state, balance)
    }

    fn set_next_id(&mut self, next_id: ActorID) -> Result<()> {
        let actor = self.tree.get_actor(INIT_ACTOR_ID)?.context("Init is missing")?;
        let state: InitState = self.store.object(&actor.state, "Init's state")?;
        let state = self.store.put_object(&InitState { next_id, ..state })?;
        self.tree.set_actor(INIT_ACTOR_ID, ActorState { state, ..actor });
        Ok(())
    }
}
