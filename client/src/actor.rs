//! The bucket actor's methods, as functions.

use std::sync::Arc;

use bucket_core::abi::{
    BucketParams, CarParams, CreateParams, CreateReturn, InvokeReturn, Message, ReceiptParams, ReceiptReturn,
};
use bucket_core::abi::{Returned, RunParams, RunReturn, ScheduleReturn, encode, method};
use bucket_core::bucket::Bucket;
use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use bucket_core::limits::CAR_BYTES_MAX;
use bucket_rpc::Client;
use cid::Cid;
use fvm_shared::address::Address;
use serde::de::DeserializeOwned;

use crate::chain::{Chain, Sent};
use crate::error::ClientError;
use crate::fetch::Gateway;
use crate::key::Signer;
use crate::progress::Step;

/// The FVM's exit code for a message that took more gas than it had.
const OUT_OF_GAS: u32 = 7;

/// Times that a message is sent that runs out of gas.
const SENDS_MAX: u32 = 4;

/// The bucket actor at one address, through one node.
///
/// ```no_run
/// # async fn run() -> Result<(), bucket_client::ClientError> {
/// use bucket_client::{ActorClient, Key};
/// use bucket_core::abi::CreateParams;
/// use bucket_core::bucket::Mode;
/// use fvm_shared::address::Address;
///
/// let key = Key::generate()?;
/// let bucket = key.did();
/// let rpc = bucket_rpc::Client::new("http://127.0.0.1:1234", None)?;
/// let client = ActorClient::new(rpc, Address::new_id(1000)).with_signer(key);
/// # let proof = None;
/// let params = CreateParams { bucket, controllers: vec![], mode: Mode::Atomic, proof };
/// client.create(params).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ActorClient {
    pub(crate) chain: Chain,
    pub(crate) gateway: Option<Gateway>,
    actor: Address,
}

impl ActorClient {
    /// The actor at `actor`, for reading.
    pub fn new(rpc: Client, actor: Address) -> Self {
        Self::on(Chain::new(rpc), actor)
    }

    /// The actor at `actor`, with the settings of `chain`.
    pub fn on(chain: Chain, actor: Address) -> Self {
        Self { chain, gateway: None, actor }
    }

    /// Signs with `signer` from now on.
    #[must_use]
    pub fn with_signer(self, signer: impl Signer + 'static) -> Self {
        Self { chain: self.chain.with_signer(Arc::new(signer)), ..self }
    }

    /// Fetches receipts from `gateway` from now on.
    #[must_use]
    pub fn with_gateway(self, gateway: Gateway) -> Self {
        Self { gateway: Some(gateway), ..self }
    }

    /// The actor's address.
    pub fn address(&self) -> Address {
        self.actor
    }

    /// The node and its settings.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Creates a bucket; with no controllers and no proof, for the sender alone. A did:key has to sign for itself: see
    /// [`CreateParams::proof`].
    pub async fn create(&self, params: CreateParams) -> Result<Sent<CreateReturn>, ClientError> {
        self.send("Create", &Message::Create(params)).await
    }

    /// Puts a CAR into its bucket's queue. One that is too large for a message is staged first.
    pub async fn schedule(&self, params: CarParams) -> Result<Sent<ScheduleReturn>, ClientError> {
        self.send("Schedule", &Message::Schedule(self.fitting(params).await?)).await
    }

    /// Runs at most `max` tasks from the bucket's queue.
    pub async fn run(&self, bucket: &BucketId, max: u64) -> Result<Sent<RunReturn>, ClientError> {
        self.send("Run", &Message::Run(RunParams { bucket: bucket.clone(), max })).await
    }

    /// Runs one CAR at once. One that is too large for a message is staged first.
    pub async fn invoke(&self, params: CarParams) -> Result<Sent<InvokeReturn>, ClientError> {
        self.send("Invoke", &Message::Invoke(self.fitting(params).await?)).await
    }

    /// Sends any message, as it is: a CAR that is too large for it is refused.
    pub async fn apply(&self, message: &Message) -> Result<Sent<Returned>, ClientError> {
        self.execute(message).await?.try_map(|bytes| returned(message, &bytes))
    }

    /// What the chain knows of a CAR. Costs nothing.
    pub async fn receipt(&self, bucket: &BucketId, car: &CarId) -> Result<ReceiptReturn, ClientError> {
        let params = ReceiptParams { bucket: bucket.clone(), car: *car };
        self.call("Receipt", method::RECEIPT, encode(&params).to_vec()).await
    }

    /// A bucket's record. Costs nothing.
    pub async fn bucket(&self, bucket: &BucketId) -> Result<Bucket, ClientError> {
        let params = BucketParams { bucket: bucket.clone() };
        self.call("Bucket", method::BUCKET, encode(&params).to_vec()).await
    }

    /// What a message would return now. Costs and changes nothing.
    pub async fn simulate(&self, message: &Message) -> Result<Returned, ClientError> {
        check_car(message)?;
        let (number, params) = message.encode();
        let bytes = self.chain.call(self.actor, number, params.to_vec()).await?;
        returned(message, &bytes)
    }

    /// Hands a message in without waiting; [`ActorClient::wait`] waits.
    pub async fn push(&self, message: &Message) -> Result<Cid, ClientError> {
        check_car(message)?;
        self.push_with(message, self.reserve(message).await).await
    }

    /// As [`ActorClient::push`], for a message of which [`ActorClient::simulate`] just told how much gas has to be left.
    pub async fn push_with(&self, message: &Message, reserve: u64) -> Result<Cid, ClientError> {
        check_car(message)?;
        let (number, params) = message.encode();
        self.chain.push_with(self.actor, number, params.to_vec(), reserve).await
    }

    /// Gas that has to be left at some moment of a message, though it is not used: for the next task of a `Run`, for a send to
    /// another instance, for a hook. A trial tells; an estimate is of what is used, and under its limit they would not start.
    async fn reserve(&self, message: &Message) -> u64 {
        if !matches!(message, Message::Run(_) | Message::Invoke(_)) {
            return 0;
        }
        match self.simulate(message).await {
            Ok(Returned::Run(RunReturn { reserve, .. }) | Returned::Invoke(InvokeReturn { reserve, .. })) => reserve,
            // Why it would fail is told by the estimate.
            _ => 0,
        }
    }

    /// Waits for a message that [`ActorClient::push`] handed in. `T` is its method's return value.
    pub async fn wait<T: DeserializeOwned>(&self, message: Cid) -> Result<Sent<T>, ClientError> {
        self.chain.wait(message).await?.try_map(|bytes| decode("the message", &bytes))
    }

    async fn send<T: DeserializeOwned>(&self, what: &'static str, message: &Message) -> Result<Sent<T>, ClientError> {
        self.execute(message).await?.try_map(|bytes| decode(what, &bytes))
    }

    /// Hands a message in and waits for it. Where others write as well, it may need more gas than was estimated when its turn
    /// comes: then nothing has changed, and it is estimated and sent again.
    async fn execute(&self, message: &Message) -> Result<Sent<Vec<u8>>, ClientError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = self.push(message).await?;
            match self.chain.wait(sent).await {
                Err(ClientError::Abort { code: OUT_OF_GAS, .. }) if tries < SENDS_MAX => {
                    self.chain.tell(Step::Retrying("it took more gas than was estimated".into()));
                }
                ended => return ended,
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        what: &'static str,
        number: u64,
        params: Vec<u8>,
    ) -> Result<T, ClientError> {
        decode(what, &self.chain.call(self.actor, number, params).await?)
    }
}

/// Refuses before anybody is asked what no message can carry.
fn check_car(message: &Message) -> Result<(), ClientError> {
    match message {
        Message::Schedule(params) | Message::Invoke(params) if params.car.len() > CAR_BYTES_MAX => {
            Err(ClientError::CarTooLarge(params.car.len()))
        }
        _ => Ok(()),
    }
}

fn returned(message: &Message, bytes: &[u8]) -> Result<Returned, ClientError> {
    message.returned(bytes).map_err(|abort| ClientError::Return {
        what: "the message",
        got: bytes.len(),
        why: abort.to_string(),
    })
}

pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, ClientError> {
    fvm_ipld_encoding::from_slice(bytes).map_err(|error| ClientError::Return {
        what,
        got: bytes.len(),
        why: error.to_string(),
    })
}
