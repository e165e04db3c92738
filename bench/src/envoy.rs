//! The same Envoy for every variant; only who answers the Check differs.

use serde_json::{Value, json};

/// Who answers.
pub(crate) enum Authorizer {
    /// No authorization filter at all.
    Nobody,
    /// A Check on this port.
    Port(u16),
}

/// Envoy's bootstrap: one listener, one worker, a direct answer instead of an upstream.
pub(crate) fn bootstrap(
    listen: u16,
    admin: u16,
    authorizer: &Authorizer,
    attachment: &str,
) -> Value {
    let mut filters = Vec::new();
    let mut clusters = Vec::new();
    if let Authorizer::Port(port) = authorizer {
        filters.push(ext_authz());
        clusters.push(cluster(*port));
    }
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" }
    }));
    let mut route = json!({
        "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": "ok" } }
    });
    if matches!(authorizer, Authorizer::Port(_)) {
        route["typed_per_filter_config"] = json!({ "envoy.filters.http.ext_authz": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            "check_settings": { "context_extensions": { "caracal.bindings": attachment } }
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

fn ext_authz() -> Value {
    json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "failure_mode_allow": false,
            "encode_raw_headers": true,
            "status_on_error": { "code": "ServiceUnavailable" },
            "grpc_service": { "envoy_grpc": { "cluster_name": "ext_authz" }, "timeout": "0.5s" }
        }
    })
}

fn cluster(port: u16) -> Value {
    json!({
        "name": "ext_authz",
        "type": "STATIC",
        "connect_timeout": "1s",
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
