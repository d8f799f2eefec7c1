//! Replicas over HTTP, for others to sync with. `README.md` beside this file has the routes.
//!
//! Whoever asks is nobody in particular: a head comes with evidence, an edit with its author's signature and right, and a
//! block is kept only if it is wanted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bucket_core::cid::{Cid, RAW, sha2_cid};
use bucket_core::did::BucketId;
use tokio::sync::Semaphore;

use super::SpaceError;
use super::evidence::{self, Vouched};
use super::kept::{Evidence, Holds as _};
use super::model::is_later;
use super::remote::{AGAIN, BLOCK_BYTES_MAX, somewhere};
use super::store::{COMING, Change, EDITS, Read as _, Replica};
use super::wire::{Answer, BLOCKS_MAX, Reason, SENT_BYTES_MAX, Sent, Told, shown};

/// Requests at the same time; others wait.
const REQUESTS_MAX: usize = 32;

/// From a request's first byte to its answer.
const TIMEOUT: Duration = Duration::from_secs(60);

const DAG_CBOR_TYPE: &str = "application/vnd.ipld.dag-cbor";
const RAW_TYPE: &str = "application/vnd.ipld.raw";

#[derive(Clone)]
struct App {
    home: Arc<PathBuf>,
    room: Arc<Semaphore>,
}

/// All routes, over the replicas below `home`, the wallet's directory.
pub fn router(home: PathBuf) -> Router {
    let app = App { home: Arc::new(home), room: Arc::new(Semaphore::new(REQUESTS_MAX)) };
    Router::new()
        .route("/v1/spaces", get(list))
        .route("/v1/spaces/{did}", get(tell).post(take))
        .route("/ipfs/{cid}", get(block))
        .fallback(async || Refused::new(StatusCode::NOT_FOUND, "route_unknown", "no such route"))
        .layer(DefaultBodyLimit::max(SENT_BYTES_MAX))
        .layer(from_fn_with_state(app.clone(), bounded))
        .with_state(app)
}

/// Around every request: so many at a time, and so long.
async fn bounded(State(app): State<App>, request: Request, next: Next) -> Response {
    let answer = async {
        let _room = app.room.acquire().await.expect("nobody closes it");
        next.run(request).await
    };
    match tokio::time::timeout(TIMEOUT, answer).await {
        Ok(response) => response,
        Err(_) => Refused::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long").into_response(),
    }
}

/// Why a request gets no result.
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, message: impl ToString) -> Self {
        Self { status, code, message: message.to_string() }
    }

    fn input(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "input", message)
    }
}

impl From<SpaceError> for Refused {
    fn from(error: SpaceError) -> Self {
        let status = match &error {
            SpaceError::Absent(_) => StatusCode::NOT_FOUND,
            SpaceError::Evidence(_) | SpaceError::Denied(_) | SpaceError::Refused(_) => StatusCode::FORBIDDEN,
            SpaceError::TooMany { .. } => StatusCode::INSUFFICIENT_STORAGE,
            SpaceError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            SpaceError::Sent(_)
            | SpaceError::Edit(_)
            | SpaceError::Failure(_)
            | SpaceError::Tree(_)
            | SpaceError::Peer { .. }
            | SpaceError::Oversized { .. } => StatusCode::BAD_REQUEST,
            // Where a file lies is nobody's business.
            SpaceError::Storage { .. } | SpaceError::Random(_) | SpaceError::Incomplete(_) => {
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.code(), "internal error");
            }
        };
        Self::new(status, error.code(), error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"error": {"code": self.code, "message": self.message}});
        (self.status, Json(body)).into_response()
    }
}

impl App {
    /// Works on a replica, off the threads that answer.
    async fn with<T: Send + 'static>(
        &self,
        did: &str,
        f: impl FnOnce(Replica) -> Result<T, SpaceError> + Send + 'static,
    ) -> Result<T, Refused> {
        let space: BucketId = did.parse().map_err(Refused::input)?;
        let replica = Replica::new(&self.home, space.clone());
        if !replica.exists() {
            return Err(SpaceError::Absent(space).into());
        }
        blocking(move || f(replica)).await
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, SpaceError> + Send + 'static) -> Result<T, Refused> {
    let broken = |error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error);
    Ok(tokio::task::spawn_blocking(f).await.map_err(|_| broken("internal error"))??)
}

fn dag_cbor(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, DAG_CBOR_TYPE)], bytes).into_response()
}

async fn list(State(app): State<App>) -> Result<Response, Refused> {
    let home = Arc::clone(&app.home);
    let all = blocking(move || Replica::all(&home)).await?;
    let all: Vec<_> = all.iter().map(Replica::space).collect();
    Ok(Json(serde_json::json!({ "spaces": all })).into_response())
}

async fn tell(State(app): State<App>, Path(did): Path<String>) -> Result<Response, Refused> {
    let told = app.with(&did, |replica| replica.read(|kept| Told::of(replica.space(), kept))).await?;
    Ok(dag_cbor(told.encode()))
}

async fn take(State(app): State<App>, Path(did): Path<String>, body: Bytes) -> Result<Response, Refused> {
    let answer = app.with(&did, move |replica| receive(&replica, body.to_vec())).await?;
    Ok(dag_cbor(answer.encode()))
}

async fn block(State(app): State<App>, Path(cid): Path<String>) -> Result<Response, Refused> {
    let cid: Cid = cid.parse().map_err(|_| Refused::input("expected a CID"))?;
    let home = Arc::clone(&app.home);
    let find = move || {
        for replica in Replica::all(&home)? {
            let found = replica.read(|kept| match kept.get(EDITS, &cid.to_bytes())? {
                Some(edit) => Ok(Some(edit)),
                None => kept.block(&cid),
            });
            // Another file may have it.
            if let Ok(Some(found)) = found {
                return Ok(Some(found));
            }
        }
        Ok(None)
    };
    match blocking(find).await? {
        Some(bytes) => Ok(([(header::CONTENT_TYPE, RAW_TYPE)], bytes).into_response()),
        None => Err(Refused::new(StatusCode::NOT_FOUND, "block_not_found", format!("{cid} is not here"))),
    }
}

/// Takes in what another replica sent, and tells what is lacking: first of a later head, then the edits that it doesn't include.
/// Edits that don't count are left out and told; anything else that is wrong leaves the replica as it was.
pub fn receive(replica: &Replica, body: Vec<u8>) -> Result<Answer, SpaceError> {
    let sent = &Sent::decode(body).map_err(SpaceError::Sent)?;
    if sent.told.space != *replica.space() {
        return Err(SpaceError::Sent(format!(
            "expected a state of {}, got one of {}",
            replica.space(),
            sent.told.space
        )));
    }
    replica.write(|kept| {
        let (mut missing, mut refused) = (tree(kept, sent)?, vec![]);
        if missing.is_empty() {
            (missing, refused) = edits(kept, sent)?;
        }
        missing.truncate(BLOCKS_MAX);
        values(kept, sent)?;
        let mut wanted = kept.wanted(AGAIN, somewhere()?)?;
        wanted.retain(|cid| !sent.told.absent.contains(cid));
        wanted.truncate(BLOCKS_MAX);
        Ok(Answer { told: Told::of(replica.space(), kept)?, missing, wanted, refused })
    })
}

/// Takes edits that came along; the CIDs of those that didn't and aren't here, and those that don't count.
fn edits(kept: &Change, sent: &Sent) -> Result<(Vec<Cid>, Vec<Reason>), SpaceError> {
    let mut missing = Vec::new();
    let mut came = Vec::new();
    for cid in &sent.told.edits {
        if !kept.has(EDITS, &cid.to_bytes())? {
            match sent.car.block(cid) {
                Some(bytes) => came.push((*cid, bytes)),
                None => missing.push(*cid),
            }
        }
    }
    let left = kept.take_all(&sent.told.space, came)?;
    Ok((missing, left.into_iter().map(|(cid, why)| (cid, shown(&why.to_string()))).collect()))
}

/// Goes on to a later head, if all of its tree is here or came along; else keeps what came of it, and tells what is missing.
fn tree(kept: &Change, sent: &Sent) -> Result<Vec<Cid>, SpaceError> {
    let Told { space, head, evidence: id, .. } = &sent.told;
    if !is_later(head, &kept.head()?) {
        return Ok(vec![]);
    }
    let signed = match id {
        None => None,
        Some(id) => match sent.car.block(&sha2_cid(RAW, &id.0)) {
            Some(block) => Some(block.to_vec()),
            None => kept.get(COMING, &id.0)?,
        },
    };
    if let (Some(id), None) = (id, &signed) {
        return Ok(vec![id.to_cid()]);
    }
    let Vouched { car, .. } = evidence::check(head, signed.as_deref(), space, &kept.trusted()?, kept.now() / 1000)?;
    // The nodes may take several requests.
    signed.iter().try_for_each(|signed| kept.put_coming(signed))?;
    loop {
        let missing = kept.missing(&head.root)?;
        if missing.is_empty() {
            kept.advance(head, &Evidence { car, signed })?;
            return Ok(vec![]);
        }
        let came: Vec<_> = missing.iter().filter_map(|cid| sent.car.block(cid)).collect();
        if came.is_empty() {
            return Ok(missing);
        }
        came.into_iter().try_for_each(|node| kept.put_coming(node))?;
    }
}

/// Keeps blocks that values link to.
fn values(kept: &Change, sent: &Sent) -> Result<(), SpaceError> {
    let blocks = sent.car.blocks().map(|(_, block)| block);
    { blocks }.filter(|block| block.len() <= BLOCK_BYTES_MAX).try_for_each(|block| kept.put_block(block))?;
    sent.told.absent.iter().try_for_each(|cid| kept.not_found(cid))
}
