//! Numbers for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A request by its route, not its path: paths are without number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern.
    pub route: String,
    /// The status code.
    pub status: u16,
}

/// All numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Epochs that the index is behind what it could know.
    pub head_lag: Gauge,
    /// Epoch of the newest tipset in the index.
    pub indexed_epoch: Gauge,
    /// Tipsets indexed since the start.
    pub tipsets: Counter,
    /// Tipsets whose traces were asked for since the start.
    pub traced: Counter,
    /// Tasks re-executed since the start.
    pub executions: Counter,
    /// Tipsets reverted since the start.
    pub reverts: Counter,
    /// Buckets that don't follow the chain any more.
    pub halted: Gauge,
    /// Rounds of polling that failed.
    pub poll_errors: Counter,
    /// HTTP requests.
    pub http_requests: Family<RequestLabels, Counter>,
}

impl Metrics {
    /// The text that Prometheus reads (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut registry = Registry::with_prefix("bucket_indexer");
        let Self { head_lag, indexed_epoch, tipsets, traced, executions, reverts, halted, poll_errors, http_requests } =
            self.clone();
        registry.register("head_lag_epochs", "Epochs that the index is behind what it could know", head_lag);
        registry.register("indexed_epoch", "Epoch of the newest tipset in the index", indexed_epoch);
        registry.register("tipsets", "Tipsets indexed since the start", tipsets);
        registry.register("traced_tipsets", "Tipsets whose traces were asked for since the start", traced);
        registry.register("executions", "Tasks re-executed since the start", executions);
        registry.register("reverts", "Tipsets reverted since the start", reverts);
        registry.register("halted_buckets", "Buckets that don't follow the chain any more", halted);
        registry.register("poll_errors", "Rounds of polling that failed", poll_errors);
        registry.register("http_requests", "HTTP requests by route and status", http_requests);
        let mut text = String::new();
        // Writing to a string doesn't fail.
        let _ = encode(&mut text, &registry);
        text
    }
}
