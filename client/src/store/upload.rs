//! Putting a CAR where a service wants it: one HTTP PUT to the URL of its entry, with the headers that are signed with it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bucket_protocols::store::Upload;
use reqwest::{Body, StatusCode, Url};

use super::source::{BLOCK_BYTES, Source};
use crate::error::ClientError;
use crate::fetch::{NoProxyFor as _, innermost};
use crate::worker::s3;

/// An upload of which nothing moves for so long is given up; so is a store that doesn't answer behind the last byte.
const STALL: Duration = Duration::from_secs(60);

/// A store that doesn't take a connection for so long is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at how much moved.
const TICK: Duration = Duration::from_secs(1);

/// Pieces that are read ahead of the network.
const AHEAD: usize = 2;

/// What came of a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The store took it.
    Done,
    /// There is an object of this name already. The service will see whether it is the right one.
    There,
}

/// Puts a CAR, and tells how many bytes are on their way whenever some more are.
pub async fn put(source: &Source, upload: &Upload, tell: impl Fn(u64)) -> Result<Put, ClientError> {
    let url = Url::parse(&upload.url).map_err(|error| failed(None, false, error.to_string()))?;
    let http = reqwest::Client::builder().no_proxy_for(&url).connect_timeout(CONNECT_TIMEOUT);
    let http = http.redirect(reqwest::redirect::Policy::none()).build();
    let http = http.map_err(|error| failed(Some(&url), false, error.to_string()))?;
    let moved = Arc::new(AtomicU64::new(0));
    let mut request = http.put(url.clone()).body(body(source, &url, moved.clone())?);
    for (name, value) in &upload.headers {
        request = request.header(name, value);
    }
    let mut sending = std::pin::pin!(request.send());
    let (mut before, mut quiet) = (0, Duration::ZERO);
    let response = loop {
        tokio::select! {
            response = &mut sending => break response,
            () = tokio::time::sleep(TICK) => quiet += TICK,
        }
        let now = moved.load(Ordering::Relaxed);
        if now != before {
            (before, quiet) = (now, Duration::ZERO);
            tell(now);
        }
        if quiet >= STALL {
            return Err(failed(Some(&url), true, format!("nothing moved for {} s", STALL.as_secs())));
        }
    };
    let response = response.map_err(|error| failed(Some(&url), true, innermost(&error.without_url())))?;
    match response.status() {
        StatusCode::PRECONDITION_FAILED => Ok(Put::There),
        status if status.is_success() => {
            tell(source.size);
            Ok(Put::Done)
        }
        status => {
            let transient = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            let why = format!("expected the CAR to be taken, got HTTP status {status} {}", s3::code(response).await);
            Err(failed(Some(&url), transient, why.trim_end().to_owned()))
        }
    }
}

/// The URL's query is a signature, which is nobody's business.
fn failed(url: Option<&Url>, transient: bool, why: String) -> ClientError {
    let url = url.map(|url| format!("{}{}", url.origin().ascii_serialization(), url.path())).unwrap_or_default();
    ClientError::Upload { url, why, transient }
}

/// The CAR as a body: read by a thread of its own, a little ahead.
fn body(source: &Source, url: &Url, moved: Arc<AtomicU64>) -> Result<Body, ClientError> {
    let mut reader = source.reader().map_err(|error| ClientError::file(&source.path, error))?;
    let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
    std::thread::Builder::new()
        .name("upload".into())
        .spawn(move || {
            loop {
                let mut piece = Vec::new();
                let read = reader.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut piece);
                // Nobody listens any more when the request is over.
                let end = !matches!(read, Ok(1..)) || sender.blocking_send(read.map(|_| piece)).is_err();
                if end {
                    break;
                }
            }
        })
        .map_err(|error| failed(Some(url), true, error.to_string()))?;
    let pieces = futures::stream::unfold((receiver, moved), |(mut receiver, moved)| async move {
        let piece = receiver.recv().await?;
        if let Ok(piece) = &piece {
            moved.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Some((piece, (receiver, moved)))
    });
    Ok(Body::wrap_stream(pieces))
}
