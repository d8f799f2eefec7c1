//! Receipts, downloaded from anywhere and verified: their bytes must hash to the id that the chain committed to.

use std::time::{Duration, Instant};

use bucket_core::abi::{ReceiptReturn, Status};
use bucket_core::car::archive;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::receipt::Receipt;
use reqwest::{StatusCode, Url};

use crate::actor::ActorClient;
use crate::error::ClientError;
use crate::progress::Step;

/// A receipt is small; more is a mistake or an attack.
const RECEIPT_BYTES_MAX: usize = 16 << 20;

/// How long one download may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks at chain and indexer: the first, and the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// An indexer, or any other trustless gateway (specs.ipfs.tech, http-gateways/trustless-gateway).
#[derive(Debug, Clone)]
pub struct Gateway {
    http: reqwest::Client,
    base: Url,
}

impl Gateway {
    /// The gateway at `url`, such as `http://127.0.0.1:4180`.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let wrong = |why: String| {
            ClientError::Input(format!("expected an indexer's address like http://host:4180, got “{url}”: {why}"))
        };
        let base = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong(format!("its scheme is {}", base.scheme())));
        }
        let http = reqwest::Client::builder().timeout(FETCH_TIMEOUT).no_proxy_for(&base).build();
        Ok(Self { http: http.map_err(|error| wrong(error.to_string()))?, base })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    fn error(&self, why: impl ToString) -> ClientError {
        ClientError::Indexer { url: self.base.to_string(), why: why.to_string() }
    }

    /// GETs a path below the gateway's URL.
    pub async fn get(&self, path: &str, accept: &str) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let request = self.http.get(url).header(reqwest::header::ACCEPT, accept);
        let mut response = request.send().await.map_err(|error| self.error(innermost(&error)))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.error(innermost(&error)))? {
            if body.len() + chunk.len() > RECEIPT_BYTES_MAX {
                return Err(self.error(format!("expected at most {RECEIPT_BYTES_MAX} bytes, got more")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }

    /// GETs a path below the gateway's URL whose answer is JSON.
    pub async fn json(&self, path: &str) -> Result<serde_json::Value, ClientError> {
        let (status, body) = self.get(path, "application/json").await?;
        let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        match (status, json) {
            (StatusCode::OK, Some(json)) => Ok(json),
            (_, json) => {
                let message = json.as_ref().and_then(|json| json["error"]["message"].as_str()).unwrap_or_default();
                Err(self.error(format!("expected JSON, got HTTP status {status} {message}").trim_end()))
            }
        }
    }

    /// Downloads a CAR by its id and checks its hash.
    pub async fn fetch(&self, id: &CarId) -> Result<Vec<u8>, ClientError> {
        let path = format!("ipfs/{id}?format=car");
        let (status, body) = self.get(&path, "application/vnd.ipld.car; version=1").await?;
        match status {
            StatusCode::OK => verified(id, body),
            StatusCode::NOT_FOUND => Err(ClientError::NotServed { url: self.base.to_string(), id: *id }),
            status => {
                let body: String = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
                Err(self.error(format!("expected a CAR, got HTTP status {status}: {body}")))
            }
        }
    }
}

pub(crate) trait NoProxyFor {
    fn no_proxy_for(self, url: &Url) -> Self;
}

impl NoProxyFor for reqwest::ClientBuilder {
    /// A proxy would look for a loopback address on its own machine.
    fn no_proxy_for(self, url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let ip = host.parse::<std::net::IpAddr>();
        if host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback()) { self.no_proxy() } else { self }
    }
}

pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The bytes that `id` names: the answer itself, or one block of it when a gateway wraps what it serves.
fn verified(id: &CarId, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
    let got = CarId::of::<NativeHasher>(&body);
    if got == *id {
        return Ok(body);
    }
    let sections = archive::open(&body).map(|archive| archive.sections());
    let mut blocks = sections.into_iter().flatten().flatten().map(|section| &body[section.data]);
    match blocks.find(|block| CarId::of::<NativeHasher>(block) == *id) {
        Some(block) => Ok(block.to_vec()),
        None => Err(ClientError::Mismatch { expected: id.to_string(), got: got.to_string() }),
    }
}

/// A receipt whose bytes hash to an id that the chain committed to.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The receipt CAR's id.
    pub id: CarId,
    /// The receipt CAR.
    pub bytes: Vec<u8>,
    /// What it says.
    pub receipt: Receipt,
}

impl Fetched {
    fn read(id: CarId, bytes: Vec<u8>, ran: &CarId) -> Result<Self, ClientError> {
        let receipt = Receipt::from_car::<NativeHasher>(bytes.clone())?;
        if receipt.ran != *ran {
            let (expected, got) = (format!("a receipt of {ran}"), format!("one of {}", receipt.ran));
            return Err(ClientError::Mismatch { expected, got });
        }
        Ok(Self { id, bytes, receipt })
    }

    /// Which version it is: 1, or more after forced runs.
    pub fn version(&self) -> u64 {
        self.receipt.prior.map_or(1, |(_, version)| version)
    }
}

impl ActorClient {
    /// Where receipts come from.
    pub(crate) fn gateway(&self) -> Result<&Gateway, ClientError> {
        self.gateway.as_ref().ok_or(ClientError::Unset {
            what: "the indexer's address",
            hint: "Name it with --indexer or BUCKET_INDEXER.",
        })
    }

    /// The newest receipt of a CAR: its id by the chain, its bytes by the indexer, and the two compared.
    pub async fn fetch_receipt(&self, bucket: &BucketId, car: &CarId) -> Result<Fetched, ClientError> {
        match self.receipt(bucket, car).await? {
            ReceiptReturn { receipt: Some(id), .. } => Fetched::read(id, self.gateway()?.fetch(&id).await?, car),
            ReceiptReturn { status: Status::NotFound, .. } => Err(ClientError::ReceiptNotFound(*car)),
            found => Err(ClientError::ReceiptPending { car: *car, position: found.position.unwrap_or_default() }),
        }
    }

    /// What came of a CAR, by its verified receipt, as the chain says now; `None` while it didn't run.
    pub async fn outcome(&self, bucket: &BucketId, car: &CarId) -> Result<Option<Result<Ipld, Failure>>, ClientError> {
        match self.fetch_receipt(bucket, car).await {
            Ok(fetched) => Ok(Some(fetched.receipt.out)),
            Err(ClientError::ReceiptNotFound(_) | ClientError::ReceiptPending { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The receipt that a forced run replaced. It is as trusted as `newer`, whose bytes hold its hash.
    pub async fn fetch_prior(&self, newer: &Fetched) -> Result<Option<Fetched>, ClientError> {
        match newer.receipt.prior {
            Some((id, _)) => {
                let bytes = self.gateway()?.fetch(&id).await?;
                Fetched::read(id, bytes, &newer.receipt.ran).map(Some)
            }
            None => Ok(None),
        }
    }

    /// As [`ActorClient::fetch_receipt`], and waits until both chain and indexer have it.
    pub async fn wait_receipt(&self, bucket: &BucketId, car: &CarId) -> Result<Fetched, ClientError> {
        self.poll_receipt(bucket, car, false).await
    }

    /// Follows a CAR from pending to done: waits until it isn't in the queue any more and its receipt is there, and tells at
    /// once whenever it stands otherwise.
    pub async fn follow_receipt(&self, bucket: &BucketId, car: &CarId) -> Result<Fetched, ClientError> {
        let fetched = self.poll_receipt(bucket, car, true).await?;
        self.chain.tell(Step::Note(format!("done: receipt {}", fetched.id)));
        Ok(fetched)
    }

    /// A CAR that is forced has a receipt while it waits.
    async fn fetch_settled(&self, bucket: &BucketId, car: &CarId) -> Result<Fetched, ClientError> {
        match self.receipt(bucket, car).await? {
            ReceiptReturn { position: Some(position), .. } => Err(ClientError::ReceiptPending { car: *car, position }),
            _ => self.fetch_receipt(bucket, car).await,
        }
    }

    async fn poll_receipt(&self, bucket: &BucketId, car: &CarId, follow: bool) -> Result<Fetched, ClientError> {
        let start = Instant::now();
        let mut pause = POLL.0;
        let mut told = String::new();
        loop {
            let found = match follow {
                true => self.fetch_settled(bucket, car).await,
                false => self.fetch_receipt(bucket, car).await,
            };
            let waiting = match found {
                Err(
                    error @ (ClientError::ReceiptNotFound(_)
                    | ClientError::ReceiptPending { .. }
                    | ClientError::NotServed { .. }
                    | ClientError::Indexer { .. }),
                ) => error.to_string(),
                Err(ClientError::Rpc(error)) if error.is_transient() => error.to_string(),
                done => return done,
            };
            let timeout = self.chain.timeout();
            if start.elapsed() + pause > timeout {
                let seconds = timeout.as_secs();
                return Err(ClientError::ReceiptTimeout { car: *car, seconds, last: waiting });
            }
            let news = follow && waiting != told;
            if news || (!follow && start.elapsed() > Duration::from_secs(1)) {
                told.clone_from(&waiting);
                self.chain.tell(Step::Receipt(*car, waiting, start.elapsed()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucket_core::car::Transaction;
    use bucket_core::dag_cbor::Ipld;

    #[test]
    fn a_wrapped_car_is_unwrapped_and_wrong_bytes_are_refused() {
        let inner = b"some receipt".to_vec();
        let id = CarId::of::<NativeHasher>(&inner);
        let mut transaction = Transaction::<NativeHasher>::default();
        transaction.write(&Ipld::Bytes(inner.clone()));
        let wrapped = transaction.commit().unwrap();
        assert_eq!(verified(&id, inner.clone()).unwrap(), inner);
        assert_eq!(verified(&id, wrapped).unwrap(), inner);
        let error = verified(&id, b"other bytes".to_vec()).unwrap_err();
        assert_eq!(error.code(), "mismatch");
    }

    #[test]
    fn addresses_of_indexers() {
        assert!(Gateway::new("http://127.0.0.1:4180/").is_ok());
        assert!(Gateway::new("127.0.0.1:4180").unwrap_err().to_string().contains("expected an indexer's address"));
        assert!(Gateway::new("ftp://host").is_err());
    }
}
