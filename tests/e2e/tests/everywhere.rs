//! `--wait everywhere` means it: four workers of Envoy ask two replicas of ext-authz, and once the command returns not
//! one of them lets the mandate pass.
#![expect(clippy::unwrap_used, reason = "tests")]

use e2e::attack::Draft;
use e2e::socket::Connection;
use e2e::{Options, Replica, Stack, Way};

const WORKERS: u32 = 4;
/// Enough that every worker has some.
const CONNECTIONS: usize = 32;
const REVOCATIONS: usize = 20;

async fn revoked_means_everywhere(way: Way) {
    let stack = Stack::start(&Options {
        way,
        workers: WORKERS,
    });
    let _replica = Replica::join(&stack, 1).await;
    let mut connections: Vec<Connection> = (0..CONNECTIONS)
        .map(|_| Connection::open(stack.address("envoy")))
        .collect();
    let mut statuses = |request: &[u8]| -> Vec<u16> {
        let asked = connections.iter_mut();
        asked
            .map(|connection| connection.ask(request).unwrap().unwrap().status)
            .collect()
    };
    for number in 0..REVOCATIONS {
        let minted = stack.mint_sample();
        let request = Draft::new(minted["mandate"].as_str().unwrap()).bytes();
        let before = statuses(&request);
        assert!(
            before.iter().all(|status| *status == 200),
            "{way}: {before:?}"
        );
        let [kind, id] = match number % 2 {
            0 => ["mandate", minted["claims"]["jti"].as_str().unwrap()],
            _ => ["session", minted["session"].as_str().unwrap()],
        };
        let revoked = stack.ok(&["revoke", kind, id, "--wait", "everywhere"]);
        let after = [statuses(&request), statuses(&request)].concat();
        assert!(
            after.iter().all(|status| *status == 401),
            "{way}: after {}: {after:?}",
            revoked.stdout
        );
    }
    println!("{way}: {REVOCATIONS} revocations, none passed on {CONNECTIONS} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_filter_a_revocation_waited_for_is_everywhere() {
    revoked_means_everywhere(Way::Filter).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_ext_authz_a_revocation_waited_for_is_everywhere() {
    revoked_means_everywhere(Way::ExtAuthz).await;
}
