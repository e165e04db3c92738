//! What the environment of a service says: the addresses, and where each of its own secrets lies.

use std::ffi::OsString;

use migrations::Role;

use crate::stack::home::Home;
use crate::stack::secrets;

/// The environment of a process by its name; empty for what needs none.
pub(crate) fn of(home: &Home, name: &str, database: &str, redis: &str) -> Vec<(String, OsString)> {
    let Some((own, roles)) = holdings(name) else {
        return Vec::new();
    };
    let mut environment: Vec<(String, OsString)> = vec![
        ("CARACAL_MODE".to_owned(), "dev".into()),
        (
            "REDIS_URL".to_owned(),
            format!("{redis}?user={name}").into(),
        ),
    ];
    if !roles.is_empty() {
        environment.push(("DATABASE_URL".to_owned(), database.into()));
    }
    let event_key = secrets::signer_file(&format!("{name}-event"));
    let redis_password = secrets::redis_file(name);
    let common = [
        ("REDIS_PASSWORD_FILE", redis_password.as_str()),
        ("METRICS_TOKEN_FILE", secrets::METRICS_TOKEN),
        ("EVENT_KEY_FILE", event_key.as_str()),
    ];
    for (variable, relative) in common.iter().chain(own) {
        environment.push(((*variable).to_owned(), home.data(relative).into_os_string()));
    }
    for role in roles {
        let suffix = role
            .name()
            .trim_start_matches("caracal_")
            .to_ascii_uppercase();
        let file = home.data(&secrets::role_file(*role));
        environment.push((
            format!("DATABASE_PASSWORD_FILE_{suffix}"),
            file.into_os_string(),
        ));
    }
    environment
}

/// A secret's variable and its file.
type Secret = (&'static str, &'static str);

/// What is a service's alone: secrets, and roles of the database.
fn holdings(name: &str) -> Option<(&'static [Secret], &'static [Role])> {
    Some(match name {
        "sts" => (
            &[
                ("STS_KEK_FILE", secrets::STS_KEK),
                ("PEPPER_FILE", secrets::PEPPER),
            ],
            &[Role::Sts, Role::Keeper],
        ),
        "coordinator" => (
            &[
                ("PEPPER_FILE", secrets::PEPPER),
                ("STREAM_KEY_FILE", secrets::STREAM_KEY),
                ("BOOTSTRAP_TOKEN_FILE", secrets::ADMIN_TOKEN),
                ("SERVICE_TOKEN_FILE", secrets::SERVICE_TOKEN),
            ],
            &[
                Role::Coordinator,
                Role::Operator,
                Role::Sequencer,
                Role::Snapshot,
                Role::Retention,
            ],
        ),
        "audit" => (
            &[
                ("AUDIT_KEK_FILE", secrets::AUDIT_KEK),
                ("SERVICE_TOKEN_FILE", secrets::SERVICE_TOKEN),
            ],
            &[Role::AuditWriter, Role::AuditReader, Role::AuditOperator],
        ),
        "ext-authz" => (&[("SERVICE_TOKEN_FILE", secrets::SERVICE_TOKEN)], &[]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use chassis::config::{Environment, Raw, resolve};

    use super::*;
    use crate::stack::configuration;
    use crate::stack::ports::Ports;

    fn check<R: Raw>(home: &Home, name: &str) {
        let database = "postgres:///caracal?host=/tmp&port=5432";
        let pairs = of(home, name, database, "unix:///tmp/valkey.sock");
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (name, value.into_string().unwrap()));
        let text = std::fs::read_to_string(home.data(&format!("config/{name}.toml"))).unwrap();
        if let Err(findings) = resolve::<R>(&text, &Environment::of(pairs)) {
            panic!("{name}: {findings:?}");
        }
    }

    #[test]
    fn every_service_takes_what_it_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(&folder.path().join("home"))).unwrap();
        home.create().unwrap();
        secrets::create(&home).unwrap();
        configuration::write(&home, Ports { base: 20_000 }).unwrap();
        check::<sts::RawConfig>(&home, "sts");
        check::<coordinator::RawConfig>(&home, "coordinator");
        check::<audit::RawConfig>(&home, "audit");
        check::<ext_authz::RawConfig>(&home, "ext-authz");
        home.purge().unwrap();
    }

    #[test]
    fn no_two_services_share_a_key_that_one_can_do_without() {
        let variables = |name: &str| -> Vec<&str> {
            holdings(name)
                .unwrap()
                .0
                .iter()
                .map(|(variable, _)| *variable)
                .collect()
        };
        assert!(
            !variables("ext-authz")
                .iter()
                .any(|name| name.contains("KEK") || name.contains("PEPPER"))
        );
        assert!(!variables("coordinator").contains(&"STS_KEK_FILE"));
        assert!(!variables("audit").contains(&"BOOTSTRAP_TOKEN_FILE"));
        assert!(holdings("upstream").is_none());
    }
}
