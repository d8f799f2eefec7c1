//! What an entry of a space is worth. Anybody who may edit a space may put anything under any key; what counts is only what the
//! service signed for that very key. Nothing else is refused: it is kept, synced, and *unrecognised*.
//!
//! Pure: service, clients and third parties answer alike, from the entry, the CAR that it links to, and the time.

use bucket_core::car::{Car, CarError};
use bucket_core::cid::{CarId, Cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::limits::STAGED_BYTES_MAX;
use bucket_core::task::{TaskError, kind};
use bucket_core::ucan::assertion::Names;
use bucket_core::ucan::{Crypto, Denied, Did, Request};

use super::keys::{self, Kind};
use super::receipt::Signed;

/// What an entry is worth.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// A receipt of the service for this key: it upholds what this says, be it yes or no.
    Recognised(Box<Recognised>),
    /// Somebody's signed invocation in `/queue/` or `/invoked/`, under its own name. It asks, and promises nothing.
    Asked(Box<Asked>),
    /// Kept, and nothing more.
    Unrecognised(Why),
}

/// A receipt of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognised {
    /// The part of the space.
    pub kind: Kind,
    /// The receipt's CAR.
    pub car: CarId,
    /// What it says, and who.
    pub receipt: Signed,
}

/// An invocation.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Its CAR.
    pub car: CarId,
    /// What it and its task are called.
    pub names: Names,
    /// The invocation, whose signatures are valid. Whether it may run is another question: see [`Asked::check`].
    pub request: Request,
}

/// What the service holds of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    /// Not all of it: effects are pending. The status is the service's, like `receiving`.
    Pending {
        /// The receipt's `status`.
        status: String,
    },
    /// It is there.
    Stored {
        /// The location commitment.
        site: Cid,
    },
    /// The service won't have it.
    Refused {
        /// The error's name, like `CapacityExceeded`.
        name: String,
    },
}

/// Why an entry is not recognised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Users' own.
    #[error("expected a key in {}, got one that is its user's own", prefixes())]
    Own,
    /// The value is something else.
    #[error("expected a link to a CAR as the value, got {0}")]
    Value(String),
    /// The CAR isn't here, so that nothing can be said.
    #[error("the CAR {0} is not here: fetch it first")]
    Absent(CarId),
    /// What was found is something else.
    #[error("expected the CAR {expected}, got bytes of {got}")]
    Tampered {
        /// What the value links to.
        expected: CarId,
        /// What was given.
        got: CarId,
    },
    /// Nothing that a receipt or an invocation needs is so large.
    #[error("expected a CAR of at most {STAGED_BYTES_MAX} bytes, got {0}")]
    TooLarge(usize),
    /// Not a CAR in the machine's form.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The CAR's root is something else.
    #[error("expected a signed receipt, got {0}")]
    NoReceipt(String),
    /// The CAR's root is something else.
    #[error("expected a signed invocation as the CAR's root, got something else")]
    NoInvocation,
    /// Somebody else's word.
    #[error("expected a receipt in the name of {expected}, got one of {got}")]
    Service {
        /// The service.
        expected: Did,
        /// Who asserts it.
        got: Did,
    },
    /// The receipt doesn't bring its task.
    #[error("expected the task {0} in the receipt's CAR, got none")]
    TaskAbsent(Cid),
    /// The receipt is about something else than a task.
    #[error("expected a task: {0}")]
    Task(#[from] TaskError),
    /// Signature, chain, time.
    #[error("{name}: {0}", name = .0.name())]
    Denied(#[from] Denied),
    /// It is about another space.
    #[error("expected the space {expected}, got {got}")]
    Subject {
        /// This space.
        expected: Did,
        /// The task's `sub`.
        got: Did,
    },
    /// It belongs under another key.
    #[error("expected the key {expected}, got {got}")]
    Key {
        /// What it says.
        expected: String,
        /// Where it is.
        got: String,
    },
}

fn prefixes() -> String {
    Kind::all().map(Kind::prefix).collect::<Vec<_>>().join(", ")
}

/// What the entry `key` → `value` of `space` is worth at `now` (unix seconds) to who trusts `service`. `cars` gives a CAR's
/// bytes, which are hashed here.
///
/// That one of the service's delegations was revoked, nobody can tell from this; and of two receipts for the same key, which
/// one is newer, only [`Signed::origin`].
pub fn recognise<C: Crypto>(
    key: &str,
    value: &Ipld,
    cars: impl FnOnce(&CarId) -> Option<Vec<u8>>,
    service: &Did,
    space: &Did,
    now: u64,
) -> Standing {
    let entry = Entry { key, value, service, space };
    entry.standing::<C>(cars, now).unwrap_or_else(Standing::Unrecognised)
}

struct Entry<'a> {
    key: &'a str,
    value: &'a Ipld,
    service: &'a Did,
    space: &'a Did,
}

impl Entry<'_> {
    fn standing<C: Crypto>(&self, cars: impl FnOnce(&CarId) -> Option<Vec<u8>>, now: u64) -> Result<Standing, Why> {
        let kind = Kind::of(self.key).ok_or(Why::Own)?;
        let id = link(self.value)?;
        let bytes = cars(&id).ok_or(Why::Absent(id))?;
        if bytes.len() > STAGED_BYTES_MAX {
            return Err(Why::TooLarge(bytes.len()));
        }
        let got = CarId::of::<C>(&bytes);
        if got != id {
            return Err(Why::Tampered { expected: id, got });
        }
        let car = Car::decode::<C>(bytes)?;
        match kind {
            Kind::Queue | Kind::Invoked => {
                let asked = Asked::read::<C>(&car, id)?;
                self.is_about(&asked.request.invocation.task.sub)?;
                self.is_key(kind.key(&asked.names.invocation))?;
                asked.request.check_signatures::<C>()?;
                Ok(Standing::Asked(Box::new(asked)))
            }
            _ => {
                let receipt = Signed::read::<C>(&car, self.service, now)?;
                self.is_about(&receipt.task.sub)?;
                let of_task = || keys::key_of(&receipt.task).filter(|key| Kind::of(key) == Some(kind));
                let key = if kind == Kind::Receipt { Some(kind.key(&receipt.ran)) } else { of_task() };
                self.is_key(key.unwrap_or_else(|| format!("of a receipt of {}", receipt.task.cmd)))?;
                Ok(Standing::Recognised(Box::new(Recognised { kind, car: id, receipt })))
            }
        }
    }

    fn is_about(&self, sub: &Did) -> Result<(), Why> {
        if sub == self.space {
            return Ok(());
        }
        Err(Why::Subject { expected: self.space.clone(), got: sub.clone() })
    }

    fn is_key(&self, expected: String) -> Result<(), Why> {
        if expected == self.key { Ok(()) } else { Err(Why::Key { expected, got: self.key.to_owned() }) }
    }
}

/// The CAR that a value links to.
pub fn link(value: &Ipld) -> Result<CarId, Why> {
    match value {
        Ipld::Link(cid) => CarId::try_from(cid).map_err(|_| Why::Value(format!("a link to {cid}"))),
        other => Err(Why::Value(kind(other).to_owned())),
    }
}

impl Recognised {
    /// Whether the service says yes.
    pub fn is_ok(&self) -> bool {
        self.receipt.out.is_ok()
    }

    /// What the service holds, if this is about a blob. `None` as well when its words are none that we know.
    pub fn blob(&self) -> Option<Blob> {
        if self.kind != Kind::Blob {
            return None;
        }
        let (Ok(Ipld::Map(out)) | Err(Ipld::Map(out))) = &self.receipt.out else { return None };
        let text = |field| if let Some(Ipld::String(text)) = out.get(field) { Some(text.clone()) } else { None };
        match (&self.receipt.out, out.get("site")) {
            (Err(_), _) => Some(Blob::Refused { name: text("name")? }),
            (Ok(_), Some(Ipld::Link(site))) if text("status")? == "ok" => Some(Blob::Stored { site: *site }),
            (Ok(_), _) => Some(Blob::Pending { status: text("status")? }),
        }
    }
}

impl Asked {
    /// Reads a CAR whose root is an invocation; nothing is verified.
    fn read<C: Crypto>(car: &Car, id: CarId) -> Result<Self, Why> {
        let request = Request::from_car::<C>(car)?.ok_or(Why::NoInvocation)?;
        let names = Names::new::<C>(car, &request.invocation.task);
        Ok(Self { car: id, names, request })
    }

    /// Whether the service has to do it: it is the audience, and times, chain and policies say yes.
    pub fn check(&self, service: &Did, now: u64) -> Result<(), Denied> {
        let expected = || service.clone();
        match &self.request.invocation.aud {
            Some(aud) if aud == service => self.request.check(now, Some(service)),
            Some(aud) => {
                Err(Denied::InvalidAudience { token: "the invocation".into(), expected: expected(), got: aud.clone() })
            }
            None => Err(Denied::InvalidClaim(format!("expected the audience {service}, got none"))),
        }
    }
}
