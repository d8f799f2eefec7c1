//! Executes messages on the real FVM.
//!
//! The FVM wants a stack of at least 64 MiB, so each executor has a thread of its own; callers wait for it. The wasm
//! engine behind it is one for the whole process, with its cache of compiled modules: starting it takes most of a
//! second. Modules are cached by the hash of their code, so devnets cannot disturb each other through it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use anyhow::{Context, Result, anyhow};
use cid::Cid;
use fvm::{
    call_manager::DefaultCallManager,
    engine::{EngineConfig, EnginePool},
    executor::{ApplyKind, ApplyRet, DefaultExecutor, Executor as _},
    kernel::filecoin::DefaultFilecoinKernel,
    machine::{DefaultMachine, NetworkConfig},
};
use fvm_ipld_blockstore::{Block, Blockstore, MemoryBlockstore};
use fvm_shared::{IPLD_RAW, clock::ChainEpoch, econ::TokenAmount, message::Message, version::NetworkVersion};
use multihash_codetable::Code;

use crate::{
    config::{CHAIN_ID, NETWORK_VERSION},
    externs::DevnetExterns,
    store::Store,
};

/// Twice what the FVM asks for.
const STACK: usize = 128 << 20;

/// How many executors may be inside the wasm engine at the same time; others wait.
const CONCURRENCY: u32 = 4;

type Machine = DefaultMachine<Store, DevnetExterns>;
type Fvm = DefaultExecutor<DefaultFilecoinKernel<DefaultCallManager<Machine>>>;
type Job = Box<dyn FnOnce() + Send>;

/// Runs messages over the blocks of a [`Store`].
pub struct Executor {
    store: Store,
    network: NetworkConfig,
    circulating_supply: TokenAmount,
    engines: EnginePool,
    jobs: mpsc::Sender<Job>,
}

/// The tipset in which messages are executed.
#[derive(Debug, Clone)]
pub struct Env {
    /// Its epoch.
    pub epoch: ChainEpoch,
    /// Its time.
    pub timestamp: u64,
    /// Its base fee.
    pub base_fee: TokenAmount,
    /// The state to begin with.
    pub state_root: Cid,
    /// The tipset before, from which earlier ones are found.
    pub parent: Option<Cid>,
}

/// A message to execute, with the length that inclusion is charged for.
#[derive(Debug, Clone)]
pub struct Call {
    /// The message.
    pub message: Message,
    /// Explicit ones pay and need a nonce, implicit ones do neither.
    pub kind: ApplyKind,
    /// The bytes it takes on the chain.
    pub length: usize,
}

/// What became of messages.
pub struct Run {
    /// The state after all of them.
    pub state_root: Cid,
    /// One for each message, in order.
    pub applied: Vec<ApplyRet>,
}

impl Executor {
    /// Starts the thread, and the engine when no other executor has yet.
    pub fn new(store: Store, circulating_supply: TokenAmount, actor_debugging: bool) -> Result<Self> {
        let mut network = network();
        network.actor_debugging = actor_debugging;
        let engines = engines(&network)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new().name("devnet-fvm".into()).stack_size(STACK).spawn(move || {
            for job in queue {
                // The panic is already printed. Whoever waits learns of it, because its channel closes.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(Self { store, network, circulating_supply, engines, jobs })
    }

    /// Executes messages in order and keeps the state they make.
    pub fn execute(&self, env: Env, calls: Vec<Call>, trace: bool) -> Result<Run> {
        self.run(env, trace, move |fvm| {
            let applied = apply_all(fvm, calls)?;
            Ok(Run { state_root: fvm.flush()?, applied })
        })
    }

    /// Executes messages in order, keeps nothing, and says what became of the last one, with its trace.
    pub fn try_last(&self, env: Env, calls: Vec<Call>) -> Result<ApplyRet> {
        self.run(env, true, move |fvm| apply_all(fvm, calls)?.pop().context("no message to execute"))
    }

    fn run<T: Send + 'static>(
        &self,
        env: Env,
        trace: bool,
        job: impl FnOnce(&mut Fvm) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (network, store, engines) = (self.network.clone(), self.store.clone(), self.engines.clone());
        let supply = self.circulating_supply.clone();
        let (reply, answer) = mpsc::sync_channel(1);
        let job = Box::new(move || {
            let result = machine(&network, env, supply, store, trace)
                .and_then(|machine| Fvm::new(engines, machine).context("the built-in actors do not load"))
                .and_then(|mut fvm| job(&mut fvm));
            // Nobody waits any more when the caller is gone, and then nobody misses the result.
            let _ = reply.send(result);
        });
        self.jobs.send(job).map_err(|_| anyhow!("the thread of the FVM has ended"))?;
        answer.recv().map_err(|_| anyhow!("the FVM panicked; the reason is in the log"))?
    }
}

fn machine(
    network: &NetworkConfig,
    env: Env,
    circulating_supply: TokenAmount,
    store: Store,
    trace: bool,
) -> Result<Machine> {
    let Env { epoch, timestamp, base_fee, state_root, parent } = env;
    let mut context = network.for_epoch(epoch, timestamp, state_root);
    context.set_base_fee(base_fee).set_circulating_supply(circulating_supply);
    if trace {
        context.enable_tracing();
    }
    DefaultMachine::new(&context, store.clone(), DevnetExterns::new(store, parent))
}

fn apply_all(fvm: &mut Fvm, calls: Vec<Call>) -> Result<Vec<ApplyRet>> {
    calls.into_iter().map(|Call { message, kind, length }| fvm.execute_message(message, kind, length)).collect()
}

/// Loads a module the way `InstallCode` does, and says why if the engine refuses it.
///
/// This compiles the module and injects gas metering. It does not link it: see [`crate::check::check_wasm`].
pub fn preload(wasm: &[u8]) -> Result<Cid> {
    let store = MemoryBlockstore::default();
    let code = store.put(Code::Blake2b256, &Block::new(IPLD_RAW, wasm))?;
    engines(&network())?.acquire().preload(&code, &store)?;
    Ok(code)
}

fn network() -> NetworkConfig {
    let mut network = NetworkConfig::new(NetworkVersion::from(NETWORK_VERSION));
    network.chain_id(CHAIN_ID.into());
    network
}

/// The engine of this process.
fn engines(network: &NetworkConfig) -> Result<EnginePool> {
    static ENGINES: Mutex<Option<EnginePool>> = Mutex::new(None);
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(engines) = &*engines {
        return Ok(engines.clone());
    }
    let config = EngineConfig { concurrency: CONCURRENCY, ..network.into() };
    let fresh = EnginePool::new(config).context(
        "the wasm engine does not start. It reserves about 4.4 TB of address space, of which it uses little: \
         lift the limit on virtual memory (`ulimit -v unlimited`)",
    )?;
    Ok(engines.insert(fresh).clone())
}
