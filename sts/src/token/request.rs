//! A token request as asked: every parameter known, once, and of the right shape.

use mandate::id::{ResourceUri, ScopeSet, SessionId};
use mandate::{Claims, Use};
use secrecy::SecretString;

use crate::token::form::Form;

/// `grant_type` of an application asking for its session mandate.
pub(crate) const CLIENT_CREDENTIALS: &str = "client_credentials";
/// `grant_type` of RFC 8693.
pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 §3: an access token.
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// RFC 8693 §3: a JWT.
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The most resources one request may name.
pub(crate) const MAX_RESOURCES: usize = Claims::MAX_TARGETS;

/// What is wrong with a request's parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParameterError {
    /// Given more than once though it may be given once.
    #[error("parameter `{0}` is repeated")]
    Repeated(&'static str),
    /// Not a parameter of this grant.
    #[error("parameter `{0}` is unknown for this grant type")]
    Unknown(String),
    /// Required and not given.
    #[error("parameter `{0}` is missing")]
    Missing(&'static str),
    /// Not a value this parameter can have.
    #[error("parameter `{name}` is invalid: {why}")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        why: &'static str,
    },
    /// A grant type that is not offered.
    #[error("this grant type is not offered")]
    GrantType,
    /// Not an absolute URI without a fragment (RFC 8707 §2).
    #[error("`{0}` is not an absolute URI without a fragment")]
    Target(&'static str),
    /// Not a scope list (RFC 6749 §3.3).
    #[error("`scope` is not a list of at most 64 scopes separated by single spaces")]
    Scope,
}

/// What is asked for, whichever the grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Resource identifiers in ascending order, each once; empty when none was named.
    pub resources: Vec<ResourceUri>,
    /// The scopes; `None` when left out, which asks for all that may be had.
    pub scopes: Option<ScopeSet>,
    /// Seconds to live.
    pub ttl: Option<i64>,
    /// Whether less than `scopes` is welcome.
    pub allow_partial: bool,
}

/// A token exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The authority to narrow.
    pub subject_token: SecretString,
    /// The coordinator session the mandate is for.
    pub session: SessionId,
    /// `Resource` or `Gateway`.
    pub usage: Use,
    /// The issuer the caller named as audience, if it did.
    pub audience: Option<String>,
    /// The token type to answer with.
    pub token_type: &'static str,
    /// What is asked for.
    pub wanted: Wanted,
}

/// What the grant type asks for.
#[derive(Debug)]
pub(crate) enum Grant {
    /// A session mandate.
    ClientCredentials(Wanted),
    /// A mandate narrowed from another.
    Exchange(Exchange),
}

/// One read request.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    /// `client_id` of the body.
    pub client_id: Option<String>,
    /// `client_secret` of the body.
    pub client_secret: Option<SecretString>,
    /// The grant.
    pub grant: Grant,
}

/// Every parameter there is, sorted but not yet understood.
#[derive(Default)]
struct Slots<'a> {
    grant_type: Option<&'a str>,
    client_id: Option<&'a str>,
    client_secret: Option<&'a str>,
    subject_token: Option<&'a str>,
    subject_token_type: Option<&'a str>,
    requested_token_type: Option<&'a str>,
    session: Option<&'a str>,
    mandate_use: Option<&'a str>,
    scope: Option<&'a str>,
    ttl: Option<&'a str>,
    allow_partial: Option<&'a str>,
    resource: Vec<&'a str>,
    audience: Vec<&'a str>,
}

impl TokenRequest {
    /// Sorts a form into a request.
    pub(crate) fn read(form: &Form) -> Result<Self, ParameterError> {
        let slots = Slots::sort(form)?;
        let grant = match slots.grant_type {
            None => return Err(ParameterError::Missing("grant_type")),
            Some(CLIENT_CREDENTIALS) => {
                slots.only_for_exchange()?;
                Grant::ClientCredentials(slots.wanted(Use::Session)?)
            }
            Some(TOKEN_EXCHANGE) => Grant::Exchange(slots.exchange()?),
            Some(_) => return Err(ParameterError::GrantType),
        };
        Ok(Self {
            client_id: slots.client_id.map(str::to_owned),
            client_secret: slots.client_secret.map(SecretString::from),
            grant,
        })
    }
}

impl<'a> Slots<'a> {
    fn sort(form: &'a Form) -> Result<Self, ParameterError> {
        let mut slots = Self::default();
        for (name, value) in form.pairs() {
            let (name, slot) = match name {
                "grant_type" => ("grant_type", &mut slots.grant_type),
                "client_id" => ("client_id", &mut slots.client_id),
                "client_secret" => ("client_secret", &mut slots.client_secret),
                "subject_token" => ("subject_token", &mut slots.subject_token),
                "subject_token_type" => ("subject_token_type", &mut slots.subject_token_type),
                "requested_token_type" => ("requested_token_type", &mut slots.requested_token_type),
                "session" => ("session", &mut slots.session),
                "mandate_use" => ("mandate_use", &mut slots.mandate_use),
                "scope" => ("scope", &mut slots.scope),
                "ttl" => ("ttl", &mut slots.ttl),
                "allow_partial" => ("allow_partial", &mut slots.allow_partial),
                "resource" => {
                    slots.resource.push(value);
                    continue;
                }
                "audience" => {
                    slots.audience.push(value);
                    continue;
                }
                unknown => return Err(ParameterError::Unknown(unknown.to_owned())),
            };
            if slot.replace(value).is_some() {
                return Err(ParameterError::Repeated(name));
            }
        }
        Ok(slots)
    }

    /// Refuses what only an exchange has, as unknown to every other grant.
    fn only_for_exchange(&self) -> Result<(), ParameterError> {
        for (name, given) in [
            ("subject_token", self.subject_token.is_some()),
            ("subject_token_type", self.subject_token_type.is_some()),
            ("requested_token_type", self.requested_token_type.is_some()),
            ("session", self.session.is_some()),
            ("mandate_use", self.mandate_use.is_some()),
            ("audience", !self.audience.is_empty()),
        ] {
            if given {
                return Err(ParameterError::Unknown(name.to_owned()));
            }
        }
        Ok(())
    }

    fn exchange(&self) -> Result<Exchange, ParameterError> {
        let subject_token = self
            .subject_token
            .ok_or(ParameterError::Missing("subject_token"))?;
        let subject_type = self
            .subject_token_type
            .ok_or(ParameterError::Missing("subject_token_type"))?;
        token_type("subject_token_type", subject_type)?;
        let session = self.session.ok_or(ParameterError::Missing("session"))?;
        let session = SessionId::parse(session).map_err(|_| ParameterError::Invalid {
            name: "session",
            why: "a session id, in lower case with hyphens",
        })?;
        let usage = match self.mandate_use {
            None | Some("resource") => Use::Resource,
            Some("gateway") => Use::Gateway,
            Some(_) => {
                return Err(ParameterError::Invalid {
                    name: "mandate_use",
                    why: "`resource` or `gateway`",
                });
            }
        };
        let mut wanted = self.wanted(usage)?;
        let audience = match usage {
            Use::Gateway => self.issuer_audience()?,
            Use::Resource | Use::Session => {
                // RFC 8693 §2.1: `audience` and `resource` both name targets.
                add_targets("audience", &self.audience, &mut wanted.resources)?;
                None
            }
        };
        Ok(Exchange {
            subject_token: SecretString::from(subject_token),
            session,
            usage,
            audience,
            token_type: self
                .requested_token_type
                .map_or(Ok(ACCESS_TOKEN), |asked| {
                    token_type("requested_token_type", asked)
                })?,
            wanted,
        })
    }

    fn issuer_audience(&self) -> Result<Option<String>, ParameterError> {
        match self.audience.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).to_owned())),
            _ => Err(ParameterError::Repeated("audience")),
        }
    }

    fn wanted(&self, usage: Use) -> Result<Wanted, ParameterError> {
        let mut resources = Vec::new();
        add_targets("resource", &self.resource, &mut resources)?;
        Ok(Wanted {
            resources,
            scopes: self
                .scope
                .map(|scope| ScopeSet::parse(scope).map_err(|_| ParameterError::Scope))
                .transpose()?,
            ttl: self.ttl.map(|ttl| seconds(ttl, usage)).transpose()?,
            allow_partial: match self.allow_partial {
                None | Some("false") => false,
                Some("true") => true,
                Some(_) => {
                    return Err(ParameterError::Invalid {
                        name: "allow_partial",
                        why: "`true` or `false`",
                    });
                }
            },
        })
    }
}

fn add_targets(
    name: &'static str,
    given: &[&str],
    resources: &mut Vec<ResourceUri>,
) -> Result<(), ParameterError> {
    for value in given {
        let resource = ResourceUri::parse(value).map_err(|_| ParameterError::Target(name))?;
        if let Err(place) = resources.binary_search(&resource) {
            if resources.len() == MAX_RESOURCES {
                return Err(ParameterError::Invalid {
                    name,
                    why: "at most 16 targets",
                });
            }
            resources.insert(place, resource);
        }
    }
    Ok(())
}

fn token_type(name: &'static str, given: &str) -> Result<&'static str, ParameterError> {
    match given {
        ACCESS_TOKEN => Ok(ACCESS_TOKEN),
        JWT => Ok(JWT),
        _ => Err(ParameterError::Invalid {
            name,
            why: "urn:ietf:params:oauth:token-type:access_token or …:jwt",
        }),
    }
}

fn seconds(text: &str, usage: Use) -> Result<i64, ParameterError> {
    let plain = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = plain
        .then(|| text.parse::<i64>().ok())
        .flatten()
        .unwrap_or_default();
    if value == 0 || value > usage.max_lifetime() {
        return Err(ParameterError::Invalid {
            name: "ttl",
            why: "whole seconds: 1 to 3600 for a session mandate, 900 for resource, 300 for gateway",
        });
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
