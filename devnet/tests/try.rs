use bucket_devnet::*;
#[test]
fn tries() {
    let t = std::time::Instant::now();
    let mut chain = Chain::open(&Config::default()).unwrap();
    eprintln!("open {:?}", t.elapsed());
    let alice = chain.account(0).unwrap();
    let t = std::time::Instant::now();
    let actor = chain.deploy(&alice, IDLE, &[]).unwrap();
    eprintln!("deploy {:?} {:?}", t.elapsed(), actor);
    let r = chain.send(&alice, Message::new(alice.address(), actor.robust, 2, vec![])).unwrap();
    eprintln!("{:?} {:#?}", r.receipt, r.gas);
    let t = std::time::Instant::now();
    for _ in 0..500 {
        chain.send(&alice, Message::new(alice.address(), actor.robust, 2, vec![])).unwrap();
    }
    eprintln!("500 {:?}", t.elapsed());
    let e = chain.install(&alice, b"\0asm").unwrap_err();
    eprintln!("{e:#}");
    eprintln!("{:?}", executor::preload(b"\0asm"));
}
