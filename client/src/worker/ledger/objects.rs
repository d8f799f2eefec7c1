//! Objects that no attempt accounts for: a URL is good for longer than an entry waits, and whoever has it may put the CAR after
//! the room was given back.

use bucket_core::cid::CarId;
use redb::ReadableTable;

use super::tables::{ATTEMPTS, Books, OBJECTS, UNDATED, USED, car_id, is_allocated};
use super::{Ledger, LedgerError};

/// Objects whose time is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Nothing is allocated for them, in no bucket.
    pub unaccounted: Vec<CarId>,
    /// Something is, or they were let go and have no time yet: [`Ledger::date`] decides.
    pub others: Vec<CarId>,
}

impl Ledger {
    /// Objects whose time is over at `now`, in seconds since 1970.
    pub fn ended(&self, now: u64) -> Result<Ended, LedgerError> {
        self.read(|read| {
            let (used, attempts) = (read.open_table(USED)?, read.open_table(ATTEMPTS)?);
            let mut ended = Ended::default();
            for (link, until) in due(&read.open_table(OBJECTS)?, now)? {
                match until != UNDATED && !is_allocated(&used, &attempts, &link)? {
                    true => ended.unaccounted.push(link),
                    false => ended.others.push(link),
                }
            }
            Ok(ended)
        })
    }

    /// Gives objects that were let go their time, `until` then; forgets those for which something is allocated, until that is let
    /// go. Those that got another time since `now` keep it.
    pub fn date(&self, links: &[CarId], now: u64, until: u64) -> Result<(), LedgerError> {
        self.write(|write| {
            let mut books = Books::open(write)?;
            for link in links {
                let key = &link.0[..];
                let known = books.objects.get(key)?.map(|known| known.value());
                let Some(known) = known.filter(|known| *known <= now) else { continue };
                if is_allocated(&books.used, &books.attempts, link)? {
                    books.objects.remove(key)?;
                } else if known == UNDATED {
                    books.objects.insert(key, until)?;
                }
            }
            Ok(())
        })
    }

    /// Whether an object's time is over and nobody accounts for it.
    pub fn is_unaccounted(&self, link: &CarId, now: u64) -> Result<bool, LedgerError> {
        self.read(|read| {
            let until = read.open_table(OBJECTS)?.get(&link.0[..])?.map(|until| until.value());
            let over = until.is_some_and(|until| until != UNDATED && until <= now);
            Ok(over && !is_allocated(&read.open_table(USED)?, &read.open_table(ATTEMPTS)?, link)?)
        })
    }

    /// Forgets a CAR of which there is no object.
    pub fn gone(&self, link: &CarId) -> Result<(), LedgerError> {
        self.write(|write| {
            write.open_table(OBJECTS)?.remove(&link.0[..])?;
            Ok(())
        })
    }
}

/// Objects whose time is over, or not known.
fn due(objects: &impl ReadableTable<&'static [u8], u64>, now: u64) -> Result<Vec<(CarId, u64)>, redb::Error> {
    let mut due = Vec::new();
    for row in objects.iter()? {
        let (link, until) = row?;
        if until.value() <= now {
            due.push((car_id(link.value())?, until.value()));
        }
    }
    Ok(due)
}
