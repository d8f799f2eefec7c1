//! A trustless gateway: blocks and CARs that whoever asked can verify (specs.ipfs.tech, http-gateways/trustless-gateway).
//!
//! Deviations: no paths below a CID. A CAR's own name (codec 0x0202) is answered with the CAR's bytes in both formats, so
//! that what comes hashes to what was asked for. Links to CARs are not followed: a CAR is a file of its own, and whether it
//! is here changes over time, which what is cached for ever must not.

use std::collections::HashSet;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::*;
use axum::http::{HeaderMap, HeaderName, StatusCode, response::Builder};
use axum::response::Response;
use bucket_core::car::archive;
use bucket_core::cid::{CAR, CarId, DAG_CBOR};
use bucket_core::dag_cbor::{self, Ipld};
use bytes::Bytes;
use cid::Cid;
use futures::{StreamExt, stream};

use super::App;
use super::error::ApiError;
use super::negotiate::{CAR_TYPE, Form, IpfsQuery, RAW_TYPE, form, is_known};

/// Multihash `identity`: the CID is the block.
const IDENTITY: u64 = 0;

/// Blocks of one CAR: a walk remembers which it has seen.
const WALK_BLOCKS_MAX: usize = 100_000;

/// A CAR begins to be sent when so much of it is there.
const BEGUN_BYTES: usize = 1 << 20;

const IMMUTABLE: &str = "public, max-age=29030400, immutable";
const X_IPFS_PATH: HeaderName = HeaderName::from_static("x-ipfs-path");
const X_IPFS_ROOTS: HeaderName = HeaderName::from_static("x-ipfs-roots");

pub(super) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<IpfsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (text, rest) = path.split_once('/').unwrap_or((&path, ""));
    let cid: Cid = text.parse().map_err(|_| ApiError::CidInvalid(text.chars().take(100).collect()))?;
    // Clients probe with an identity CID, and without saying a format.
    let probe = (cid.hash().code() == IDENTITY).then_some(Form::Raw);
    let form = form(&query, &headers).or(probe).ok_or(ApiError::FormatUnsupported)?;
    if !rest.is_empty() {
        return Err(ApiError::PathUnsupported);
    }
    let answer = Answer { cid, form, etag: etag(&cid, form), filename: query.filename };
    if is_known(&headers, &answer.etag) {
        return answer.respond(answer.head().status(StatusCode::NOT_MODIFIED), Body::empty());
    }
    let block = app.block(&cid).await?.ok_or_else(|| ApiError::BlockNotFound(cid.to_string()))?;
    match form {
        Form::Raw => answer.raw(block, &headers),
        // The file is its own archive.
        Form::CarAll | Form::CarBlock if cid.codec() == CAR => {
            let head = answer.head().header(CONTENT_LENGTH, block.len());
            answer.respond(head, Body::from(block))
        }
        Form::CarBlock => answer.respond(answer.head(), Body::from([header(&cid), section(&cid, &block)].concat())),
        Form::CarAll => answer.respond(answer.head(), walk(app, cid, &block).await?),
    }
}

fn etag(cid: &Cid, form: Form) -> String {
    match form {
        Form::Raw => format!("\"{cid}.raw\""),
        _ if cid.codec() == CAR => format!("\"{cid}.car\""),
        Form::CarAll => format!("\"{cid}.car.all\""),
        Form::CarBlock => format!("\"{cid}.car.block\""),
    }
}

/// What all answers to one request have in common.
struct Answer {
    cid: Cid,
    form: Form,
    etag: String,
    filename: Option<String>,
}

impl Answer {
    fn head(&self) -> Builder {
        let (media, extension, ranges) = match self.form {
            Form::Raw => (RAW_TYPE.to_owned(), "bin", "bytes"),
            _ if self.cid.codec() == CAR => (format!("{CAR_TYPE}; version=1"), "car", "none"),
            _ => (format!("{CAR_TYPE}; version=1; order=dfs; dups=n"), "car", "none"),
        };
        Response::builder()
            .header(CONTENT_TYPE, media)
            .header(CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", self.filename(extension)))
            .header(ETAG, &self.etag)
            .header(CACHE_CONTROL, IMMUTABLE)
            .header(ACCEPT_RANGES, ranges)
            .header(VARY, "Accept")
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(X_IPFS_PATH, format!("/ipfs/{}", self.cid))
            .header(X_IPFS_ROOTS, self.cid.to_string())
    }

    /// The name that was asked for, as far as a header can carry it.
    fn filename(&self, extension: &str) -> String {
        let plain = |c: &char| (c.is_ascii_graphic() || *c == ' ') && !matches!(c, '"' | '\\' | '/');
        let asked: String = self.filename.iter().flat_map(|name| name.chars()).filter(plain).take(100).collect();
        if asked.is_empty() { format!("{}.{extension}", self.cid) } else { asked }
    }

    fn respond(&self, head: Builder, body: Body) -> Result<Response, ApiError> {
        head.body(body).map_err(|error| ApiError::Internal(error.into()))
    }

    fn raw(&self, block: Bytes, headers: &HeaderMap) -> Result<Response, ApiError> {
        let len = block.len();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let valid = text(IF_RANGE).is_none_or(|tag| tag == self.etag);
        let range = text(RANGE).filter(|_| valid).and_then(|range| slice(range, len));
        let (head, body) = match range {
            None => (self.head(), block),
            Some(Err(())) => return Err(ApiError::RangeInvalid(len)),
            Some(Ok((from, to))) => {
                let head = self.head().status(StatusCode::PARTIAL_CONTENT);
                (head.header(CONTENT_RANGE, format!("bytes {from}-{to}/{len}")), block.slice(from..=to))
            }
        };
        self.respond(head.header(CONTENT_LENGTH, body.len()), Body::from(body))
    }
}

/// First and last byte of a single range (RFC 9110, 14.1.2); `None` for what may be ignored, an error for what lies behind
/// the end.
fn slice(range: &str, len: usize) -> Option<Result<(usize, usize), ()>> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from.trim(), to.trim()) {
        ("", suffix) => (len.saturating_sub(suffix.parse().ok()?), len.checked_sub(1)),
        (from, "") => (from.parse().ok()?, len.checked_sub(1)),
        (from, to) => {
            let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
            if to < from {
                return None;
            }
            (from, len.checked_sub(1).map(|last| last.min(to)))
        }
    };
    Some(to.filter(|to| from <= *to).map(|to| (from, to)).ok_or(()))
}

impl App {
    /// A block by its CID, wherever it lies: state, a CAR, or a CAR as a whole.
    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, ApiError> {
        if cid.hash().code() == IDENTITY {
            return Ok(Some(Bytes::copy_from_slice(cid.hash().digest())));
        }
        if let Ok(car) = CarId::try_from(cid)
            && let Some(file) = self.cars.get(&car).await?
        {
            return Ok(Some(file));
        }
        // A CAR may travel in another one, too.
        if let Some((car, at, len)) = self.store.car_block(cid).await? {
            let file = self.cars.get(&car).await?;
            let lost = || ApiError::Internal(anyhow::anyhow!("block {cid} is indexed in {car}, which is missing"));
            let file =
                file.filter(|file| at.checked_add(len).is_some_and(|end| end <= file.len() as u64)).ok_or_else(lost)?;
            return Ok(Some(file.slice(at as usize..(at + len) as usize)));
        }
        Ok(self.store.block(cid).await?.map(Bytes::from))
    }
}

/// A CAR's header with one root.
fn header(root: &Cid) -> Vec<u8> {
    let mut out = Vec::new();
    archive::write_header(&mut out, &[*root]);
    out
}

fn section(cid: &Cid, block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    archive::write_lead(&mut out, cid, block.len());
    out.extend(block);
    out
}

/// A walk through a DAG, depth first, each block once.
struct Walk {
    app: App,
    seen: HashSet<Cid>,
    wanted: Vec<Cid>,
}

impl Walk {
    /// Wants what `block` links to, next.
    fn enter(&mut self, cid: &Cid, block: &[u8]) -> anyhow::Result<()> {
        if cid.codec() != DAG_CBOR {
            return Ok(());
        }
        let mut links = Vec::new();
        dag_cbor::links(&fvm_ipld_encoding::from_slice::<Ipld>(block)?, &mut links);
        let follow = |cid: &Cid| cid.hash().code() != IDENTITY && cid.codec() != CAR;
        self.wanted.extend(links.into_iter().filter(follow).rev());
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        while let Some(cid) = self.wanted.pop() {
            if !self.seen.insert(cid) {
                continue;
            }
            if self.seen.len() > WALK_BLOCKS_MAX {
                return Err(anyhow::anyhow!("more than {WALK_BLOCKS_MAX} blocks below one CID").into());
            }
            let block = self.app.block(&cid).await?.ok_or_else(|| ApiError::BlockNotFound(cid.to_string()))?;
            self.enter(&cid, &block)?;
            return Ok(Some(section(&cid, &block)));
        }
        Ok(None)
    }
}

/// The CAR of a whole DAG. A block that is missing is an error while there is time for one; later it breaks the answer off,
/// so that nobody takes it for complete.
async fn walk(app: App, root: Cid, block: &[u8]) -> Result<Body, ApiError> {
    let mut walk = Walk { app, seen: HashSet::from([root]), wanted: vec![] };
    walk.enter(&root, block)?;
    let mut begun = [header(&root), section(&root, block)].concat();
    while begun.len() < BEGUN_BYTES {
        match walk.next().await? {
            Some(section) => begun.extend(section),
            None => return Ok(Body::from(begun)),
        }
    }
    let rest = stream::unfold(Some(walk), |walk| async {
        let mut walk = walk?;
        match walk.next().await {
            Ok(Some(section)) => Some((Ok(section), Some(walk))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(Body::from_stream(stream::once(async { Ok(begun) }).chain(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let cases = [
            ("bytes=0-3", Some(Ok((0, 3)))),
            ("bytes=2-", Some(Ok((2, 9)))),
            ("bytes=-3", Some(Ok((7, 9)))),
            ("bytes=-30", Some(Ok((0, 9)))),
            ("bytes=8-30", Some(Ok((8, 9)))),
            ("bytes=10-", Some(Err(()))),
            ("bytes=-0", Some(Err(()))),
            ("bytes=3-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=1-2", None),
        ];
        for (text, expected) in cases {
            assert_eq!(slice(text, 10), expected, "{text}");
        }
        assert_eq!(slice("bytes=0-", 0), Some(Err(())));
    }
}
