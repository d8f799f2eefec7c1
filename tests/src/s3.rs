//! A real S3 server over a folder: `s3s` checks every signature and header, `s3s-fs` keeps the objects as files.
//!
//! It compares an object with the checksum that its PUT named only when the object is in its place, so a refused one stays
//! readable. Real stores don't; whoever reads from this one has to hash, as the worker does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bucket_client::worker::s3::Settings;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// The region that its clients sign for; the server takes any.
const REGION: &str = "us-east-1";

/// A server that runs until it is dropped.
pub struct S3 {
    address: SocketAddr,
    dir: PathBuf,
    access_key: String,
    secret_key: String,
    /// Dropped, it ends the server.
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl S3 {
    /// Serves what is in `dir` to those who sign with this key. Has to be called within a runtime.
    pub async fn start(listen: SocketAddr, dir: &Path, access_key: &str, secret_key: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("expected a folder at {}", dir.display()))?;
        let files = FileSystem::new(dir).map_err(|error| anyhow::anyhow!("{}: {error:?}", dir.display()))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        let listener = TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))?;
        let address = listener.local_addr()?;
        let (end, ended) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, builder.build(), ended));
        let (dir, access_key, secret_key) = (dir.to_owned(), access_key.to_owned(), secret_key.to_owned());
        Ok(Self { address, dir, access_key, secret_key, end, serving })
    }

    /// Ends it. When this returns, nobody has a connection to it any more.
    pub async fn stop(self) {
        drop(self.end);
        // A server that panicked has ended as well.
        let _ = self.serving.await;
    }

    /// Makes an S3 bucket, if it isn't there.
    pub fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        Ok(std::fs::create_dir_all(self.dir.join(name))?)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file of an object.
    pub fn object(&self, bucket: &str, key: &str) -> PathBuf {
        self.dir.join(bucket).join(key)
    }

    /// How a client reaches a bucket.
    pub fn settings(&self, bucket: &str) -> Settings {
        Settings::new(&self.url(), bucket, REGION, &self.access_key, &self.secret_key)
    }
}

async fn serve(listener: TcpListener, service: S3Service, mut ended: oneshot::Receiver<()>) {
    // Connections end with the task that owns them.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut ended => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        // Answers are small: without this each would wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        connections.spawn(async move {
            // A client that goes away is its own business.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
    connections.shutdown().await;
}
