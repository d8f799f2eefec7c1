//! Every bound of the machine, in one place, each with its reason. Sizes are bytes.

/// A CAR that arrives in a message. A signed message may take 64 KiB in Lotus' mempool
/// (`chain/messagepool`, `MaxMessageSize`); the rest is left to addresses, gas fields and signature.
pub const CAR_BYTES_MAX: usize = 60 * 1024;

/// A whole signed message, as the mempools of Lotus and Forest count it.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Blocks in one CAR: looking a link up walks them all.
pub const CAR_BLOCKS_MAX: usize = 1024;

/// Nesting of a DAG-CBOR value. The actor's stack is 192 KiB, and decoding recurses.
pub const DEPTH_MAX: usize = 64;

/// A DID is a key of the actor's HAMT and is written with every change of its bucket.
pub const DID_BYTES_MAX: usize = 256;

/// A command is matched against a table; longer ones can't be in it.
pub const CMD_BYTES_MAX: usize = 128;

/// A nonce only has to differ.
pub const NONCE_BYTES_MAX: usize = 64;

/// Controllers are written with every change of their bucket.
pub const CONTROLLERS_MAX: usize = 16;

/// Pending CARs of one bucket that one sender scheduled: others must find room beside a busy one.
pub const QUEUE_SENDER_MAX: u64 = 1024;

/// Pending CARs of one bucket, beyond which users schedule no more: what is queued stays in state until somebody pays for
/// running it. Continuations may go beyond, or a full queue could not be run; who runs their cause pays for them.
pub const QUEUE_MAX: u64 = 4096;

/// Tasks of one `Run`: the message's own gas limit ends earlier on chain, this bounds a replay's memory.
pub const RUN_MAX: u64 = 1000;

/// Continuations of one task: each is written to the queue at the sender's cost.
pub const FORKS_MAX: usize = 16;

/// All continuations of one task together: what a task writes to the queue has to fit a message's gas, or the task could
/// never run and would hold up its queue.
pub const FORK_BYTES_MAX: usize = 256 * 1024;

/// Continuations of continuations. A chain that needs more returns to its user.
pub const FORK_DEPTH_MAX: u64 = 16;

/// Work of one CAR with all continuations of its continuations: each task takes 1, one for every key that it writes and one
/// for every KiB that it queues, and what is left is shared out among its continuations. Without it 16 continuations at each
/// of 16 steps would be a great many.
pub const CHAIN_WORK_MAX: u64 = 16 * 1024;

/// Keys that one task changes: each rewrites a path of the bucket's map.
pub const TASK_WRITES_MAX: usize = 512;

/// Keys that one task reads.
pub const TASK_READS_MAX: usize = 4096;

/// A CAR that arrives in pieces: the FVM's largest block (ref-fvm `fvm/src/machine/mod.rs`, `max_block_size`).
pub const STAGED_BYTES_MAX: usize = 1024 * 1024;

/// One piece: what a message carries.
pub const CHUNK_BYTES_MAX: usize = CAR_BYTES_MAX;

/// Pieces of one CAR: enough for [`STAGED_BYTES_MAX`]; their list is written again with each.
pub const CHUNKS_MAX: usize = 32;

/// CARs that one sender has staged, complete or not: what is staged stays in state until it runs or is dropped.
pub const STAGES_MAX: u64 = 8;

/// After so many epochs (a day) anybody may drop what was staged.
pub const STAGE_EPOCHS: i64 = 2880;

/// A failure's message in a receipt: it may quote input.
pub const FAILURE_BYTES_MAX: usize = 512;

/// Gas of a changed key, beside its path. With the figures below it is what `Run` takes a next task to need;
/// `tests/it/budget.rs` shows that they suffice.
pub const GAS_KEY: u64 = 1_500_000;

/// Gas of each level of a changed key's path: a block that is opened, hashed and written.
pub const GAS_LEVEL: u64 = 1_500_000;

/// Gas of a message beside its tasks: loading and committing a bucket.
pub const GAS_BASE: u64 = 20_000_000;

/// Gas of a byte that is written to state (ref-fvm `price_list`: 3,340, and a little for its way there).
pub const GAS_BYTE: u64 = 3_500;

/// Gas of reading a CAR's byte: opening, hashing, decoding.
pub const GAS_READ: u64 = 150;

/// Gas of a CAR's byte for a protocol that works through the nodes of trees in it: they are read, cut anew and hashed.
pub const GAS_WORK: u64 = 500;

/// Gas of an entry of such a node, beside its bytes: it is hashed.
pub const GAS_ENTRY: u64 = 20_000;

/// Bytes of the shortest entry that there is.
pub const ENTRY_BYTES_MIN: usize = 5;

/// Signatures of all signed continuations of one task: each is verified when its task runs, and a task has to fit a message.
pub const FORK_SIGNATURES_MAX: usize = 18;

/// A receipt CAR that goes to a hook. What actors send each other has to fit a block, [`STAGED_BYTES_MAX`], with the ids.
pub const HOOK_CAR_BYTES_MAX: usize = 1000 * 1024;

/// Gas that a hook may take. Without a bound it could take all that the message has, and revert it.
pub const GAS_HOOK: u64 = 50_000_000;

/// Gas that another instance may take for one continuation, beside its bytes and signatures.
pub const GAS_SEND: u64 = 40_000_000;

/// Gas of verifying a signature of the dearest kind, P-256, in wasm.
pub const GAS_SIGNATURE: u64 = 110_000_000;

/// A key of a prolly tree. Two entries of a branch have to fit into its least size, or levels wouldn't get shorter.
pub const TREE_KEY_BYTES_MAX: usize = 512;

/// A value of a prolly tree, encoded. The last entry of a node may go beyond the size at which a node ends; what is longer
/// belongs into a block, with a link to it.
pub const TREE_VALUE_BYTES_MAX: usize = 4096;

/// Levels of a prolly tree above its leaves. Each branch but the last of a level has at least two children, so that this
/// suffices for 2^32 entries of the worst kind.
pub const TREE_LEVEL_MAX: u64 = 32;

// Transactions and effects.

/// Runs of an update: each but the last means that somebody else's change of the same entry came first.
pub const TRIES_MAX: u32 = 100;

/// Effects of one entry that wait for delivery: they are written with each change of the entry.
pub const OUTBOX_ITEMS_MAX: usize = 16;

/// An entry's state with its outbox: each change of it, and of its neighbours in the map, writes it again.
pub const CELL_BYTES_MAX: usize = 4096;

/// Jobs and combinators of one effect.
pub const EFFECT_NODES_MAX: usize = 64;

/// Nesting of combinators: reading and running recurse.
pub const EFFECT_DEPTH_MAX: usize = 16;

// UCAN. What a request may cost before anybody knows whether it is allowed.

/// Proofs of one invocation. Each is a signature to verify: about 9 million gas with Ed25519, 95 million with P-256.
pub const PROOFS_MAX: usize = 8;

/// Statements of one policy, nested ones counted.
pub const POLICY_STATEMENTS_MAX: usize = 256;

/// Nesting of a policy's statements: reading and asking recurse on the actor's stack.
pub const POLICY_DEPTH_MAX: usize = 16;

/// A selector names a place in arguments, which are at most as deep as [`DEPTH_MAX`].
pub const SELECTOR_BYTES_MAX: usize = 1024;

/// Steps that the policies of a request may take together on its arguments: statements, steps of selectors, compared
/// values, words of compared or matched text. Quantifiers multiply statements by arguments.
pub const POLICY_WORK_MAX: usize = 1 << 17;
