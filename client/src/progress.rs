//! What happens while the client works, for those who watch.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bucket_core::cid::CarId;
use cid::Cid;
use fvm_shared::econ::TokenAmount;

/// A step of a command that takes a while. Its text is for people.
#[derive(Debug, Clone)]
pub enum Step {
    /// The message would succeed and may cost so much.
    Estimated {
        /// The gas limit.
        gas: u64,
        /// The most that it can cost.
        fee: TokenAmount,
    },
    /// The node took the message.
    Sent(Cid),
    /// The message is not on the chain yet.
    Waiting(Cid, Duration),
    /// The node did not answer; it is asked again.
    Retrying(String),
    /// The receipt is not there yet, and why.
    Receipt(CarId, String, Duration),
    /// Anything else.
    Note(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Estimated { gas, fee } => write!(f, "gas limit {gas}, costs at most {fee} FIL"),
            Self::Sent(cid) => write!(f, "sent message {cid}"),
            Self::Waiting(cid, time) => write!(f, "waiting for message {cid} ({} s)", time.as_secs()),
            Self::Retrying(why) => write!(f, "asking again: {why}"),
            Self::Receipt(car, why, time) => {
                write!(f, "waiting for the receipt of {car}: {why} ({} s)", time.as_secs())
            }
            Self::Note(text) => f.write_str(text),
        }
    }
}

type Listener = dyn Fn(&Step) + Send + Sync;

/// Hears of every step.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Listener>>);

impl Progress {
    /// Calls `f` with every step.
    pub fn new(f: impl Fn(&Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(f)))
    }

    pub(crate) fn tell(&self, step: Step) {
        if let Some(f) = &self.0 {
            f(&step);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(heard)" } else { "Progress(unheard)" })
    }
}
