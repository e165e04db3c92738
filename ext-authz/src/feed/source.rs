//! The coordinators' `Authority`: snapshots, what was missed, the database's clock, and where we
//! say how far we are. Any of them will do; the next is asked when one fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chassis::{Clock, Failure};
use mandate::id::ZoneId;
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::authority::v1::authority_client::AuthorityClient;
use wire::pb::caracal::envelope::v1::Envelope;

use crate::config;
use crate::feed::age::RoundTrip;
use crate::feed::tracker::Position;

/// Chunks of a snapshot may be this large.
const MOST_MESSAGE: usize = 16 * 1024 * 1024;

/// A snapshot of more chunks is refused.
const MOST_CHUNKS: usize = 65_536;

/// A snapshot may take this many times as long as any other call.
const SNAPSHOT_PATIENCE: u32 = 10;

/// Why a coordinator gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It did not answer in time.
    #[error("the coordinator did not answer within {0:?}")]
    Deadline(Duration),
    /// It could not be reached, or refused.
    #[error("the coordinator: {0}")]
    Status(#[from] Status),
    /// It sent more than a snapshot can be.
    #[error("the coordinator's snapshot has no end")]
    Endless,
}

type Client = AuthorityClient<InterceptedService<Channel, Token>>;

/// The coordinators.
#[derive(Debug)]
pub struct Source {
    clients: Vec<Client>,
    next: AtomicUsize,
    timeout: Duration,
    zones: Vec<String>,
}

/// What we say about ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Where memory stands.
    pub position: Position,
    /// How long memory may at most be decided from without news.
    pub bound: Duration,
}

impl Source {
    /// Prepares connections; the first call opens them.
    pub fn open(
        authority: &config::Authority,
        token: &SecretString,
        zones: impl IntoIterator<Item = ZoneId>,
    ) -> Result<Self, Failure> {
        let token = Token::of(token)?;
        let clients = authority
            .endpoints
            .iter()
            .map(|uri| {
                let channel = Endpoint::from(uri.clone())
                    .connect_timeout(authority.timeout)
                    .http2_keep_alive_interval(Duration::from_secs(10))
                    .keep_alive_timeout(Duration::from_secs(3))
                    .keep_alive_while_idle(true)
                    .tcp_nodelay(true)
                    .connect_lazy();
                AuthorityClient::with_interceptor(channel, token.clone())
                    .max_decoding_message_size(MOST_MESSAGE)
            })
            .collect();
        let zones = zones.into_iter().map(|zone| zone.to_string()).collect();
        Ok(Self {
            clients,
            next: AtomicUsize::new(0),
            timeout: authority.timeout,
            zones,
        })
    }

    /// Every chunk of a snapshot.
    pub async fn snapshot(&self) -> Result<Vec<Envelope>, SourceError> {
        let patience = self.timeout.saturating_mul(SNAPSHOT_PATIENCE);
        self.ask(patience, async |mut client| {
            let request = pb::SnapshotRequest {
                zone_ids: self.zones.clone(),
            };
            let mut stream = client.snapshot(request).await?.into_inner();
            let mut chunks = Vec::new();
            while let Some(chunk) = stream.message().await? {
                chunks.extend(chunk.envelope);
                if chunks.len() > MOST_CHUNKS {
                    return Err(SourceError::Endless);
                }
            }
            Ok(chunks)
        })
        .await
    }

    /// What came after a position.
    pub async fn since(&self, position: Position) -> Result<pb::SinceResponse, SourceError> {
        self.ask(self.timeout, async |mut client| {
            let request = pb::SinceRequest {
                epoch: position.epoch.0.to_vec(),
                pos: position.pos,
            };
            Ok(client.since(request).await?.into_inner())
        })
        .await
    }

    /// A reading of the database's clock.
    pub async fn clock(&self, clock: &Clock) -> Result<RoundTrip, SourceError> {
        self.ask(self.timeout, async |mut client| {
            let sent = clock.monotonic();
            let answer = client.clock(pb::ClockRequest {}).await?.into_inner();
            let received = clock.monotonic();
            Ok(RoundTrip {
                sent,
                received,
                database_ns: answer.database_time_ns,
            })
        })
        .await
    }

    /// Says where we are.
    pub async fn ack(&self, reader: &str, ack: &Ack) -> Result<(), SourceError> {
        self.ask(self.timeout, async |mut client| {
            let request = pb::AckRequest {
                reader: reader.to_owned(),
                epoch: ack.position.epoch.0.to_vec(),
                pos: ack.position.pos,
                service: "ext-authz".to_owned(),
                bound_ms: u32::try_from(ack.bound.as_millis()).unwrap_or(u32::MAX),
            };
            client.ack(request).await?;
            Ok(())
        })
        .await
    }

    /// Asks one coordinator; when it fails, the next call goes to another.
    async fn ask<T>(
        &self,
        patience: Duration,
        call: impl AsyncFnOnce(Client) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let turn = self.next.load(Ordering::Relaxed);
        let at = turn.checked_rem(self.clients.len()).unwrap_or(0);
        let Some(client) = self.clients.get(at) else {
            return Err(Status::unavailable("no coordinator is configured").into());
        };
        let answer = match tokio::time::timeout(patience, call(client.clone())).await {
            Ok(answer) => answer,
            Err(_) => Err(SourceError::Deadline(patience)),
        };
        if answer.is_err() {
            let other = turn.wrapping_add(1);
            // Another call may have moved on already; then this one need not.
            let _moved =
                self.next
                    .compare_exchange(turn, other, Ordering::Relaxed, Ordering::Relaxed);
        }
        answer
    }
}

/// Carries the service token.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

impl Token {
    fn of(token: &SecretString) -> Result<Self, Failure> {
        let mut value = MetadataValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| Failure::internal("the service token does not fit into a header"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token([redacted])")
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}
