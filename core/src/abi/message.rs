//! Messages as a whole: reading them from a call, writing them, and what wraps both for senders that can only call contracts.

use std::borrow::Cow;

use fvm_ipld_encoding::RawBytes;

use super::*;
use crate::evm;

/// Messages that change state: each with its method, parameters and return value.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident($params:ty) -> $returned:ty = $number:ident;)*) => {
        /// A message that changes state.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message {
            $($(#[$doc])* $name($params),)*
        }

        impl Message {
            /// Reads a message's parameters; `None` for a method that changes nothing or isn't there.
            pub fn read(number: u64, params: &[u8]) -> Option<Result<Self, Abort>> {
                Some(match number {
                    $(method::$number => decode(stringify!($name), params).map(Message::$name),)*
                    _ => return None,
                })
            }

            /// Method number and parameters, as a message carries them.
            pub fn encode(&self) -> (u64, RawBytes) {
                match self {
                    $(Message::$name(params) => (method::$number, encode(params)),)*
                }
            }

            /// Reads what this message returned.
            pub fn returned(&self, bytes: &[u8]) -> Result<Returned, Abort> {
                match self {
                    $(Message::$name(_) => decode(stringify!($name), bytes).map(Returned::$name),)*
                }
            }
        }

        /// What a message that changed state returns.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Returned {
            $($(#[$doc])* $name($returned),)*
        }

        impl Returned {
            /// The bytes of the message's return value.
            pub fn encode(&self) -> RawBytes {
                match self {
                    $(Returned::$name(value) => encode(value),)*
                }
            }
        }
    };
}

messages! {
    /// Create a bucket.
    Create(CreateParams) -> CreateReturn = CREATE;
    /// Enqueue a CAR.
    Schedule(CarParams) -> ScheduleReturn = SCHEDULE;
    /// Execute what is pending.
    Run(RunParams) -> RunReturn = RUN;
    /// Execute one CAR.
    Invoke(CarParams) -> InvokeReturn = INVOKE;
    /// Begin to stage a CAR.
    Stage(StageParams) -> StageReturn = STAGE;
    /// Bring a piece of it.
    Chunk(ChunkParams) -> StageReturn = CHUNK;
    /// Drop it.
    Drop(DropParams) -> StageReturn = DROP;
    /// Take a continuation from another instance.
    Deliver(DeliverParams) -> ScheduleReturn = DELIVER;
}

impl Message {
    /// Reads a call: the message, and how its return value goes back. `None` for a method that changes nothing or isn't there.
    pub fn decode(number: u64, params: &[u8]) -> Option<Result<(Self, Wire), Abort>> {
        match Call::unwrap(number, params) {
            Ok(call) => {
                Self::read(call.method, &call.params).map(|message| message.map(|message| (message, call.wire)))
            }
            Err(abort) => Some(Err(abort)),
        }
    }

    /// The bucket that it is for; none for what is staged, and for a continuation, whose CAR tells.
    pub fn bucket(&self) -> Option<&BucketId> {
        match self {
            Message::Create(params) => Some(&params.bucket),
            Message::Run(params) => Some(&params.bucket),
            Message::Schedule(params) | Message::Invoke(params) => Some(&params.bucket),
            Message::Stage(_) | Message::Chunk(_) | Message::Drop(_) | Message::Deliver(_) => None,
        }
    }
}

/// How parameters came, and so how a return value goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// As they are.
    Native,
    /// Wrapped for a sender that can only call contracts.
    Evm,
}

impl Wire {
    /// The bytes of a return value on this way.
    pub fn returned(self, bytes: RawBytes) -> RawBytes {
        match self {
            Wire::Native => bytes,
            Wire::Evm => RawBytes::new(evm::wrap_return(bytes.bytes())),
        }
    }
}

/// A call's method and parameters, out of what may wrap them.
pub struct Call<'a> {
    /// The method that is meant.
    pub method: u64,
    /// Its parameters.
    pub params: Cow<'a, [u8]>,
    /// How they came.
    pub wire: Wire,
}

impl<'a> Call<'a> {
    /// Looks into `InvokeEVM`; leaves everything else as it is.
    pub fn unwrap(method: u64, params: &'a [u8]) -> Result<Self, Abort> {
        if method != method::INVOKE_EVM {
            return Ok(Self { method, params: Cow::Borrowed(params), wire: Wire::Native });
        }
        let (method, params) = evm::unwrap_call(params).map_err(|why| Abort::Params { method: "InvokeEVM", why })?;
        Ok(Self { method, params: Cow::Owned(params), wire: Wire::Evm })
    }
}
