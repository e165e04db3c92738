//! The same Envoy for every variant; only the filters before the router differ.

use std::path::PathBuf;

use serde_json::{Value, json};

/// What stands before the router.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Nothing.
    Plain,
    /// A wasm filter whose callbacks do nothing.
    NoopWasm(PathBuf),
    /// Envoy's own `jwt_authn`, verifying each time: the issuer and its key set.
    JwtAuthn { issuer: String, jwks: String },
    /// Envoy's own `ext_authz`, asking on this port.
    ExtAuthz(u16),
    /// The same for an authorizer that reads the map of headers, which has each name once.
    ExtAuthzJoined(u16),
    /// Our filter: it decides what it can and asks on this port.
    Filter(Ours),
    /// Envoy's own `ext_authz`, then our filter checking again.
    Both(Ours),
}

/// What our filter needs.
#[derive(Debug, Clone)]
pub(crate) struct Ours {
    pub(crate) module: PathBuf,
    pub(crate) configuration: Value,
    pub(crate) port: u16,
}

/// Envoy's bootstrap: one listener, a direct answer instead of an upstream.
pub(crate) fn bootstrap(listen: u16, admin: u16, way: &Way, attachment: &str) -> Value {
    let mut filters = filters(way);
    filters.push(named(
        "envoy.filters.http.router",
        "router.v3.Router",
        json!({}),
    ));
    let clusters: Vec<Value> = match way {
        Way::ExtAuthz(port) | Way::ExtAuthzJoined(port) => vec![cluster(*port)],
        Way::Filter(ours) | Way::Both(ours) => vec![cluster(ours.port)],
        Way::Plain | Way::NoopWasm(_) | Way::JwtAuthn { .. } => Vec::new(),
    };
    let mut route = json!({
        "name": "all",
        "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": "ok" } }
    });
    if matches!(way, Way::ExtAuthz(_) | Way::Both(_)) {
        let mut extensions = json!({ "caracal.bindings": attachment });
        if matches!(way, Way::Both(_)) {
            extensions["caracal.mandate"] = json!("keep");
        }
        route["typed_per_filter_config"] = json!({ "envoy.filters.http.ext_authz": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            "check_settings": { "context_extensions": extensions }
        }});
    }
    json!({
        "admin": { "address": address(admin) },
        "static_resources": {
            "listeners": [{ "name": "bench", "address": address(listen), "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "bench",
                    "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
                    "http_filters": filters
                }
            }]}]}],
            "clusters": clusters
        }
    })
}

fn filters(way: &Way) -> Vec<Value> {
    match way {
        Way::Plain => Vec::new(),
        Way::NoopWasm(module) => vec![wasm(module, "noop", "")],
        Way::JwtAuthn { issuer, jwks } => vec![jwt_authn(issuer, jwks)],
        Way::ExtAuthz(_) => vec![ext_authz(true)],
        Way::ExtAuthzJoined(_) => vec![ext_authz(false)],
        Way::Filter(ours) => vec![filter(ours, "enforce")],
        Way::Both(ours) => vec![ext_authz(true), filter(ours, "verify_only")],
    }
}

fn filter(ours: &Ours, mode: &str) -> Value {
    let mut configuration = ours.configuration.clone();
    configuration["mode"] = json!(mode);
    wasm(&ours.module, "caracal", &configuration.to_string())
}

fn wasm(module: &std::path::Path, name: &str, configuration: &str) -> Value {
    named(
        "envoy.filters.http.wasm",
        "wasm.v3.Wasm",
        json!({ "config": {
            "name": name,
            "root_id": name,
            "failure_policy": "FAIL_RELOAD",
            "vm_config": {
                "vm_id": name,
                "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": { "filename": module } }
            },
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": configuration
            }
        }}),
    )
}

fn jwt_authn(issuer: &str, jwks: &str) -> Value {
    named(
        "envoy.filters.http.jwt_authn",
        "jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": { "zone": { "issuer": issuer, "local_jwks": { "inline_string": jwks } } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "zone" } }]
        }),
    )
}

fn ext_authz(raw_headers: bool) -> Value {
    named(
        "envoy.filters.http.ext_authz",
        "ext_authz.v3.ExtAuthz",
        json!({
            "transport_api_version": "V3",
            "failure_mode_allow": false,
            "encode_raw_headers": raw_headers,
            "status_on_error": { "code": "ServiceUnavailable" },
            "grpc_service": { "envoy_grpc": { "cluster_name": "ext_authz" }, "timeout": "0.5s" }
        }),
    )
}

fn named(name: &str, kind: &str, mut configuration: Value) -> Value {
    configuration["@type"] = json!(format!(
        "type.googleapis.com/envoy.extensions.filters.http.{kind}"
    ));
    json!({ "name": name, "typed_config": configuration })
}

fn cluster(port: u16) -> Value {
    json!({
        "name": "ext_authz",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": { "thresholds": [{ "max_pending_requests": 4096, "max_requests": 8192 }] },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} }
        }},
        "load_assignment": { "cluster_name": "ext_authz", "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": address(port) }
        }]}]}
    })
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}
