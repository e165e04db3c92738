//! Parts of the way are killed, hung, cut off, exchanged and replaced by others, under load. No request that nobody
//! allowed reaches the upstream, and once the part is back, requests pass again.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "chaos/answers.rs"]
mod answers;
#[path = "chaos/traps.rs"]
mod traps;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::attack::Draft;
use e2e::{Authorizer, Book, Line, Load, Options, Relay, Says, Stack, Tally, Way};
use rustix::process::Signal;

/// How long it may take until requests pass again.
const PATIENCE: Duration = Duration::from_secs(60);
const UPSTREAM: &str = "cluster.upstream.upstream_rq_total";

/// A stack under load.
struct Drill {
    way: Way,
    stack: Stack,
    book: Book,
    address: SocketAddr,
    requests: Vec<(&'static str, Vec<u8>)>,
    faults: usize,
}

impl Drill {
    fn new(way: Way) -> Self {
        let stack = Stack::start(&Options { way, workers: 2 });
        let minted = stack.mint_sample();
        let good = Draft::new(minted["mandate"].as_str().unwrap()).line(b"connection: close");
        let requests = vec![
            ("a good request", good.bytes()),
            ("no mandate", good.credentials(&[]).bytes()),
        ];
        Self {
            way,
            address: stack.address("envoy"),
            stack,
            book: Book::default(),
            requests,
            faults: 0,
        }
    }

    /// Has a fault at work under load, heals it, and waits until requests pass again. Gives what was sent meanwhile, one
    /// after the other.
    async fn under(
        &mut self,
        what: &str,
        rounds: usize,
        fault: impl AsyncFn(&Self),
        heal: impl AsyncFn(&Self),
    ) -> Tally {
        let before = self.stack.counted(UPSTREAM).await;
        let load = Load::start(self.address, &self.requests, 2);
        fault(self).await;
        let mut meanwhile = Tally::default();
        for _ in 0..rounds {
            meanwhile.send(self.address, &self.requests);
        }
        heal(self).await;
        let mut all = self.passing(what);
        all.add(load.end());
        all.add(meanwhile.clone());
        self.judge(what, &all);
        let passed = all.count(|reply| reply.status == 200);
        let reached = self.stack.counted(UPSTREAM).await - before;
        assert!(
            (passed..=passed + all.unanswered).contains(&reached),
            "{}: {what}: {reached} requests reached the upstream, {passed} passed, {} had no answer",
            self.way,
            all.unanswered
        );
        println!(
            "{}: {what}: {} sent, {passed} passed, {} had no answer; meanwhile {}",
            self.way,
            all.replies.len() as u64 + all.unanswered,
            all.unanswered,
            meanwhile.told()
        );
        all.into_book(&mut self.book);
        self.faults += 1;
        meanwhile
    }

    /// Asks until a request passes.
    fn passing(&self, what: &str) -> Tally {
        let started = Instant::now();
        let mut tally = Tally::default();
        while tally.count(|reply| reply.status == 200) == 0 {
            tally.send(self.address, &self.requests);
            assert!(
                started.elapsed() < PATIENCE,
                "{}: {what}: nothing passes: {}",
                self.way,
                tally.told()
            );
        }
        tally
    }

    /// Whoever has no mandate never passes, and what passes names its decision.
    fn judge(&self, what: &str, tally: &Tally) {
        for (request, reply) in &tally.replies {
            let fine = match reply.status {
                200 => *request == "a good request" && reply.decision().is_some(),
                401 => *request == "no mandate",
                status => status == 503,
            };
            assert!(fine, "{}: {what}: {request}: {reply:?}", self.way);
        }
    }

    /// Puts something else where ext-authz is asked; the filter's feed stays as it is.
    fn ask(&self, address: SocketAddr) {
        let own = self.stack.address("ext_authz").port();
        self.stack.change_envoy(|text| {
            let cluster = text.split("  - name: ext_authz\n    type: STATIC").nth(1);
            let (cluster, _) = cluster.unwrap().split_once("  - name: upstream").unwrap();
            let other = cluster
                .replace("cluster_name: ext_authz", "cluster_name: other")
                .replace(
                    &format!("port_value: {own}"),
                    &format!("port_value: {}", address.port()),
                );
            let text = text
                .replace(
                    "envoy_grpc: { cluster_name: ext_authz }",
                    "envoy_grpc: { cluster_name: other }",
                )
                .replace(
                    "\"authz\":{\"cluster\":\"ext_authz\"",
                    "\"authz\":{\"cluster\":\"other\"",
                );
            text.replace(
                "  - name: upstream\n    type: STATIC",
                &format!(
                    "  - name: other\n    type: STATIC{other}  - name: upstream\n    type: STATIC"
                ),
            )
        });
    }

    fn end(self) {
        self.book.settle_allows(&self.stack);
        println!(
            "{}: {} faults, every allow in the ledger: {:?}",
            self.way,
            self.faults,
            self.book.totals()
        );
    }
}

/// ext-authz is killed, hung, asked to end; what it answers is held up, and cut off.
async fn parts_go_away(way: Way) {
    let mut drill = Drill::new(way);
    let relay = Relay::new(drill.stack.address("ext_authz")).await;
    drill.ask(relay.address());
    drill.passing("at first").into_book(&mut drill.book);
    let signal = |signal| async move |drill: &Drill| drill.stack.signal("ext-authz", signal);
    let ready = async |drill: &Drill| drill.stack.wait_ready();

    drill
        .under("ext-authz is killed", 10, signal(Signal::KILL), ready)
        .await;
    drill
        .under("ext-authz is asked to end", 10, signal(Signal::TERM), ready)
        .await;
    let hung = drill
        .under(
            "ext-authz hangs",
            5,
            signal(Signal::STOP),
            signal(Signal::CONT),
        )
        .await;
    assert_eq!(
        hung.count(|reply| reply.status == 200),
        0,
        "{way}: {}",
        hung.told()
    );
    let set = |line| {
        let relay = &relay;
        async move |_: &Drill| relay.set(line)
    };
    let held = drill
        .under("answers are held up", 5, set(Line::Held), set(Line::Open))
        .await;
    assert_eq!(
        held.count(|reply| reply.status == 200),
        0,
        "{way}: {}",
        held.told()
    );
    let cut = drill
        .under("answers are cut off", 10, set(Line::Cut), set(Line::Open))
        .await;
    assert_eq!(
        cut.count(|reply| reply.status == 200),
        0,
        "{way}: {}",
        cut.told()
    );
    drill
        .under(
            "Redis hangs",
            10,
            async |drill| drill.stack.signal("valkey", Signal::STOP),
            async |drill| drill.stack.signal("valkey", Signal::CONT),
        )
        .await;
    drill
        .under(
            "the coordinator is killed",
            10,
            async |drill| drill.stack.signal("coordinator", Signal::KILL),
            ready,
        )
        .await;
    drill.end();
}

/// Whoever answers in the place of ext-authz: what is no allow of ours lets nothing pass where our filter stands.
async fn answers_are_not_ours(way: Way) {
    let drill = Drill::new(way);
    let other = Authorizer::new(Says::Silence).await;
    drill.ask(other.address());
    let answers = answers::all();
    let mut wrong = Vec::new();
    for (name, says, native) in &answers {
        other.say(says.clone());
        let before = (other.asked(), drill.stack.counted(UPSTREAM).await);
        let mut tally = Tally::default();
        tally.send(drill.address, &drill.requests[..1]);
        let status = tally.replies.first().map_or(0, |(_, reply)| reply.status);
        let after = (other.asked(), drill.stack.counted(UPSTREAM).await);
        let passes = way == Way::ExtAuthz && *native == 200;
        let expected = match (way, native) {
            (Way::ExtAuthz, native) => status == *native,
            (Way::Filter, _) | (Way::Both, 200) => matches!(status, 403 | 503),
            (Way::Both, native) => status == *native,
        };
        if !expected || after.1 - before.1 != u64::from(passes) || after.0 == before.0 {
            wrong.push(format!(
                "{way}: {name}: {status}, asked {}, reached {}",
                after.0 - before.0,
                after.1 - before.1
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{way}: {} answers that are not ours", answers.len());
}

/// Envoy's listener is exchanged, and Envoy itself ends, with requests on their way.
async fn envoy_is_exchanged(way: Way) {
    let mut drill = Drill::new(way);
    let file = drill.stack.envoy_config();
    let listeners = file.with_file_name("listeners.yaml");
    let bootstrap = std::fs::read_to_string(&file).unwrap();
    let (head, rest) = bootstrap
        .split_once("static_resources:\n  listeners:\n")
        .unwrap();
    let (listener, clusters) = rest.split_once("\n  clusters:\n").unwrap();
    let listener = listener.replacen(
        "  - name: ingress\n",
        "  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n    name: ingress\n",
        1,
    );
    let listener = |seconds: usize| {
        let changed = listener.replace(
            "stream_idle_timeout: 60s",
            &format!("stream_idle_timeout: {seconds}s"),
        );
        format!("resources:\n{changed}\n")
    };
    let put = |seconds: usize| {
        // Envoy looks for a file that is moved into its place.
        let next = listeners.with_extension("next");
        std::fs::write(&next, listener(seconds)).unwrap();
        std::fs::rename(&next, &listeners).unwrap();
    };
    put(60);
    let found = format!(
        "node: {{ id: drill, cluster: drill }}\ndynamic_resources:\n  lds_config:\n    path_config_source: {{ path: {} }}\n{head}static_resources:\n  clusters:\n{clusters}",
        listeners.display()
    );
    drill.stack.change_envoy(|_| found.clone());
    drill
        .passing("with a listener that is found")
        .into_book(&mut drill.book);
    const UPDATED: &str = "listener_manager.lds.update_success";
    for seconds in 61..66 {
        let updated = drill.stack.counted(UPDATED).await;
        let arrived = async |drill: &Drill| {
            let started = Instant::now();
            while drill.stack.counted(UPDATED).await == updated {
                assert!(started.elapsed() < PATIENCE, "the listener was not taken");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        drill
            .under(
                "the listener is exchanged",
                10,
                async |_| put(seconds),
                arrived,
            )
            .await;
    }
    drill.end();
}

/// Envoy is asked to end while requests are on their way, and is started again.
fn envoy_ends(way: Way) {
    let mut drill = Drill::new(way);
    for _ in 0..3 {
        let load = Load::start(drill.address, &drill.requests, 2);
        let mut all = drill.passing("before Envoy ends");
        drill.stack.signal("envoy", Signal::TERM);
        drill.stack.wait_ready();
        all.add(drill.passing("after Envoy was started again"));
        all.add(load.end());
        drill.judge("Envoy ends", &all);
        println!("{way}: Envoy ends: {}", all.told());
        all.into_book(&mut drill.book);
        drill.faults += 1;
    }
    drill.end();
}

/// A callback of the filter traps, now and then or always: Envoy makes the VM anew and refuses meanwhile.
async fn the_filter_traps() {
    const FILE: &str = "caracal-filter.wasm";
    let mut drill = Drill::new(Way::Filter);
    let text = std::fs::read_to_string(drill.stack.envoy_config()).unwrap();
    let (before, _) = text.split_once(&format!("{FILE}\"")).unwrap();
    let module = before.rsplit_once('"').unwrap().1.to_owned() + FILE;
    let bytes = std::fs::read(&module).unwrap();
    for (number, trap) in traps::TRAPS.iter().enumerate() {
        let trapping = drill.stack.home().join(format!("trap-{number}.wasm"));
        std::fs::write(&trapping, trap.set_in(&bytes)).unwrap();
        drill.stack.change_envoy(|text| {
            let (before, after) = text.split_once("filename: \"").unwrap();
            let (_, after) = after.split_once('"').unwrap();
            format!("{before}filename: \"{}\"{after}", trapping.display())
        });
        let started = Instant::now();
        let mut all = Tally::default();
        let passed = |all: &Tally| all.count(|reply| reply.status == 200);
        let broken = |all: &Tally| all.count(|reply| reply.status == 503) + all.unanswered;
        while broken(&all) < 10 || (trap.passes && passed(&all) < 10) {
            all.send(drill.address, &drill.requests);
            let told = all.told();
            assert!(started.elapsed() < PATIENCE, "{trap:?}: {told}");
        }
        drill.judge(trap.callback, &all);
        let reached = drill.stack.counted(UPSTREAM).await;
        println!(
            "{}: a trap in {}: {reached} reached the upstream; {}",
            drill.way,
            trap.callback,
            all.told()
        );
        assert!(trap.passes || passed(&all) == 0, "{trap:?}: {}", all.told());
        // Where the callback of an answer trapped, the request had gone forward.
        let bare = all.count(|reply| reply.status == 503 && reply.code().is_empty());
        let most = passed(&all) + bare + all.unanswered;
        assert!(
            (passed(&all)..=most).contains(&reached),
            "{trap:?}: {reached} reached the upstream; {}",
            all.told()
        );
        all.into_book(&mut drill.book);
        drill.faults += 1;
    }
    drill.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_of_the_filter_lets_nothing_pass() {
    the_filter_traps().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_filter_nothing_passes_that_nobody_allowed() {
    parts_go_away(Way::Filter).await;
    answers_are_not_ours(Way::Filter).await;
    envoy_is_exchanged(Way::Filter).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_filter_no_allow_stands_of_what_was_refused_while_envoy_came_back() {
    envoy_ends(Way::Filter);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_nothing_passes_that_nobody_allowed() {
    parts_go_away(Way::Both).await;
    answers_are_not_ours(Way::Both).await;
    envoy_is_exchanged(Way::Both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_no_allow_stands_of_what_was_refused_while_envoy_came_back() {
    envoy_ends(Way::Both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_ext_authz_nothing_passes_that_nobody_allowed() {
    parts_go_away(Way::ExtAuthz).await;
    answers_are_not_ours(Way::ExtAuthz).await;
    envoy_is_exchanged(Way::ExtAuthz).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_ext_authz_no_allow_stands_of_what_was_refused_while_envoy_came_back() {
    envoy_ends(Way::ExtAuthz);
}
