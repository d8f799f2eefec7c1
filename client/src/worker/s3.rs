//! An S3-compatible store that keeps CARs: one object each, named by the CAR's id.
//!
//! An upload is allowed by a signed URL that fixes what may be put: so many bytes, with this SHA-256, where nothing is yet.
//! What a store makes of that is its own affair, so nothing counts before [`S3::hash`] has read it all again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bucket_core::cid::CarId;
use bucket_protocols::store::Upload;
use reqwest::header::{CONTENT_LENGTH, ETAG};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::fetch::{NoProxyFor as _, innermost};

/// How long a signed URL for an upload counts: an entry waits 200 epochs for it, which are 6,000 seconds on the real networks.
pub const UPLOAD_SECONDS: u64 = 7200;

/// How long the worker's own signatures count: for clocks that differ a little.
const OWN_SIGNATURE: Duration = Duration::from_secs(300);

/// A store that doesn't take a connection, or sends nothing for so long, is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// As much of an error's body as is read: `<Error><Code>…</Code><Message>…</Message></Error>` is short.
const ERROR_BYTES_MAX: usize = 4096;

/// Where the store is, and the key that opens it.
#[derive(Clone)]
pub struct Settings {
    /// URL of the service, without the bucket.
    pub endpoint: String,
    /// Name of the S3 bucket.
    pub bucket: String,
    /// What signatures are for; most stores but Amazon's take any.
    pub region: String,
    /// Name of the key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Zeroizing<String>,
    /// The bucket's name is part of the host (`https://cars.s3.…`), not of the path.
    pub virtual_host: bool,
    /// How long signed URLs for uploads count.
    pub upload: Duration,
}

impl Settings {
    /// A bucket that is named in the path.
    pub fn new(endpoint: &str, bucket: &str, region: &str, access_key: &str, secret_key: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            region: region.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: Zeroizing::new(secret_key.to_owned()),
            virtual_host: false,
            upload: Duration::from_secs(UPLOAD_SECONDS),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({} {})", self.endpoint, self.bucket)
    }
}

/// Why the store didn't do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the S3 store at {url}: {why}")]
pub struct S3Error {
    /// Where.
    pub url: String,
    /// What came instead.
    pub why: String,
    /// Whether the same may succeed later, without anybody changing settings.
    pub transient: bool,
}

/// What the store says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its size in bytes.
    pub size: u64,
    /// Another when it is another object; empty where the store has none.
    pub etag: String,
}

/// What an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its size in bytes, as far as it was read.
    pub size: u64,
    /// SHA-256 of what was read.
    pub digest: [u8; 32],
}

/// The store. A clone shares connections.
#[derive(Clone)]
pub struct S3 {
    http: reqwest::Client,
    bucket: Bucket,
    credentials: Credentials,
    upload: Duration,
}

impl S3 {
    /// The store of these settings. Nothing is asked yet: see [`S3::check`].
    pub fn new(settings: &Settings) -> Result<Self, S3Error> {
        let Settings { endpoint, bucket, region, access_key, secret_key, virtual_host, upload } = settings;
        let wrong = |why: String| S3Error { url: endpoint.clone(), why, transient: false };
        let url = Url::parse(endpoint);
        let url =
            url.map_err(|error| wrong(format!("expected a URL like https://host:9000, got “{endpoint}”: {error}")))?;
        let http = reqwest::Client::builder()
            .no_proxy_for(&url)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // A signature is for one host.
            .redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(|error| wrong(error.to_string()))?;
        let style = if *virtual_host { UrlStyle::VirtualHost } else { UrlStyle::Path };
        if bucket.is_empty() {
            return Err(wrong("expected the name of an S3 bucket, got an empty one".into()));
        }
        let bucket = Bucket::new(url, style, bucket.clone(), region.clone());
        let bucket =
            bucket.map_err(|error| wrong(format!("expected an http or https URL and a bucket's name: {error}")))?;
        let credentials = Credentials::new(access_key.clone(), secret_key.to_string());
        Ok(Self { http, bucket, credentials, upload: *upload })
    }

    /// Whether the bucket is there and the key opens it.
    pub async fn check(&self) -> Result<(), S3Error> {
        let url = self.bucket.head_bucket(Some(&self.credentials)).sign(OWN_SIGNATURE);
        let response = self.send(self.http.request(Method::HEAD, url)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => {
                let name = self.bucket.name();
                Err(self
                    .error(false, format!("there is no bucket “{name}”: create it, or name another with --s3-bucket")))
            }
            status if status.is_success() => Ok(()),
            _ => Err(self.unexpected("the bucket", response).await),
        }
    }

    /// What the store says of an object, if it is there.
    pub async fn head(&self, link: &CarId) -> Result<Option<Head>, S3Error> {
        let url = self.bucket.head_object(Some(&self.credentials), &link.to_string()).sign(OWN_SIGNATURE);
        let response = self.send(self.http.request(Method::HEAD, url)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
                let size = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
                let size = size.ok_or_else(|| self.error(true, "expected the size of an object, got none".into()))?;
                Ok(Some(Head { size, etag: header(ETAG).unwrap_or_default().to_owned() }))
            }
            _ => Err(self.unexpected("an object's size", response).await),
        }
    }

    /// Reads an object, if it is there, and hashes it; not further than just beyond `limit` bytes.
    pub async fn hash(&self, link: &CarId, limit: u64) -> Result<Option<Held>, S3Error> {
        let url = self.bucket.get_object(Some(&self.credentials), &link.to_string()).sign(OWN_SIGNATURE);
        let mut response = self.send(self.http.request(Method::GET, url)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            _ => return Err(self.unexpected("an object", response).await),
        }
        let (mut size, mut sha256) = (0, Sha256::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| self.away(error))? {
            size += chunk.len() as u64;
            sha256.update(&chunk);
            if size > limit {
                break;
            }
        }
        Ok(Some(Held { size, digest: sha256.finalize().into() }))
    }

    /// Takes an object away. No error when it isn't there.
    pub async fn delete(&self, link: &CarId) -> Result<(), S3Error> {
        let url = self.bucket.delete_object(Some(&self.credentials), &link.to_string()).sign(OWN_SIGNATURE);
        let response = self.send(self.http.request(Method::DELETE, url)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.unexpected("an object to be deleted", response).await),
        }
    }

    /// Allows to put these bytes: whoever has the URL may, and no others. Asks nobody.
    pub fn sign(&self, link: &CarId, size: u64) -> Upload {
        let headers = BTreeMap::from([
            ("content-length".to_owned(), size.to_string()),
            // What was verified stays: nobody may put anything over it.
            ("if-none-match".to_owned(), "*".to_owned()),
            ("x-amz-checksum-sha256".to_owned(), STANDARD.encode(link.0)),
        ]);
        let key = link.to_string();
        let mut put = self.bucket.put_object(Some(&self.credentials), &key);
        for (name, value) in &headers {
            put.headers_mut().insert(name, value);
        }
        Upload { url: put.sign(self.upload).into(), headers }
    }

    /// How long what [`S3::sign`] allows is allowed.
    pub fn upload_seconds(&self) -> u64 {
        self.upload.as_secs()
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, S3Error> {
        request.send().await.map_err(|error| self.away(error))
    }

    /// The error would name the URL, and with it a signature.
    fn away(&self, error: reqwest::Error) -> S3Error {
        self.error(true, innermost(&error.without_url()))
    }

    async fn unexpected(&self, expected: &str, response: Response) -> S3Error {
        let status = response.status();
        let code = code(response).await;
        let transient = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT);
        let hint = match status {
            StatusCode::FORBIDDEN => ": check the key, its secret, the region and this machine's clock",
            status if status.is_redirection() => ": check the URL and the region",
            _ => "",
        };
        self.error(
            transient,
            format!("expected {expected}, got HTTP status {status} {code}").trim_end().to_owned() + hint,
        )
    }

    fn error(&self, transient: bool, why: String) -> S3Error {
        S3Error { url: self.bucket.base_url().to_string(), why, transient }
    }
}

/// The `<Code>` of an error's body, with its message.
pub(crate) async fn code(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ERROR_BYTES_MAX {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body);
    let inside = |tag: &str| {
        let (_, rest) = body.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(text, _)| text.trim().to_owned())
    };
    let parts: Vec<_> = [inside("Code"), inside("Message")].into_iter().flatten().collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("http://127.0.0.1:9000", "cars", "eu-west-1", "key", "a secret")
    }

    #[test]
    fn an_upload_is_for_one_car_alone() {
        let link = CarId([7; 32]);
        let Upload { url, headers } = S3::new(&settings()).unwrap().sign(&link, 1234);
        assert!(url.starts_with(&format!("http://127.0.0.1:9000/cars/{link}?")), "{url}");
        assert!(
            url.contains("X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256"),
            "{url}"
        );
        assert!(url.contains("X-Amz-Expires=7200") && url.contains("%2Feu-west-1%2Fs3%2F"), "{url}");
        assert_eq!(headers["content-length"], "1234");
        assert_eq!(headers["x-amz-checksum-sha256"], "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        let other =
            S3::new(&Settings { virtual_host: true, endpoint: "https://s3.test".into(), ..settings() }).unwrap();
        assert!(other.sign(&link, 1).url.starts_with("https://cars.s3.test/bag"));
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let refused = |settings: &Settings| S3::new(settings).err().expect("refused").to_string();
        assert!(refused(&Settings { endpoint: "127.0.0.1:9000".into(), ..settings() }).contains("expected a"));
        assert!(
            refused(&Settings { endpoint: "ftp://host".into(), ..settings() })
                .contains("expected an http or https URL")
        );
        assert!(refused(&Settings { bucket: String::new(), ..settings() }).contains("expected the name"));
        assert!(!format!("{:?}", settings()).contains("secret"));
    }
}
