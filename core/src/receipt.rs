//! What a run produced: `{ran, out: {ok | error}, fx: {fork}, meta}` (ucan-wg/receipt, with follow-ups under `fx`).
//!
//! A receipt is a pure function of the input CAR and the bucket's state: no epoch, caller or position in it, so that it is
//! the same whoever else's tasks ran before or after. `meta` holds `cause` (the receipt that asked for this run) and, after a
//! forced run, `prior` (the receipt before this one) and `version` (2, 3, …).

use std::collections::BTreeMap;

use crate::car::{Car, CarError, Transaction};
use crate::cid::{CarId, Hasher};
use crate::dag_cbor::{Ipld, map};
use crate::error::Failure;
use crate::task::kind;

/// A receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The CAR that ran.
    pub ran: CarId,
    /// What came out.
    pub out: Result<Ipld, Failure>,
    /// The CARs that are scheduled because of it.
    pub fork: Vec<CarId>,
    /// The receipt of the task that asked for this one.
    pub cause: Option<CarId>,
    /// The receipt that a forced run replaces, and which version this one is.
    pub prior: Option<(CarId, u64)>,
}

/// Why bytes are not a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not a CAR in the machine's form.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The root is something else.
    #[error("expected a receipt {{ran, out, fx, meta}}, got {0}")]
    Shape(String),
}

fn link(id: CarId) -> Ipld {
    Ipld::Link(id.to_cid())
}

impl Receipt {
    /// The receipt as a value.
    pub fn to_ipld(&self) -> Ipld {
        let out = match &self.out {
            Ok(value) => map([("ok", value.clone())]),
            Err(failure) => map([("error", failure.to_ipld())]),
        };
        let mut meta = BTreeMap::new();
        if let Some(cause) = self.cause {
            meta.insert("cause".to_owned(), link(cause));
        }
        if let Some((prior, version)) = self.prior {
            meta.insert("prior".to_owned(), link(prior));
            meta.insert("version".to_owned(), Ipld::Integer(version.into()));
        }
        let fork = Ipld::List(self.fork.iter().copied().map(link).collect());
        map([("ran", link(self.ran)), ("out", out), ("fx", map([("fork", fork)])), ("meta", Ipld::Map(meta))])
    }

    /// The receipt CAR: one block.
    pub fn to_car<H: Hasher>(&self) -> Vec<u8> {
        let mut transaction = Transaction::<H>::default();
        transaction.write(&self.to_ipld());
        transaction.commit().expect("the receipt was written")
    }

    /// Reads a receipt CAR and checks its shape. That these are the right bytes is for the caller to check by their id.
    pub fn from_car<H: Hasher>(bytes: Vec<u8>) -> Result<Self, ReceiptError> {
        let car = Car::decode::<H>(bytes)?;
        let mut root = fields(car.root_value(), "a receipt")?;
        let receipt = Self {
            ran: car_id(take(&mut root, "ran")?)?,
            out: out(take(&mut root, "out")?)?,
            fork: {
                let mut fx = fields(take(&mut root, "fx")?, "fx")?;
                let Ipld::List(fork) = take(&mut fx, "fork")? else { return shape("fx.fork that is no list") };
                fork.into_iter().map(car_id).collect::<Result<_, _>>()?
            },
            cause: None,
            prior: None,
        };
        let mut meta = fields(take(&mut root, "meta")?, "meta")?;
        let cause = meta.remove("cause").map(car_id).transpose()?;
        let prior = match (meta.remove("prior"), meta.remove("version")) {
            (Some(prior), Some(Ipld::Integer(version))) => {
                let version = u64::try_from(version).or_else(|_| shape(format!("version {version}")))?;
                Some((car_id(prior)?, version))
            }
            (None, None) => None,
            _ => return shape("meta with only one of prior and version"),
        };
        Ok(Self { cause, prior, ..receipt })
    }
}

fn shape<T>(got: impl Into<String>) -> Result<T, ReceiptError> {
    Err(ReceiptError::Shape(got.into()))
}

fn fields(value: Ipld, what: &str) -> Result<BTreeMap<String, Ipld>, ReceiptError> {
    if let Ipld::Map(map) = value { Ok(map) } else { shape(format!("{} for {what}", kind(&value))) }
}

fn take(map: &mut BTreeMap<String, Ipld>, field: &str) -> Result<Ipld, ReceiptError> {
    map.remove(field).map_or_else(|| shape(format!("none of the field “{field}”")), Ok)
}

fn car_id(value: Ipld) -> Result<CarId, ReceiptError> {
    let Ipld::Link(cid) = value else { return shape(format!("{} for a CAR's link", kind(&value))) };
    CarId::try_from(&cid).or_else(|error| shape(error.to_string()))
}

fn out(value: Ipld) -> Result<Result<Ipld, Failure>, ReceiptError> {
    let mut map = fields(value, "out")?;
    match (map.remove("ok"), map.remove("error"), map.is_empty()) {
        (Some(ok), None, true) => Ok(Ok(ok)),
        (None, Some(error), true) => {
            let mut error = fields(error, "out.error")?;
            match (take(&mut error, "name")?, take(&mut error, "message")?) {
                (Ipld::String(name), Ipld::String(message)) => Ok(Err(Failure { name, message })),
                _ => shape("an error whose name or message is no string"),
            }
        }
        _ => shape("out with not exactly one of ok and error"),
    }
}
