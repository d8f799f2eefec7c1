//! The ledger against a chain that takes back what it said, and a worker that does what the chain asks at the moment.

use proptest::prelude::*;

use super::*;

const CAPACITY: u64 = 100;
const LINKS: u8 = 4;

/// What happens to an entry: `add`, or the worker's word about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Add,
    Exceed(u64),
    Receive(u64),
    Put(u64),
    Expire(u64),
    Done(u64),
}

/// An entry on the chain.
#[derive(Debug, Clone, Default)]
struct Cell {
    attempt: u64,
    status: Option<Status>,
    since: i64,
    /// Attempts whose bytes are to be given back.
    free: BTreeSet<u64>,
}

impl Cell {
    /// The table of `store`.
    fn apply(&mut self, event: Event, epoch: i64) {
        use Status::{Active, Exceeds, Expired, Ok, Receiving};
        let own = |attempt: u64| attempt == self.attempt;
        let status = match (event, self.status) {
            (Event::Add, None | Some(Exceeds | Expired)) => {
                self.attempt += 1;
                Active
            }
            (Event::Exceed(attempt), Some(Active)) if own(attempt) => Exceeds,
            (Event::Receive(attempt), Some(Active)) if own(attempt) => Receiving,
            (Event::Put(attempt), Some(Active | Receiving)) if own(attempt) => Ok,
            (Event::Expire(attempt), Some(Receiving)) if own(attempt) => {
                self.free.insert(attempt);
                Expired
            }
            (Event::Done(attempt), _) => {
                self.free.remove(&attempt);
                return;
            }
            _ => return,
        };
        (self.status, self.since) = (Some(status), epoch);
    }

    fn entry(&self, link: u8) -> Option<Entry> {
        let car = Some((CarId([link; 32]), size(link)));
        let (attempt, status) = (self.attempt, self.status?);
        Some(Entry { status, attempt, car, began: None, until: None, upload: None, put: None, term: None })
    }

    fn waits(&self) -> bool {
        matches!(self.status, Some(Status::Active | Status::Receiving)) || !self.free.is_empty()
    }
}

fn size(link: u8) -> u64 {
    [30, 45, 60, 25][usize::from(link)]
}

fn bucket() -> BucketId {
    "did:key:z1".parse().unwrap()
}

fn at(link: u8, number: u64) -> Attempt {
    Attempt { bucket: bucket(), link: CarId([link; 32]), number }
}

/// A chain, what waits to be on it, and the worker's ledger.
struct World {
    /// What was executed, and when.
    history: Vec<(u8, Event, i64)>,
    epoch: i64,
    cells: BTreeMap<u8, Cell>,
    /// The worker's messages, which keep their order.
    pool: Vec<(u8, Event)>,
    /// Links that were added in tipsets that the chain dropped.
    adds: Vec<u8>,
    dir: tempfile::TempDir,
    ledger: Option<Ledger>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Some(Ledger::open(dir.path()).unwrap());
        Self { history: vec![], epoch: 0, cells: BTreeMap::new(), pool: vec![], adds: vec![], dir, ledger }
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    fn execute(&mut self, link: u8, event: Event) {
        self.epoch += 1;
        self.history.push((link, event, self.epoch));
        self.cells.entry(link).or_default().apply(event, self.epoch);
    }

    /// Executes the first of the messages that wait.
    fn mine(&mut self, messages: usize) {
        let mined: Vec<_> = self.pool.drain(..messages.min(self.pool.len())).collect();
        mined.into_iter().for_each(|(link, event)| self.execute(link, event));
    }

    /// Takes executions back; the worker's wait again, before all others, and users' may be lost.
    fn reorganise(&mut self, depth: usize, shift: i64) {
        let dropped = self.history.split_off(self.history.len().saturating_sub(depth));
        self.epoch = self.history.last().map_or(0, |(.., epoch)| *epoch) + shift;
        self.cells.clear();
        for (link, event, epoch) in &self.history {
            self.cells.entry(*link).or_default().apply(*event, *epoch);
        }
        for (link, event, _) in dropped.into_iter().rev() {
            match event {
                Event::Add => self.adds.push(link),
                event => self.pool.insert(0, (link, event)),
            }
        }
    }

    fn tell(&mut self, link: u8, event: Event) {
        if !self.pool.contains(&(link, event)) {
            self.pool.push((link, event));
        }
    }

    /// An entry's turn: `there` is whether somebody put the CAR, `late` whether its time is over.
    fn turn(&mut self, link: u8, there: bool, late: bool) {
        let cell = self.cells.get(&link).cloned().unwrap_or_default();
        for attempt in &cell.free {
            self.ledger().free(&at(link, *attempt)).unwrap();
            self.tell(link, Event::Done(*attempt));
        }
        let (own, attempt) = (at(link, cell.attempt), cell.attempt);
        let claim = Claim { size: size(link), since: cell.since };
        match cell.status {
            Some(Status::Active) => match self.ledger().allocate(&own, claim, Capacity::each(CAPACITY)).unwrap() {
                Allocation::Allocated(_) if there => self.tell(link, Event::Put(attempt)),
                Allocation::Allocated(_) => self.tell(link, Event::Receive(attempt)),
                Allocation::Exceeded { .. } => self.tell(link, Event::Exceed(attempt)),
                Allocation::Freed => {}
            },
            Some(Status::Receiving) => match self.ledger().keep(&own, claim, Capacity::each(CAPACITY)).unwrap() {
                Allocation::Allocated(_) if there => self.tell(link, Event::Put(attempt)),
                _ if late => self.tell(link, Event::Expire(attempt)),
                _ => {}
            },
            _ => {}
        }
    }

    /// Compares what is idle with the chain.
    fn settle(&self, epoch: i64) {
        let cell = |link| self.cells.get(&link).cloned().unwrap_or_default();
        let idle = (0..LINKS).filter(|link| !cell(*link).waits());
        let entries = idle.map(|link| (CarId([link; 32]), cell(link).entry(link))).collect();
        self.ledger().settle(&bucket(), &entries, epoch).unwrap();
    }

    fn check(&self) {
        let used = self.ledger().used(&bucket()).unwrap();
        let attempts = self.ledger().attempts(&bucket()).unwrap();
        assert_eq!(attempts.into_iter().map(|(_, record)| allocated(record)).sum::<u64>(), used);
        assert!(used <= CAPACITY, "{used}");
        for (link, cell) in self.cells.iter().filter(|(_, cell)| cell.status == Some(Status::Ok)) {
            let record = self.ledger().standing(&at(*link, cell.attempt)).unwrap();
            assert!(record.is_some_and(|record| allocated(record) == size(*link)), "{link} is stored: {record:?}");
        }
    }

    /// Lets everything come to its end. Then what is allocated is what is stored.
    fn finish(&mut self) {
        for _ in 0..40 {
            self.mine(usize::MAX);
            (0..LINKS).for_each(|link| self.turn(link, false, true));
            self.check();
        }
        assert!(self.pool.is_empty() && !self.cells.values().any(Cell::waits), "{:?}", self.cells);
        self.settle(i64::MAX);
        let stored = self.cells.iter().filter(|(_, cell)| cell.status == Some(Status::Ok));
        let stored: BTreeSet<_> = stored.map(|(link, cell)| at(*link, cell.attempt)).collect();
        let of = self.ledger().attempts(&bucket()).unwrap().into_iter();
        let having: BTreeSet<_> = of.filter(|(_, record)| record.0 == Standing::Allocated).map(|(at, _)| at).collect();
        assert_eq!(having, stored);
        self.check();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    AddAgain,
    Turn(u8, bool, bool),
    Mine(usize),
    Reorganise(usize, i64),
    Settle,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..LINKS).prop_map(Step::Add),
        2 => Just(Step::AddAgain),
        10 => (0..LINKS, any::<bool>(), any::<bool>()).prop_map(|(link, there, late)| Step::Turn(link, there, late)),
        8 => (1..4usize).prop_map(Step::Mine),
        3 => (1..8usize, 0..2i64).prop_map(|(depth, shift)| Step::Reorganise(depth, shift)),
        3 => Just(Step::Settle),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    /// Bytes are neither made nor lost, whatever the chain takes back and whenever the process ends.
    #[test]
    fn bytes_are_conserved(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Add(link) => world.execute(link, Event::Add),
                Step::AddAgain => {
                    if let Some(link) = world.adds.pop() {
                        world.execute(link, Event::Add);
                    }
                }
                Step::Turn(link, there, late) => world.turn(link, there, late),
                Step::Mine(messages) => world.mine(messages),
                Step::Reorganise(depth, shift) => world.reorganise(depth, shift),
                Step::Settle => world.settle(world.epoch),
                Step::Reopen => {
                    world.ledger = None;
                    world.ledger = Some(Ledger::open(world.dir.path()).unwrap());
                }
            }
            world.check();
        }
        world.finish();
    }
}
