//! Who may do what in Redis: one user a service, with exactly the commands and streams it needs. Messages are
//! signed, so that whoever could write anyway could not forge; who cannot write cannot even delay.

/// What every user may do without touching a key.
const COMMON: &str = "resetchannels -@all +ping +client|setinfo";

/// The users and what each may do. `(…)` is a selector: these commands on these streams.
const USERS: [(&str, &str); 4] = [
    (
        "coordinator",
        "(+xadd +xrevrange %RW~caracal.authority) (+xadd %W~caracal.audit.events.*) \
         (+xread +xrevrange +xinfo|stream %R~caracal.audit.cursors)",
    ),
    (
        "sts",
        "(+xadd %W~caracal.audit.events.*) (+xread +xinfo|stream %R~caracal.audit.cursors)",
    ),
    (
        "ext-authz",
        "(+xread +xinfo|stream %R~caracal.authority) (+xadd %W~caracal.audit.events.*) \
         (+xread +xinfo|stream %R~caracal.audit.cursors)",
    ),
    (
        "audit",
        "(+xread +xinfo|stream +xtrim %RW~caracal.audit.events.*) \
         (+xadd %W~caracal.audit.cursors %W~caracal.audit.dead)",
    ),
];

/// The services that have a user.
pub(crate) fn services() -> impl Iterator<Item = &'static str> {
    USERS.iter().map(|(name, _)| *name)
}

/// The user of a service as the server's configuration says it.
pub(crate) fn user(service: &str, password: &str) -> Option<String> {
    let (name, rules) = USERS.iter().find(|(name, _)| *name == service)?;
    Some(format!("{name} on >{password} {COMMON} {rules}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::time::Duration;

    use engines::{Durability, Leash, Valkey};

    use super::*;
    use crate::stack::home::Home;

    fn ask(socket: &Path, service: &str, command: &str) -> String {
        let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
        let mut answer = String::new();
        for line in [format!("AUTH {service} pw"), command.to_owned()] {
            stream
                .get_mut()
                .write_all(format!("{line}\r\n").as_bytes())
                .unwrap();
            answer.clear();
            stream.read_line(&mut answer).unwrap();
        }
        answer
    }

    #[test]
    fn a_service_reads_and_writes_its_own_streams_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(&folder.path().join("home"))).unwrap();
        home.create().unwrap();
        let socket = home.data("run/v.sock");
        let tools = engines::install().unwrap();
        let run = home.data("run");
        let valkey = Valkey::new(&tools, &run, &socket, home.user(), Durability::Scratch).unwrap();
        let users: Vec<String> = services().map(|name| user(name, "pw").unwrap()).collect();
        valkey.initialise_with_users(Some("super"), &users).unwrap();
        let leash = Leash::start(&valkey.launch(&run.join("log")), "TERM", false).unwrap();
        valkey.wait_ready(Duration::from_secs(30)).unwrap();

        let writes = |service: &str, stream: &str| {
            !ask(&socket, service, &format!("XADD {stream} * e x")).starts_with("-NOPERM")
        };
        let reads = |service: &str, stream: &str| {
            !ask(
                &socket,
                service,
                &format!("XREAD COUNT 1 STREAMS {stream} 0"),
            )
            .starts_with("-NOPERM")
        };
        let streams = [
            "caracal.authority",
            "caracal.audit.events.0",
            "caracal.audit.cursors",
        ];
        let table = |may: &dyn Fn(&str, &str) -> bool, service: &str| {
            streams.map(|stream| may(service, stream))
        };
        assert_eq!(table(&writes, "coordinator"), [true, true, false]);
        assert_eq!(table(&reads, "coordinator"), [false, false, true]);
        assert_eq!(table(&writes, "sts"), [false, true, false]);
        assert_eq!(table(&reads, "sts"), [false, false, true]);
        assert_eq!(table(&writes, "ext-authz"), [false, true, false]);
        assert_eq!(table(&reads, "ext-authz"), [true, false, true]);
        assert_eq!(table(&writes, "audit"), [false, false, true]);
        assert_eq!(table(&reads, "audit"), [false, true, false]);
        for service in services() {
            assert!(
                ask(&socket, service, "PING").starts_with("+PONG"),
                "{service}"
            );
            for command in [
                "FLUSHALL",
                "DEL caracal.authority",
                "KEYS *",
                "CONFIG GET *",
                "ACL LIST",
                "PUBLISH a b",
                "XADD other * e x",
            ] {
                assert!(
                    ask(&socket, service, command).starts_with("-NOPERM"),
                    "{service}: {command}"
                );
            }
        }
        drop(leash);
        home.purge().unwrap();
    }
}
