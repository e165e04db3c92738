//! The subject token of an exchange: the application's own session mandate, verified like any
//! mandate. Whether it was revoked is asked where it counts: under the locks of the mint.

use chassis::crypto::AwsLc;
use jiff::Timestamp;
use mandate::id::ApplicationId;
use mandate::{Mandate, Rejection, Trust, UnverifiedMandate, Use};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Refusal;
use crate::keys::ZoneKeys;

/// Verifies it.
pub(super) fn verify(
    token: &SecretString,
    application: ApplicationId,
    keys: &ZoneKeys,
    now: Timestamp,
) -> Result<Mandate, Refusal> {
    let trust = Trust {
        zone: keys.zone,
        issuer: keys.issuer.clone(),
        usage: Use::Session,
    };
    let mandate = UnverifiedMandate::parse(token.expose_secret().as_bytes())
        .and_then(|unverified| unverified.authenticate(&trust, &keys.set, &AwsLc, now))
        .map_err(Refusal::SubjectToken)?;
    if mandate.claims().client_id != application {
        return Err(Refusal::SubjectForeign);
    }
    if mandate.claims().cnf.is_some() {
        return Err(Refusal::SubjectToken(Rejection::ConfirmationUnsupported));
    }
    Ok(mandate)
}
