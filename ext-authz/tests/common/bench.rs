//! Filters' sessions on real sockets and a real journal, with memory that moves when a test says so.

use std::sync::Arc;
use std::time::Duration;

use super::common::{Service, World, service, zone};
use chassis::journal::Durability;
use chassis::metrics::Registry;
use chassis::{Clock, Lifecycle};
use ext_authz::decide::View;
use ext_authz::feed::core::Core;
use ext_authz::feed::source::Ack;
use ext_authz::filter::{FilterServer, Hub, Sessions, Stand, write_snapshots};
use ext_authz::metrics::FilterMetrics;
use ext_authz::{Attachments, config};
use ledger::envelope::SignedEnvelope;
use ledger::event::Event;
use mandate::id::AttachmentName;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Status, Streaming};
use wire::pb::caracal::authority::v1::Change;
use wire::pb::caracal::filter::v1 as pb;
use wire::pb::caracal::filter::v1::filter_client::FilterClient;

/// The most VMs a bench serves.
pub const MOST_VMS: usize = 3;

pub struct Bench {
    pub world: World,
    pub core: Core,
    pub hub: Arc<Hub>,
    pub sessions: Sessions,
    pub service: Service,
    pub metrics: FilterMetrics,
    pub reach: watch::Receiver<Option<Ack>>,
    pub lifecycle: Lifecycle,
    channel: Channel,
}

impl Bench {
    /// With memory loaded at position 10.
    pub async fn loaded() -> Self {
        let mut bench = Self::empty().await;
        let changes = bench.world.changes();
        bench.load(10, &changes);
        bench
    }

    /// With nothing loaded.
    pub async fn empty() -> Self {
        let world = World::new();
        let mut core = world.core();
        core.read_clock(world.trip());
        let clock = Clock::from(world.clock.clone());
        let service = service(View::empty(), clock.clone(), Durability::Process, 64 << 20).await;
        let (lifecycle, _) = Lifecycle::new();
        let registry = Registry::new("ext-authz");
        let metrics = FilterMetrics::new(&registry);
        let limits = config::Filter {
            max_vms: MOST_VMS,
            max_report_bytes: 64 * 1024,
            lost_after: Duration::from_mins(1),
        };
        let (hub, ends) = Hub::new(attachments(), limits, clock.clone(), metrics.clone());
        let hub = Arc::new(hub);
        let writing = write_snapshots(Arc::clone(&hub), ends.jobs, lifecycle.clone());
        lifecycle.spawn("filter_snapshots", writing);
        let sessions = Sessions {
            hub: Arc::clone(&hub),
            desk: Arc::clone(&service.desk),
            memory: Arc::clone(&service.memory),
            clock,
            lifecycle: lifecycle.clone(),
            lame_duck: Duration::ZERO,
        };
        let server = FilterServer::new(sessions.clone(), limits.max_report_bytes);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Server::builder().add_service(server);
        tokio::task::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
        // Who does not read is noticed early.
        let channel = Channel::from_shared(format!("http://127.0.0.1:{port}"))
            .unwrap()
            .initial_stream_window_size(16 * 1024);
        Self {
            world,
            core,
            hub,
            sessions,
            service,
            metrics,
            reach: ends.reach,
            lifecycle,
            channel: channel.connect_lazy(),
        }
    }

    /// Tells filters what memory took in, as the feed does.
    pub fn publish(&mut self) {
        let view = self.world.view(&self.core);
        let stand = Stand {
            phase: view.phase,
            position: view.position,
            freshness: view.freshness,
            bound: Duration::from_secs(10),
        };
        self.service.memory.store(Arc::new(view));
        self.hub.publish(self.core.news(), stand);
    }

    pub fn load(&mut self, pos: u64, changes: &[Change]) {
        self.core.load(self.world.snapshot(pos, changes)).unwrap();
        self.publish();
    }

    pub fn take(&mut self, message: SignedEnvelope) {
        self.core.take(message);
        self.publish();
    }

    /// Opens a stream and says `hello`.
    pub async fn say(&self, hello: pb::Hello) -> Result<Line, Status> {
        say(self.channel.clone(), hello).await
    }

    /// Opens a stream and says nothing.
    pub async fn say_nothing(&self) -> Result<(), Status> {
        let (_silent, messages) = mpsc::channel(1);
        let mut client = FilterClient::new(self.channel.clone());
        let down = client.session(ReceiverStream::new(messages)).await;
        down.map(|_| ())
    }

    pub async fn join(&self, vm: u8) -> Line {
        self.say(hello(vm)).await.unwrap()
    }

    /// What is in the journal, in order.
    pub fn events(&self) -> Vec<Event> {
        let files = std::fs::read_dir(self.service.folder.path()).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "segment"));
        paths.sort();
        let events = paths.iter().flat_map(|path| {
            let bytes = std::fs::read(path).unwrap();
            let mut rest = &bytes[40..];
            let mut found = Vec::new();
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
                let leaf = &after[4..4 + length];
                let envelope = SignedEnvelope::from_leaf_bytes(leaf).unwrap().envelope;
                found.push(Event::decode(&envelope.payload).unwrap());
                rest = &after[4 + length..];
            }
            found
        });
        events.filter(|event| event.code.is_some()).collect()
    }

    pub async fn until(&self, what: &str, held: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if held(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {what}");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.lifecycle.soft().cancel();
        self.lifecycle.hard().cancel();
    }
}

pub fn attachments() -> Attachments {
    let name = |text: &str| AttachmentName::parse(text).unwrap();
    [
        (name("ingress"), vec![zone(1)]),
        (name("both"), vec![zone(1), zone(2)]),
    ]
    .into()
}

/// Opens a stream and says `hello`.
pub async fn say(channel: Channel, hello: pb::Hello) -> Result<Line, Status> {
    let (up, messages) = mpsc::channel(16);
    up.send(message(pb::up::What::Hello(hello))).await.unwrap();
    let down = FilterClient::new(channel)
        .session(ReceiverStream::new(messages))
        .await?;
    Ok(Line {
        up: Some(up),
        down: down.into_inner(),
    })
}

/// A stream, as a filter holds it.
pub struct Line {
    up: Option<mpsc::Sender<pb::Up>>,
    pub down: Streaming<pb::Down>,
}

impl Line {
    pub async fn send(&self, what: pb::up::What) {
        // Where the stream is over, that is found out by reading.
        let _over = self.up.as_ref().unwrap().send(message(what)).await;
    }

    pub fn close(&mut self) {
        self.up = None;
    }

    pub async fn next(&mut self) -> Result<pb::down::What, Status> {
        let message = tokio::time::timeout(Duration::from_secs(20), self.down.message());
        match message.await.expect("nothing came")? {
            Some(down) => Ok(down.what.unwrap()),
            None => Err(Status::ok("ended in order")),
        }
    }

    /// All parts of a snapshot.
    pub async fn snapshot(&mut self) -> pb::Snapshot {
        let mut whole = pb::Snapshot::default();
        loop {
            let pb::down::What::Snapshot(mut part) = self.next().await.unwrap() else {
                panic!("no snapshot")
            };
            part.changes
                .splice(0..0, std::mem::take(&mut whole.changes));
            whole = part;
            if whole.last {
                return whole;
            }
        }
    }

    pub async fn deltas(&mut self) -> pb::Deltas {
        let next = self.next().await.unwrap();
        let pb::down::What::Deltas(deltas) = next else {
            panic!("{next:?}")
        };
        deltas
    }

    pub async fn ping(&mut self, t_ns: i64) -> pb::Pong {
        self.send(pb::up::What::Ping(pb::Ping { t_ns })).await;
        loop {
            if let pb::down::What::Pong(pong) = self.next().await.unwrap() {
                return pong;
            }
        }
    }

    /// Reports, and the number through which reports are acknowledged then.
    pub async fn report(&mut self, report: pb::Refusals) -> u64 {
        self.send(pb::up::What::Refusals(report)).await;
        self.up_ack().await
    }

    pub async fn up_ack(&mut self) -> u64 {
        loop {
            if let pb::down::What::UpAck(ack) = self.next().await.unwrap() {
                return ack.through_seq;
            }
        }
    }

    pub async fn ack(&self, epoch: &[u8], pos: u64, through_seq: u64) {
        let epoch = epoch.to_vec();
        let ack = pb::Ack {
            epoch,
            pos,
            through_seq,
        };
        self.send(pb::up::What::Ack(ack)).await;
    }
}

pub fn vm(number: u8) -> String {
    format!("{number:032x}")
}

pub fn hello(number: u8) -> pb::Hello {
    pb::Hello {
        attachment: "ingress".to_owned(),
        vm: vm(number),
        zone_ids: vec![zone(1).to_string()],
        protocol: 1,
        through_seq: 0,
    }
}

fn message(what: pb::up::What) -> pb::Up {
    pb::Up { what: Some(what) }
}
