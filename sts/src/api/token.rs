//! `POST /z/{zone}/token`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::Response;
use chassis::http::{Principal, request_id};
use http::{HeaderMap, Method, header};
use mandate::id::{DecisionId, ZoneId};
use secrecy::SecretString;

use crate::api::{Desk, reply, source};
use crate::error::{Error, Refusal};
use crate::mint::{Account, Issued};
use crate::token::credential::{Presented, present};
use crate::token::form::{Form, FormError, is_form};
use crate::token::request::{Grant, TokenRequest};

/// Answers a token request, whatever comes.
pub(super) async fn token(
    State(desk): State<Arc<Desk>>,
    Path(zone): Path<String>,
    request: Request,
) -> Response {
    let mut account = open(&desk, &request);
    let decision = account.decision;
    if request.method() != Method::POST {
        return reply::method_not_allowed(decision);
    }
    let principal = request.extensions().get::<Principal>().cloned();
    let answered = answer(&desk, &zone, request, &mut account).await;
    if let Some(principal) = principal {
        tell(&principal, &account);
    }
    match answered {
        Ok((issued, token_type)) => {
            desk.evidence.count_issued(issued.usage);
            reply::issued(&issued, token_type, decision)
        }
        Err(error) => {
            desk.evidence.refused(&account, &error).await;
            reply::refused(error, account.issuer.as_deref(), decision)
        }
    }
}

async fn answer(
    desk: &Desk,
    zone: &str,
    request: Request,
    account: &mut Account,
) -> Result<(Issued, Option<&'static str>), Error> {
    let zone = ZoneId::parse(zone).map_err(|_| Refusal::ZoneUnknown)?;
    let keys = desk.mint.zone(zone).await?;
    account.zone = Some(zone);
    account.issuer = Some(keys.issuer.as_str().to_owned());
    let (request, presented) = read(request, desk.max_body).await?;
    let token_type = match &request.grant {
        Grant::ClientCredentials(_) => None,
        Grant::Exchange(exchange) => Some(exchange.token_type),
    };
    let issued = desk.mint.issue(zone, request, presented, account).await?;
    Ok((issued, token_type))
}

/// Shape: what needs nobody's authority to be refused.
async fn read(request: Request, max_body: usize) -> Result<(TokenRequest, Presented), Error> {
    if request.uri().query().is_some() {
        return Err(Refusal::Query.into());
    }
    let (head, body) = request.into_parts();
    let mut types = head.headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(one), None) if is_form(one.as_bytes()) => {}
        (_, _) => return Err(FormError::ContentType.into()),
    }
    let form = Form::parse(&bounded(&head.headers, body, max_body).await?)?;
    let request = TokenRequest::read(&form)?;
    let authorization: Vec<&[u8]> = head
        .headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    let secret = request.client_secret.as_ref().map(copy);
    let presented = present(&authorization, request.client_id.as_deref(), secret)?;
    Ok((request, presented))
}

/// The body, unless it is larger than a token request can be.
async fn bounded(headers: &HeaderMap, body: Body, max: usize) -> Result<bytes::Bytes, FormError> {
    let told = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if told
        .and_then(|text| text.parse::<usize>().ok())
        .is_some_and(|told| told > max)
    {
        return Err(FormError::TooLarge);
    }
    to_bytes(body, max).await.map_err(|_| FormError::TooLarge)
}

fn copy(secret: &SecretString) -> SecretString {
    use secrecy::ExposeSecret;
    SecretString::from(secret.expose_secret())
}

fn open(desk: &Desk, request: &Request) -> Account {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| {
            peer.ip()
        });
    let forwarded: Vec<&[u8]> = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    let source = source::source(peer, &forwarded, &desk.trusted_proxies);
    let now = desk.mint.now();
    let decision = DecisionId::from_uuid(desk.mint.uuid(now));
    let request = request_id().map(|id| id.to_string()).unwrap_or_default();
    let at_ns = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
    Account::open(decision, request, source, at_ns)
}

/// What the request's log line says.
fn tell(principal: &Principal, account: &Account) {
    principal.decided(&account.decision);
    if let Some(application) = account.application {
        principal.is(application.to_string());
    }
    if let Some(zone) = account.zone {
        principal.in_zone(&zone);
    }
}
