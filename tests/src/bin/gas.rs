use bucket_core::abi::*;
use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_tests::{cars::*, node::NodeWorld, *};
fn main() {
    let mut w = NodeWorld::default();
    let b = did("Gas");
    w.create(&b, Mode::Atomic).unwrap();
    let n: u64 = std::env::args().nth(1).unwrap_or("30".into()).parse().unwrap();
    for i in 0..n {
        let c = put(&b, text(&format!("key{i}")), Ipld::Bytes(vec![1; 800]), i);
        let (m, p) = Message::Invoke(CarParams { bucket: b.clone(), car: c.clone(), force: false }).encode();
        let e = w.send(User::Alice, m, p).unwrap();
        if i % 10 == 9 || i < 2 {
            println!("{i} len {} gas {} exit {:?} {}", c.len(), e.receipt.gas_used, e.receipt.exit_code, e.failure);
            let mut v: Vec<_> = e.gas.iter().collect();
            v.sort_by_key(|x| std::cmp::Reverse(x.1.1));
            for (k, (c, g)) in v {
                println!("   {k:30} {c:5} {g:>10}");
            }
        }
    }
}
