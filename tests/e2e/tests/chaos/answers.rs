//! What an authorizer may say that is not ours, byte by byte.

use e2e::Says;

/// What it says, what Envoy's own filter makes of it, and whether that lets the request pass.
pub(crate) fn all() -> Vec<(&'static str, Says, u16)> {
    let allow = [status(0), field(3, &[])].concat();
    let told = |code: &str| {
        let id = ("decision_id", "018f0000-0000-7000-8000-0000000000dd");
        [allow.clone(), metadata(&[id, ("code", code)])].concat()
    };
    let other = [
        allow.clone(),
        metadata(&[
            ("decision_id", "018f0000-0000-7000-8000-0000000000dd"),
            ("code", "allowed"),
            ("mandate_digest", &"00".repeat(32)),
        ]),
    ]
    .concat();
    let mut short = framed(0, &allow);
    short.pop();
    vec![
        // Envoy's own filter goes by the status alone, and takes none for OK. That is why ext-authz has no way to
        // answer that is not made of a decision, and why ours takes nothing for an allow that does not say so.
        ("nothing at all", Says::Message(Vec::new()), 200),
        ("OK without an answer", Says::Message(status(0)), 200),
        (
            "an allow without a decision",
            Says::Message(allow.clone()),
            200,
        ),
        (
            "an allow of a decision that is none",
            Says::Message(
                [
                    allow.clone(),
                    metadata(&[("decision_id", "1"), ("code", "allowed")]),
                ]
                .concat(),
            ),
            200,
        ),
        ("an allow without a code", Says::Message(told("")), 200),
        (
            "an allow that says it was denied",
            Says::Message(told("revoked")),
            200,
        ),
        ("an allow of another mandate", Says::Message(other), 200),
        (
            "OK with a denial",
            Says::Message([status(0), denied(403)].concat()),
            200,
        ),
        (
            "a denial with an allow",
            Says::Message([status(7), field(3, &[])].concat()),
            403,
        ),
        ("a denial without an answer", Says::Message(status(7)), 403),
        (
            "a denial without a status",
            Says::Message([status(7), field(2, &[])].concat()),
            403,
        ),
        (
            "no decision",
            Says::Message([status(14), denied(503)].concat()),
            503,
        ),
        (
            "a status that is negative",
            Says::Message(field(
                1,
                &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            )),
            403,
        ),
        ("garbage", Says::Message(vec![0xff; 32]), 503),
        ("a message cut short", Says::Body(short), 503),
        (
            "a message said to be compressed",
            Says::Body(framed(1, &allow)),
            503,
        ),
        ("no message", Says::Body(Vec::new()), 503),
        ("the status OK alone", Says::Status(0), 503),
        ("the status UNKNOWN", Says::Status(2), 503),
        ("the status UNAVAILABLE", Says::Status(14), 503),
        ("a status that is none", Says::Status(999), 503),
        ("an error of HTTP", Says::Http(500), 503),
        ("a page of HTTP", Says::Http(200), 503),
        ("an allow, and a reset", Says::ResetAfter(allow), 503),
        ("a reset", Says::Reset, 503),
        ("the end of the connection", Says::Gone, 503),
        ("silence", Says::Silence, 503),
    ]
}

fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[compressed], length.as_slice(), message].concat()
}

/// A field that holds bytes (protobuf's wire type 2).
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    let mut field = vec![number << 3 | 2];
    if length > 127 {
        field.extend([length, 1]);
    } else {
        field.push(length);
    }
    field.extend_from_slice(bytes);
    field
}

fn status(code: u8) -> Vec<u8> {
    field(1, &[8, code])
}

fn denied(status: u16) -> Vec<u8> {
    let [high, low] = [status >> 7, status & 127].map(|byte| u8::try_from(byte).unwrap());
    field(2, &field(1, &[8, low | 128, high]))
}

fn metadata(texts: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<u8> = texts
        .iter()
        .flat_map(|(name, text)| {
            let value = field(2, &field(3, text.as_bytes()));
            field(1, &[field(1, name.as_bytes()), value].concat())
        })
        .collect();
    field(4, &entries)
}
