//! The internal gRPC service that enforcement points read from: snapshots, what followed, the
//! database's clock, and how far they are.

mod snapshot;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use jiff_sqlx::ToSqlx;
use prost::Message;
use tonic::{Request, Response, Status};
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::authority::v1::authority_server::Authority;
use wire::pb::caracal::envelope::v1::Envelope;

use crate::app::App;
use crate::error::Error;
use crate::sequencer::{self, epoch_of};
use crate::store::clock;
use crate::store::positions::{self, Deployment};
use crate::store::readers::{self, Reader};

/// The most changes in one answer; who is further behind loads a snapshot.
const MOST_DELTAS: i64 = 10_000;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    app: Arc<App>,
}

impl Service {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    async fn since(&self, asked: &pb::SinceRequest) -> Result<pb::SinceResponse, Error> {
        let mut tx = self.app.snapshots.begin_view().await?;
        let deployment = known(positions::deployment(tx.as_mut()).await?)?;
        let required = || pb::SinceResponse {
            snapshot_required: true,
            ..Default::default()
        };
        let pos = i64::try_from(asked.pos).unwrap_or(i64::MAX);
        if asked.epoch != deployment.epoch || pos > deployment.pos {
            return Ok(required());
        }
        let mut deltas = Vec::new();
        if pos < deployment.pos {
            let rows = positions::after(tx.as_mut(), pos, MOST_DELTAS).await?;
            let complete = rows
                .first()
                .is_some_and(|row| row.pos == pos.saturating_add(1))
                && rows.last().is_some_and(|row| row.pos == deployment.pos);
            if !complete {
                return Ok(required());
            }
            for row in &rows {
                let envelope = Envelope::decode(row.envelope.as_slice());
                deltas.push(envelope.map_err(|_| Error::bad_row("positions", row.pos))?);
            }
        }
        let heartbeat = self.heartbeat(&deployment)?;
        Ok(pb::SinceResponse {
            snapshot_required: false,
            deltas,
            heartbeat: Some(heartbeat),
        })
    }

    /// The newest committed heartbeat. It may name a later position than when it was committed:
    /// what it says holds for that one all the more.
    fn heartbeat(&self, deployment: &Deployment) -> Result<Envelope, Error> {
        let signer = self.app.stream_key.as_ref();
        let envelope = sequencer::heartbeat_envelope(
            epoch_of(&deployment.epoch)?,
            u64::try_from(deployment.pos).map_err(Error::internal)?,
            deployment.as_of.to_jiff(),
            signer,
        );
        Ok(envelope.sign(signer).into())
    }

    async fn acknowledge(&self, asked: pb::AckRequest) -> Result<(), Error> {
        let name = |text: &str| {
            (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !name(&asked.reader) || !name(&asked.service) {
            return Err(Error::invalid(
                "reader",
                "names have 1 to 128 visible characters",
            ));
        }
        if asked.epoch.len() != 16 {
            return Err(Error::invalid("epoch", "has 16 bytes"));
        }
        if !(1_000..=60_000).contains(&asked.bound_ms) {
            return Err(Error::invalid("bound_ms", "is between 1000 and 60000"));
        }
        let invalid = |_| Error::invalid("pos", "is out of range");
        let mut connection = self.app.global.acquire().await?;
        let now = clock::now(&mut connection).await?;
        let reader = Reader {
            name: asked.reader,
            service: asked.service,
            epoch: asked.epoch,
            pos: i64::try_from(asked.pos).map_err(invalid)?,
            bound_ms: i32::try_from(asked.bound_ms).map_err(invalid)?,
            seen_at: now.to_sqlx(),
        };
        readers::ack(&mut connection, &reader).await
    }

    async fn database_time(&self) -> Result<pb::ClockResponse, Error> {
        let mut connection = self.app.global.acquire().await?;
        let now = clock::now(&mut connection).await?;
        Ok(pb::ClockResponse {
            database_time_ns: crate::delta::nanoseconds(now),
        })
    }
}

fn known(deployment: Option<Deployment>) -> Result<Deployment, Error> {
    deployment.ok_or_else(|| Error::Unavailable {
        dependency: "sequencer",
        source: "no sequencer has run yet".into(),
    })
}

type Chunks = Pin<Box<dyn Stream<Item = Result<pb::SnapshotChunk, Status>> + Send>>;

#[tonic::async_trait]
impl Authority for Service {
    type SnapshotStream = Chunks;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let chunks = snapshot::read(&self.app, &request.into_inner().zone_ids).await?;
        let chunks = chunks.into_iter().map(|envelope| {
            Ok(pb::SnapshotChunk {
                envelope: Some(envelope),
            })
        });
        Ok(Response::new(Box::pin(futures::stream::iter(chunks))))
    }

    async fn since(
        &self,
        request: Request<pb::SinceRequest>,
    ) -> Result<Response<pb::SinceResponse>, Status> {
        Ok(Response::new(Self::since(self, request.get_ref()).await?))
    }

    async fn clock(
        &self,
        _request: Request<pb::ClockRequest>,
    ) -> Result<Response<pb::ClockResponse>, Status> {
        Ok(Response::new(self.database_time().await?))
    }

    async fn ack(
        &self,
        request: Request<pb::AckRequest>,
    ) -> Result<Response<pb::AckResponse>, Status> {
        self.acknowledge(request.into_inner()).await?;
        Ok(Response::new(pb::AckResponse {}))
    }
}
