//! What Envoy runs with: one of the manifests of `envoy/`, with what is the stack's own put in.

use std::fmt::Write as _;
use std::path::Path;

use filter_wasm::config::{Mode, RawAuthz, RawConfig, RawFeed, RawZone};

use crate::args::Attach;
use crate::stack::home::Home;
use crate::stack::ports::Ports;
use crate::stack::sample;

/// Where the filter's module lies for Envoy.
pub(crate) const MODULE: &str = "run/caracal-filter.wasm";
/// The cluster of ext-authz in the manifests, and what its calls name it.
const CLUSTER: &str = "ext_authz";
const AUTHORITY: &str = "ext-authz";

const fn manifest(attach: Attach) -> &'static str {
    match attach {
        Attach::Filter => include_str!("../../../envoy/filter.yaml"),
        Attach::ExtAuthz => include_str!("../../../envoy/ext_authz.yaml"),
        Attach::Both => include_str!("../../../envoy/both.yaml"),
    }
}

/// Writes Envoy's configuration.
pub(crate) fn write(home: &Home, ports: Ports, attach: Attach) -> anyhow::Result<()> {
    let text = configuration(ports, attach, &home.data(MODULE))?;
    home.write("config/envoy.yaml", text.as_bytes()).map(drop)
}

/// The filter's configuration for an attachment and its zones, each with its issuer.
pub(crate) fn filter(attachment: &str, zones: Vec<(String, String)>, mode: Mode) -> RawConfig {
    let zones = zones
        .into_iter()
        .map(|(id, issuer)| RawZone { id, issuer })
        .collect();
    RawConfig {
        version: filter_wasm::config::VERSION,
        attachment: attachment.to_owned(),
        zones,
        authz: RawAuthz {
            cluster: CLUSTER.to_owned(),
            authority: AUTHORITY.to_owned(),
            timeout: "500ms".to_owned(),
        },
        feed: RawFeed {
            cluster: CLUSTER.to_owned(),
            authority: AUTHORITY.to_owned(),
        },
        routes: Vec::new(),
        mode,
    }
}

/// The filter's configuration in the stack itself.
fn own_filter(ports: Ports, attach: Attach) -> RawConfig {
    let mode = match attach {
        Attach::Filter | Attach::ExtAuthz => Mode::Enforce,
        Attach::Both => Mode::VerifyOnly,
    };
    let zones = [sample::ZONE, sample::OTHER_ZONE].map(|zone| {
        let issuer = format!("http://127.0.0.1:{}/z/{zone}", ports.sts());
        (zone.to_owned(), issuer)
    });
    filter(sample::ATTACHMENT, zones.to_vec(), mode)
}

/// What a manifest must leave to be put in.
const PORTS: [&str; 4] = ["envoy_admin", "envoy", "ext_authz", "upstream"];
const FILTER: [&str; 2] = ["filter_module", "filter_config"];

/// The manifest with what is the stack's own: what stands before each `# name` is replaced.
fn configuration(ports: Ports, attach: Attach, module: &Path) -> anyhow::Result<String> {
    let (mut text, mut put_in) = (String::new(), Vec::new());
    for line in manifest(attach).lines() {
        let named = line.rsplit_once(" # ").map_or("", |(_, name)| name);
        if let Some(own) = own(line, named, ports, attach, module) {
            put_in.push(named);
            writeln!(text, "{own}")?;
        } else {
            writeln!(text, "{line}")?;
        }
    }
    let filter: &[&str] = if attach.has_filter() { &FILTER } else { &[] };
    for name in PORTS.iter().chain(filter) {
        let times = put_in.iter().filter(|found| *found == name).count();
        anyhow::ensure!(
            times == 1,
            "the manifest leaves `{name}` to be put in {times} times, not once"
        );
    }
    Ok(text)
}

/// The line with what is the stack's own under this name; none where it is as it is for everybody.
fn own(line: &str, name: &str, ports: Ports, attach: Attach, module: &Path) -> Option<String> {
    let port = match name {
        "envoy_admin" => ports.envoy_admin(),
        "envoy" => ports.envoy(),
        "ext_authz" => ports.ext_authz(),
        "upstream" => ports.upstream(),
        "filter_module" => {
            let (before, _) = line.split_once("filename: ")?;
            let path = serde_json::to_string(module.to_str()?).ok()?;
            return Some(format!("{before}filename: {path} }}"));
        }
        "filter_config" => {
            let (before, _) = line.split_once("value: ")?;
            let config = serde_json::to_string(&own_filter(ports, attach)).ok()?;
            return Some(format!("{before}value: '{}'", config.replace('\'', "''")));
        }
        _ => return None,
    };
    let (before, _) = line.split_once("port_value: ")?;
    Some(format!("{before}port_value: {port} }}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [Attach; 3] = [Attach::Filter, Attach::ExtAuthz, Attach::Both];

    fn made(attach: Attach) -> String {
        configuration(Ports { base: 20000 }, attach, Path::new("/m/it's.wasm")).unwrap()
    }

    #[test]
    fn a_stack_with_the_ports_of_the_manifests_is_one_like_any_other() {
        for attach in WAYS {
            let text = configuration(Ports::default(), attach, Path::new("/m.wasm")).unwrap();
            assert!(text.contains("port_value: 9090 }") && text.contains("port_value: 8080 }"));
        }
    }

    #[test]
    fn every_port_of_the_manifest_is_replaced() {
        for attach in WAYS {
            let text = made(attach);
            for port in [20080, 21901, 21090, 20099] {
                assert!(text.contains(&format!("port_value: {port} }}")), "{port}");
            }
            for port in ["8080", "9901", "9090", "8099"] {
                assert!(!text.contains(&format!("port_value: {port} ")), "{port}");
            }
        }
    }

    #[test]
    fn a_filter_gets_its_module_and_a_configuration_that_it_takes() {
        for attach in WAYS {
            let text = made(attach);
            assert_eq!(text.contains("\"/m/it's.wasm\""), attach.has_filter());
            let config = text
                .lines()
                .find_map(|line| line.trim().strip_prefix("value: '"))
                .map(|value| value.trim_end_matches('\'').replace("''", "'"));
            assert_eq!(config.is_some(), attach.has_filter());
            if let Some(config) = config {
                let config = filter_wasm::Config::parse(config.as_bytes()).unwrap();
                assert_eq!(config.verifies(), attach == Attach::Both);
                assert_eq!(config.zones.len(), 2);
            }
        }
    }
}
