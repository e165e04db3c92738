//! RFC 8414: what a zone's issuer offers, at the well-known path that comes before the issuer's own.

use mandate::id::Issuer;
use serde::Serialize;

use crate::token::request::{CLIENT_CREDENTIALS, TOKEN_EXCHANGE};

/// RFC 8414 §2.
#[derive(Debug, Serialize)]
pub(crate) struct Metadata {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    grant_types_supported: [&'static str; 2],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    /// Required by RFC 8414; there is no authorization endpoint, hence none.
    response_types_supported: [&'static str; 0],
}

impl Metadata {
    /// What this issuer offers.
    pub(crate) fn of(issuer: &Issuer) -> Self {
        let issuer = issuer.as_str();
        Self {
            issuer: issuer.to_owned(),
            token_endpoint: format!("{issuer}/token"),
            jwks_uri: format!("{issuer}/jwks.json"),
            grant_types_supported: [CLIENT_CREDENTIALS, TOKEN_EXCHANGE],
            token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
            response_types_supported: [],
        }
    }
}
