//! Who a filter says it is, and whether it is served.

use mandate::id::{AttachmentName, ZoneId};
use tonic::{Code, Status};
use wire::pb::caracal::filter::v1 as pb;

use crate::config::Attachments;

/// The only protocol spoken.
const PROTOCOL: u32 = 1;

/// One worker of a proxy, by the number it drew when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmId(u128);

impl VmId {
    /// Parses 32 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let form = text.len() == 32 && text.bytes().all(digits);
        form.then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl std::fmt::Display for VmId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// A filter that may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which bindings it enforces.
    pub attachment: AttachmentName,
    /// Which worker it is.
    pub vm: VmId,
    /// The highest report that was acknowledged to it, by whomever.
    pub through_seq: u64,
}

impl Hello {
    /// Reads the first message of a stream.
    pub fn read(up: Option<pb::Up>, attachments: &Attachments) -> Result<Self, Status> {
        let Some(pb::up::What::Hello(hello)) = up.and_then(|up| up.what) else {
            return Err(refusal(
                Code::InvalidArgument,
                "hello_expected",
                "the first message is no hello",
            ));
        };
        if hello.protocol != PROTOCOL {
            return Err(refusal(
                Code::FailedPrecondition,
                "protocol_unsupported",
                "protocol 1 is spoken here",
            ));
        }
        let name = AttachmentName::parse(&hello.attachment).ok();
        let known = name.and_then(|name| attachments.get_key_value(&name));
        let (attachment, zones) = known.ok_or_else(|| {
            refusal(
                Code::NotFound,
                "attachment_unknown",
                "no such attachment is configured here",
            )
        })?;
        let vm = VmId::parse(&hello.vm).ok_or_else(|| {
            refusal(
                Code::InvalidArgument,
                "vm_malformed",
                "a VM is 32 hexadecimal digits in lower case",
            )
        })?;
        wants(&hello.zone_ids, zones)?;
        Ok(Self {
            attachment: attachment.clone(),
            vm,
            through_seq: hello.through_seq,
        })
    }
}

/// A filter that was configured with other zones than we would enforce nothing in them.
fn wants(wanted: &[String], zones: &[ZoneId]) -> Result<(), Status> {
    let parsed: Result<Vec<ZoneId>, _> = wanted.iter().map(|zone| ZoneId::parse(zone)).collect();
    let wanted = parsed
        .ok()
        .filter(|wanted| !wanted.is_empty())
        .ok_or_else(|| {
            refusal(
                Code::InvalidArgument,
                "zone_malformed",
                "a hello names its zones",
            )
        })?;
    if wanted.iter().all(|zone| zones.contains(zone)) {
        Ok(())
    } else {
        Err(refusal(
            Code::PermissionDenied,
            "zone_not_attached",
            "a zone is not one of the attachment's",
        ))
    }
}

/// A status whose message begins with a stable code.
pub(super) fn refusal(code: Code, word: &str, meaning: &str) -> Status {
    Status::new(code, format!("{word}: {meaning}"))
}
