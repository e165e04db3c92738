//! The only ways to answer. An answer is made of a decision whose evidence is kept, and of nothing
//! else: to Envoy an empty answer would be an allow, and the status alone decides.

use envoy_types::ext_authz::v3::pb::{
    CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue, HeaderValueOption,
    HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::{BoolValue, Struct, Value, value};
use envoy_types::pb::google::rpc;
use mandate::OWNED_HEADERS;
use policy::snapshot::Forward;
use policy::{Decision, Denial, Permit, Refusal, identity, refusal};
use tonic::Code;

use crate::decide::{Decided, Inquiry, Trace};
use crate::evidence::Recorded;

/// `code` of an allow.
pub const ALLOWED: &str = "allowed";

/// The answer to a decision that is on record.
pub fn of(recorded: &Recorded, inquiry: &Inquiry<'_>) -> CheckResponse {
    let decided = recorded.decided();
    match &decided.decision {
        Decision::Allow(permit) => allow(permit, decided, inquiry),
        Decision::Deny(denial) => refuse(*denial, decided, inquiry),
    }
}

fn allow(permit: &Permit, decided: &Decided, inquiry: &Inquiry<'_>) -> CheckResponse {
    let mut set = Vec::with_capacity(OWNED_HEADERS.len());
    let mut remove = Vec::with_capacity(OWNED_HEADERS.len());
    for (name, value) in identity::headers(permit) {
        match value {
            Some(value) => set.push(header(name, value)),
            None => remove.push(name.to_owned()),
        }
    }
    if permit.binding().forward == Forward::Strip && !inquiry.keep {
        remove.push("authorization".to_owned());
    }
    remove.push("x-caracal-resource".to_owned());
    let forged = inquiry.form.forged();
    let names = forged.names.iter();
    remove.extend(names.map(|name| String::from_utf8_lossy(name).into_owned()));
    match forged.baggage {
        Some(left) if left.is_empty() => remove.push("baggage".to_owned()),
        Some(left) => set.push(header("baggage", left)),
        None => {}
    }
    CheckResponse {
        status: Some(status(Code::Ok, ALLOWED)),
        dynamic_metadata: Some(metadata(decided, ALLOWED)),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: set,
            headers_to_remove: remove,
            ..OkHttpResponse::default()
        })),
    }
}

fn refuse(denial: Denial, decided: &Decided, inquiry: &Inquiry<'_>) -> CheckResponse {
    let operation = decided.trace.operation.as_ref();
    let context = refusal::Context {
        resource_metadata: None,
        scopes: operation.map(|operation| &operation.scopes),
    };
    let refusal = Refusal::new(&denial, decided.id, &context);
    // Not a refusal but no decision: said so that no failure mode turns it into a pass.
    let code = if denial.is_unavailable() {
        Code::Unavailable
    } else {
        refusing(refusal.grpc())
    };
    CheckResponse {
        status: Some(status(code, refusal.code())),
        dynamic_metadata: Some(metadata(decided, refusal.code())),
        http_response: Some(HttpResponse::DeniedResponse(denied(
            &refusal,
            inquiry.form.grpc,
        ))),
    }
}

/// Envoy turns this into a local reply: of plain HTTP as it stands; of gRPC by taking the body as the
/// message, so that it must be one, and the content type must be its own.
fn denied(refusal: &Refusal, grpc: bool) -> DeniedHttpResponse {
    let mut headers: Vec<HeaderValueOption> = refusal
        .headers()
        .iter()
        .filter(|(name, _)| !grpc || *name != "content-type")
        .map(|(name, value)| header(name, value.clone()))
        .collect();
    let body = if grpc {
        headers.push(header("grpc-status", refusal.grpc().to_string()));
        refusal.message().to_owned()
    } else {
        String::from_utf8_lossy(refusal.body()).into_owned()
    };
    DeniedHttpResponse {
        status: Some(HttpStatus {
            code: i32::from(refusal.status()),
        }),
        headers,
        body,
    }
}

/// A status of the refusing kind; a number that is none refuses, too.
fn refusing(number: u8) -> Code {
    Some(Code::from_i32(i32::from(number)))
        .filter(|code| *code != Code::Ok)
        .unwrap_or(Code::PermissionDenied)
}

fn status(code: Code, message: &str) -> rpc::Status {
    rpc::Status {
        code: code.into(),
        message: message.to_owned(),
        details: Vec::new(),
    }
}

/// Set, never appended to: said in both ways, since proxies of different age read different ones.
fn header(name: &str, value: String) -> HeaderValueOption {
    #[expect(deprecated, reason = "older proxies read `append` alone")]
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value,
            raw_value: Vec::new(),
        }),
        append: Some(BoolValue { value: false }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: false,
    }
}

/// What the proxy's logs and its other filters can know the decision by.
fn metadata(decided: &Decided, code: &str) -> Struct {
    let Trace {
        position,
        mandate,
        zone,
        ..
    } = &decided.trace;
    let mut fields = vec![
        (
            "decision_id",
            value::Kind::StringValue(decided.id.to_string()),
        ),
        ("code", value::Kind::StringValue(code.to_owned())),
    ];
    if let Some(position) = position {
        fields.push(("pos", value::Kind::StringValue(position.pos.to_string())));
    }
    if let Some(zone) = zone {
        fields.push(("zone", value::Kind::StringValue(zone.to_string())));
    }
    if let Some(mandate) = mandate {
        fields.push((
            "mandate_digest",
            value::Kind::StringValue(mandate.digest_text()),
        ));
    }
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }))
            .collect(),
    }
}
