//! Replicas on disk, servers over them, and a chain that is only a tree and a service that signs.

use std::net::SocketAddr;

use bucket_core::car::Transaction;
use bucket_core::cid::CarId;
use bucket_core::prolly::Tree;
use bucket_core::task::Task;
use bucket_protocols::space::push::PUSH;
use bucket_protocols::space::receipt::Draft;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::space::kept::{Evidence, Fate, Holds as _, Push};
use crate::space::model::merge;
use crate::space::remote::Remote;
use crate::space::store::Change;
use crate::space::tree::sorted;
use crate::space::wire::Told;
use crate::space::{Replica, SpaceError, serve};

/// A replica in a directory of its own.
pub struct Home {
    pub dir: TempDir,
    pub replica: Replica,
}

impl Home {
    /// An empty one that trusts the service.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let replica = Replica::new(dir.path(), space());
        replica.write(|kept| kept.trust(&service().did())).unwrap();
        Self { dir, replica }
    }

    pub fn told(&self) -> Told {
        self.replica.read(|kept| Told::of(&space(), kept)).unwrap()
    }

    pub fn root(&self) -> Cid {
        self.replica.read(|kept| Ok(kept.view()?.root())).unwrap()
    }

    /// Makes an edit as the author with key `author`.
    pub fn edit(&self, author: u8, ops: Ops) -> Edit {
        let key = key(author);
        let proofs = if author == 1 { vec![] } else { vec![delegation(&SPACE, &key.did(), "/space", None)] };
        self.replica.write(|kept| kept.make(&space(), &key, &proofs, ops)).unwrap()
    }

    pub fn put_block(&self, block: &[u8]) {
        self.replica.write(|kept| kept.put_block(block)).unwrap();
    }

    /// What waits of an author's own edits.
    pub fn waiting(&self, author: u8) -> Vec<Edit> {
        let (mut own, told) = (self.replica.read(|kept| kept.own()).unwrap(), self.told());
        own.retain(|edit| edit.author == key(author).did() && told.edits.contains(&edit.cid));
        own
    }

    /// What waits of an author goes to the chain, whose head this replica then has. Tells the push's CAR.
    pub fn push(&self, author: u8, chain: &mut Chain) -> CarId {
        let own = self.waiting(author);
        let changes = merge(own.iter().map(|edit| &edit.ops));
        let push = Push::new(chain.head.root, own.iter().map(|edit| edit.cid).collect());
        chain.push(&changes, author, own.iter().map(|edit| edit.n).max().unwrap_or(1));
        let car = CarId::of::<NativeHasher>(&chain.signed);
        self.replica.write(|kept| kept.put_push(&car, &push)).unwrap();
        self.pull(chain).unwrap();
        self.replica.write(|kept| kept.put_push(&car, &Push { fate: Fate::Landed(1), ..push })).unwrap();
        car
    }

    /// The chain has all pushes for good.
    pub fn finish(&self) {
        self.replica.write(|kept| kept.pushes()?.keys().try_for_each(|car| kept.finish_push(car))).unwrap();
    }

    /// Gets the chain's head, and those of its nodes that are missing.
    pub fn pull(&self, chain: &Chain) -> Result<bool, SpaceError> {
        self.replica.write(|kept| {
            chain.complete(kept)?;
            kept.advance(&chain.head, &chain.evidence())
        })
    }

    /// Goes to the chain's head, which is of another fork.
    pub fn go(&self, chain: &Chain) {
        let goes = |kept: &Change| {
            chain.complete(kept)?;
            kept.go(&chain.head, &chain.evidence())
        };
        self.replica.write(goes).unwrap();
    }

    /// A server over this home, for as long as the test's runtime lives.
    pub async fn serve(&self) -> Remote {
        serve_at(serve::router(self.dir.path().to_owned())).await
    }
}

pub async fn serve_at(router: axum::Router) -> Remote {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Remote::new(&format!("http://{address}")).unwrap()
}

/// Who signs the chain's receipts.
pub fn service() -> Identity {
    key(100)
}

/// A signed receipt of a push that led to `head`.
pub fn vouch(signer: &Identity, space: &BucketId, cmd: &str, out: Ipld) -> Vec<u8> {
    let task = Task { sub: space.clone(), cmd: cmd.into(), args: Default::default(), nonce: vec![1] };
    let service = signer.did();
    let draft = Draft { service: &service, task: &task, out: Ok(out), origin: None, proofs: &[] };
    draft.to_car::<NativeHasher>(&signer.public(), |message| signer.sign(message), Transaction::default())
}

/// What the chain and its index know.
pub struct Chain {
    pub head: Head,
    pub signed: Vec<u8>,
    pub blocks: Blocks,
}

impl Chain {
    pub fn new() -> Self {
        Self { head: Head::empty::<NativeHasher>(), signed: vec![], blocks: Blocks::new() }
    }

    pub fn push(&mut self, changes: &crate::space::model::Changes, author: u8, upto: u64) {
        let written = Tree::<_, NativeHasher>::new(&self.blocks, self.head.root).apply(&sorted(changes)).unwrap();
        self.blocks.extend(written.nodes);
        self.head.root = written.root;
        self.head.seq += 1;
        self.head.clock.insert(key(author).did().to_string(), upto);
        self.signed = vouch(&service(), &space(), PUSH, self.head.to_ipld());
    }

    pub fn evidence(&self) -> Evidence {
        Evidence { car: None, signed: (!self.signed.is_empty()).then(|| self.signed.clone()) }
    }

    /// Those nodes of the head's tree that are missing.
    fn complete(&self, kept: &Change) -> Result<(), SpaceError> {
        loop {
            let missing = kept.missing(&self.head.root)?;
            if missing.is_empty() {
                return Ok(());
            }
            missing.iter().try_for_each(|cid| kept.put_coming(&self.blocks[cid]))?;
        }
    }

    /// So many entries, as if somebody had pushed them at once.
    pub fn with_entries(count: u64) -> Self {
        let mut chain = Self::new();
        let entry = |n: u64| (format!("/notes/{n:06}"), Some(Ipld::Integer(n.into())));
        chain.push(&(0..count).map(entry).collect(), 9, 1);
        chain
    }
}
