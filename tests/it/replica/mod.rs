//! Replicas of a space over the whole network: two clients, and a third party without a key.

mod forks;
mod index;

use std::net::SocketAddr;

use axum::Router;
use bucket_client::space::content::Content;
use bucket_client::space::edit::Ops;
use bucket_client::space::kept::{Author, Fate, Holds as _};
use bucket_client::space::pull::{Pulled, pull};
use bucket_client::space::push::{Pushed, pack, push};
use bucket_client::space::remote::Remote;
use bucket_client::space::serve::router;
use bucket_client::space::sync::{Synced, sync};
use bucket_client::space::{Replica, SpaceError, kept};
use bucket_client::{ActorClient, ClientError, Identity};
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_protocols::space::head::Head;
use bucket_tests::cars::{car, id, map, task, text};
use bucket_tests::keys::{chain, cid, create, ed25519, grant, signed};
use bucket_tests::network::NetworkWorld;
use bucket_tests::{User, World};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::scenario::int;

/// A bucket with a space, whose owner let Alice and Bob edit.
struct Net {
    world: NetworkWorld,
    runtime: Runtime,
    space: BucketId,
}

/// Somebody with a replica.
struct Home {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
    replica: Replica,
    key: Identity,
    author: Author,
}

impl Net {
    fn new() -> Self {
        let mut world = NetworkWorld::default();
        let space = create(&mut world, &ed25519(1));
        world.catch_up();
        Self { world, runtime: Runtime::new().unwrap(), space }
    }

    /// Somebody who was given the space's commands.
    fn home(&self, number: u8) -> Home {
        let (owner, key) = (ed25519(1), ed25519(number));
        let dir = tempfile::tempdir().unwrap();
        let author = Author { did: key.did(), proofs: chain(&[&owner, &key], "/space") };
        let replica = Replica::new(dir.path(), self.space.clone());
        Home { path: dir.path().to_owned(), _dir: dir, replica, key, author }
    }

    /// Whoever pays for Alice, or for Bob.
    fn client(&self, user: User) -> ActorClient {
        self.world.clients[user as usize].clone().with_gateway(self.world.gateway.clone())
    }

    fn pull(&self, home: &Home) -> Result<Pulled, ClientError> {
        self.world.catch_up();
        self.runtime.block_on(pull(&home.replica, &self.client(User::Alice)))
    }

    fn push_by(&self, home: &Home, client: &ActorClient) -> Result<Pushed, ClientError> {
        self.runtime.block_on(push(&home.replica, client, &home.key, &home.author))
    }

    fn push(&self, home: &Home) -> Pushed {
        self.push_by(home, &self.client(User::Bob)).unwrap()
    }

    fn serve(&self, home: &Home) -> Remote {
        let router = router(home.path.clone());
        Remote::new(&self.listen(router)).unwrap()
    }

    fn listen(&self, router: Router) -> String {
        let listener = self.runtime.block_on(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime.spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn sync(&self, home: &Home, remote: &Remote) -> Result<Synced, SpaceError> {
        self.runtime.block_on(sync(&home.replica, remote))
    }

    /// The head that the index has.
    fn head(&self) -> Head {
        let row = self.world.index(&self.space, "/kv?gte=[%22space%22,%22head%22]&lte=[%22space%22,%22head%22]");
        Head::from_ipld(&bucket_client::dag_json::from_json(&row["items"][0]["value"]).unwrap()).unwrap()
    }
}

impl Home {
    fn edit(&self, changes: &[(&str, Option<Ipld>)]) {
        let ops = Ops::new(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))).unwrap();
        let space = self.replica.space();
        self.replica.write(|kept| kept.make(space, &self.key, &self.author.proofs, ops)).unwrap();
    }

    fn put_file(&self, key: &str, bytes: Vec<u8>) {
        let Content { value, block } = Content::of_file(bytes).unwrap();
        self.edit(&[(key, Some(value))]);
        self.replica.write(|kept| kept.put_block(&block.unwrap())).unwrap();
    }

    fn get(&self, key: &str) -> Option<Ipld> {
        self.replica.read(|kept| kept.view()?.get(key)).unwrap()
    }

    fn root(&self) -> Cid {
        self.replica.read(|kept| Ok(kept.view()?.root())).unwrap()
    }

    fn head(&self) -> Head {
        self.replica.read(|kept| kept.head()).unwrap()
    }

    fn waiting(&self) -> usize {
        self.replica.read(|kept| Ok(kept.state()?.edits().len())).unwrap()
    }

    fn trust(&self, signer: &BucketId) {
        self.replica.write(|kept| kept.trust(signer)).unwrap();
    }
}

#[test]
fn offline_edits_of_two_reach_all_by_whatever_way() {
    let net = Net::new();
    let (alice, bob, third) = (net.home(2), net.home(3), net.home(4));
    let first = net.pull(&alice).unwrap();
    assert_eq!((first.head.seq, first.signer), (0, None));
    alice.edit(&[("/a", Some(int(1))), ("/both", Some(text("alice")))]);
    alice.edit(&[("/gone", Some(int(1)))]);
    bob.edit(&[("/b", Some(int(2))), ("/both", Some(text("bob")))]);
    // The third one carries what two made who never met. It has no key, and nobody gave it a right.
    let third_at = net.serve(&third);
    third.replica.write(|_| Ok(())).unwrap();
    for home in [&alice, &bob, &alice] {
        let synced = net.sync(home, &third_at).unwrap();
        assert!(synced.equal);
    }
    assert_eq!((alice.root(), alice.waiting()), (third.root(), 3));
    assert_eq!(bob.waiting(), 3);
    assert_eq!(alice.get("/both"), Some(text("bob")), "the later one");
    // Alice pushes her own alone; Bob's waits over it.
    let pushed = net.push(&alice);
    assert_eq!((pushed.pushes.len(), pushed.rebased, pushed.head.seq), (1, 0, 1));
    assert_eq!((pushed.pushes[0].ops, pushed.pushes[0].edits), (3, 2));
    assert_eq!((alice.head(), alice.waiting()), (net.head(), 1));
    // The head goes from her to the third one, who knows who signed it from nobody but its user.
    let told = net.sync(&alice, &third_at).unwrap_err();
    assert!(told.to_string().contains("trusts (nobody)"), "{told}");
    let signer = alice.replica.read(|kept| kept.trusted()).unwrap().pop_first().expect("who signed at the first pull");
    third.trust(&signer);
    assert!(net.sync(&alice, &third_at).unwrap().sent.nodes > 0);
    assert_eq!((third.head(), third.waiting()), (net.head(), 1));
    // Bob gets it there, and pushes; what he removes stays removed, though somebody was away.
    bob.trust(&signer);
    assert!(net.sync(&bob, &third_at).unwrap().equal);
    bob.edit(&[("/gone", None)]);
    let pushed = net.push(&bob);
    assert_eq!((pushed.head.seq, pushed.rebased), (2, 0));
    assert!(net.sync(&bob, &third_at).unwrap().equal);
    assert!(net.sync(&alice, &third_at).unwrap().equal);
    for home in [&alice, &bob, &third] {
        assert_eq!((home.head(), home.waiting(), home.root()), (net.head(), 0, net.head().root));
        assert_eq!((home.get("/gone"), home.get("/both")), (None, Some(text("bob"))));
    }
    assert_eq!(net.world.validate().problems, Vec::<String>::new());
}

#[test]
fn two_who_push_at_once_both_come_through() {
    let net = Net::new();
    let (alice, bob) = (net.home(2), net.home(3));
    for n in 0..3 {
        alice.edit(&[("/a", Some(int(n))), (&format!("/alice/{n}"), Some(int(n)))]);
        bob.edit(&[("/a", Some(int(10 + n))), (&format!("/bob/{n}"), Some(int(n)))]);
        let (a, b) = (net.client(User::Alice), net.client(User::Bob));
        let (a, b) = net.runtime.block_on(async {
            tokio::join!(
                push(&alice.replica, &a, &alice.key, &alice.author),
                push(&bob.replica, &b, &bob.key, &bob.author),
            )
        });
        assert_eq!((a.unwrap().pushes.len(), b.unwrap().pushes.len()), (1, 1));
        net.pull(&alice).unwrap();
        net.pull(&bob).unwrap();
        assert_eq!((alice.root(), alice.waiting()), (bob.root(), 0));
    }
    assert_eq!(net.head().seq, 6);
    let page = alice.replica.read(|kept| kept.view()?.list("/", None, 100)).unwrap();
    assert_eq!(page.entries.len(), 7);
}

#[test]
fn files_go_to_the_chain_in_pieces_and_from_there_to_everybody() {
    let net = Net::new();
    let (alice, bob, third) = (net.home(2), net.home(3), net.home(4));
    let photo: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    alice.put_file("/photo", photo.clone());
    let queued = car(&net.space, "/echo", map([]), 5);
    alice.put_file("/car", queued.clone());
    let many: Vec<_> = (0..300).map(|n| (format!("/n/{n:03}"), Some(int(n)))).collect();
    for some in many.chunks(150) {
        alice.edit(&some.iter().map(|(key, value)| (&key[..], value.clone())).collect::<Vec<_>>());
    }
    let pushed = net.push(&alice);
    assert!(pushed.pushes.len() > 1, "more keys than one push takes");
    assert!(pushed.pushes[0].bytes > 200_000, "{:?}", pushed.pushes);
    assert_eq!(pushed.pushes.iter().map(|sent| sent.edits).sum::<usize>(), 4);
    // From the index, ...
    let pulled = net.pull(&bob).unwrap();
    assert_eq!(pulled.moved.values, 2);
    let block = |home: &Home, key: &str| {
        let Some(Ipld::Link(cid)) = home.get(key) else { panic!("{key} is no link") };
        home.replica.read(|kept| kept.block(&cid)).unwrap()
    };
    assert_eq!(block(&bob, "/photo"), Some(photo.clone()));
    assert_eq!(bob.get("/car"), Some(Ipld::Link(id(&queued).to_cid())), "by the CAR's own id");
    assert_eq!(block(&bob, "/car"), Some(queued));
    assert_eq!(bob.get("/n/299"), Some(int(299)));
    // ... and from a replica.
    third.trust(&bob.replica.read(|kept| kept.trusted()).unwrap().pop_first().unwrap());
    let synced = net.sync(&third, &net.serve(&bob)).unwrap();
    assert_eq!((synced.received.values, synced.equal), (3, true), "and the evidence");
    assert_eq!(block(&third, "/photo"), Some(photo));
    // A pull of a little moves a little.
    alice.edit(&[("/n/150", Some(text("changed")))]);
    net.push(&alice);
    let moved = net.pull(&bob).unwrap().moved;
    assert!((1..=6).contains(&moved.nodes) && moved.values == 0, "{moved:?}");
}

#[test]
fn a_client_that_was_killed_in_a_push_finds_out_what_became_of_it() {
    let mut net = Net::new();
    let (alice, bob) = (net.home(2), net.home(3));
    let begun = |home: &Home| {
        let packed = home.replica.read(|kept| pack(kept, home.replica.space(), &home.key, &home.author.proofs));
        let packed = packed.unwrap().unwrap();
        let noted = kept::Push::new(packed.prepared.push.base, packed.edits.clone());
        home.replica.write(|kept| kept.put_push(&CarId::of::<NativeHasher>(&packed.car), &noted)).unwrap();
        packed.car
    };
    // Own edits and pushes that aren't final, and pushes of which nothing is known.
    let unknown = |home: &Home| {
        let (own, pushes) = home.replica.read(|kept| Ok((kept.own()?.len(), kept.pushes()?))).unwrap();
        (own, pushes.len(), pushes.values().filter(|push| push.fate == Fate::Unknown).count())
    };
    let space = net.space.clone();
    // It was sent, and then the client was killed.
    alice.edit(&[("/a", Some(int(1)))]);
    let sent = begun(&alice);
    assert_eq!(net.world.invoke(User::Bob, &space, &sent, false).unwrap().ok, Some(true));
    net.pull(&alice).unwrap();
    assert_eq!((alice.waiting(), unknown(&alice)), (0, (1, 1, 0)));
    assert!(net.push(&alice).pushes.is_empty(), "nothing is sent twice");
    // It was killed before it sent.
    alice.edit(&[("/b", Some(int(2)))]);
    begun(&alice);
    net.pull(&alice).unwrap();
    assert_eq!((alice.waiting(), unknown(&alice)), (1, (2, 2, 1)));
    assert_eq!(net.push(&alice).pushes.len(), 1);
    net.pull(&alice).unwrap();
    assert_eq!((alice.waiting(), unknown(&alice)), (0, (2, 2, 0)));
    // It was sent too late, and refused.
    alice.edit(&[("/c", Some(int(3)))]);
    let late = begun(&alice);
    bob.edit(&[("/d", Some(int(4)))]);
    net.push(&bob);
    assert_eq!(net.world.invoke(User::Bob, &space, &late, false).unwrap().ok, Some(false));
    net.pull(&alice).unwrap();
    assert_eq!((alice.waiting(), unknown(&alice)), (1, (3, 2, 0)));
    assert_eq!(net.push(&alice).pushes.len(), 1);
    net.pull(&bob).unwrap();
    for (key, value) in [("/a", 1), ("/b", 2), ("/c", 3), ("/d", 4)] {
        assert_eq!(bob.get(key), Some(int(value)), "{key}");
    }
    // What is old enough can't be taken back.
    assert_eq!(unknown(&alice), (3, 3, 0));
    net.world.pass(900);
    net.pull(&alice).unwrap();
    assert_eq!((alice.waiting(), unknown(&alice)), (0, (0, 0, 0)));
}

#[test]
fn an_author_on_two_devices_loses_nothing() {
    let net = Net::new();
    let (phone, laptop) = (net.home(2), net.home(2));
    phone.edit(&[("/phone", Some(int(1)))]);
    laptop.edit(&[("/laptop", Some(int(1)))]);
    assert_eq!(net.push(&phone).anew, 0);
    // The number is used: what the laptop has under it is told, and made anew.
    net.pull(&laptop).unwrap();
    assert_eq!(laptop.replica.read(|kept| Ok(kept.stranded()?.len())).unwrap(), 1);
    let pushed = net.push(&laptop);
    assert_eq!((pushed.anew, pushed.pushes.len()), (1, 1));
    net.pull(&phone).unwrap();
    assert_eq!((phone.get("/phone"), phone.get("/laptop")), (Some(int(1)), Some(int(1))));
    assert_eq!(phone.root(), laptop.root());
}

#[test]
fn who_has_no_right_pushes_nothing() {
    let net = Net::new();
    let alice = net.home(2);
    let stranger = net.home(9);
    let made = stranger
        .replica
        .write(|kept| kept.make(&net.space, &stranger.key, &[], Ops::new([("/a".to_owned(), Some(int(1)))]).unwrap()));
    assert!(matches!(made, Err(SpaceError::Denied(_))), "{made:?}");
    // Rights of another space are none.
    let other = Author { did: stranger.key.did(), proofs: chain(&[&ed25519(7), &stranger.key], "/") };
    let ops = Ops::new([("/a".to_owned(), Some(int(1)))]).unwrap();
    assert!(stranger.replica.write(|kept| kept.make(&net.space, &stranger.key, &other.proofs, ops)).is_err());
    alice.edit(&[("/a", Some(int(1)))]);
    assert_eq!(net.push(&alice).head.seq, 1);
}

#[test]
fn what_the_chain_took_back_doesnt_count_since_the_next_pull() {
    let mut net = Net::new();
    let (alice, bob) = (net.home(2), net.home(3));
    net.pull(&alice).unwrap();
    alice.edit(&[("/a", Some(int(1)))]);
    bob.edit(&[("/b", Some(int(2)))]);
    let there = net.serve(&alice);
    assert!(net.sync(&bob, &there).unwrap().equal);
    assert_eq!((bob.waiting(), bob.get("/a")), (2, Some(int(1))));
    // Nothing was taken back: the chain is asked, and says so.
    net.pull(&bob).unwrap();
    assert_eq!(bob.waiting(), 2);
    let space = net.space.clone();
    let delegation = cid(&alice.author.proofs[0]);
    let revoke = |number| task(&space, "/ucan/revoke", map([("ucan", Ipld::Link(delegation))]), number);
    let by_owner = signed(&ed25519(1), revoke(1), &[]);
    assert_eq!(net.world.invoke(User::Bob, &space, &by_owner, false).unwrap().ok, Some(true));
    assert_eq!(bob.get("/a"), Some(int(1)), "nobody knows yet");
    net.pull(&bob).unwrap();
    assert_eq!((bob.waiting(), bob.get("/a"), bob.get("/b")), (1, None, Some(int(2))));
    // She doesn't know, and sends it again: it is left out, and the rest goes on.
    bob.edit(&[("/b", Some(int(3)))]);
    let synced = net.sync(&bob, &there).unwrap();
    assert_eq!((synced.refused.len(), synced.sent.edits, synced.equal), (1, 1, false));
    assert!(synced.refused.values().all(|why| why.contains("Revoked")), "{:?}", synced.refused);
    // A push by her sends nothing that would be refused. With another delegation her edit is made anew.
    let denied = net.push_by(&alice, &net.client(User::Alice)).unwrap_err();
    assert_eq!((denied.code(), alice.waiting()), ("denied", 2));
    let mut again = grant(&ed25519(1), &alice.key, &space, "/space");
    again.nonce = b"again".to_vec();
    let proofs = vec![ed25519(1).delegate(&again)];
    let author = Author { did: alice.key.did(), proofs };
    let client = net.client(User::Alice);
    let pushed = net.runtime.block_on(push(&alice.replica, &client, &alice.key, &author)).unwrap();
    assert_eq!((pushed.anew, pushed.pushes.len()), (1, 1));
    net.pull(&bob).unwrap();
    assert_eq!((bob.waiting(), bob.get("/a")), (2, Some(int(1))));
    assert!(net.sync(&bob, &there).unwrap().equal);
}
