//! The filter as it is built, but for one callback that traps: now and then, or always.

use wasmparser::{ExternalKind, FunctionBody, Parser, Payload, TypeRef};

/// Where a module traps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trap {
    /// The callback.
    pub(super) callback: &'static str,
    /// What the callback does first, as instructions.
    first: &'static [u8],
    /// Whether requests pass in between.
    pub(super) passes: bool,
}

/// `if (argument % 500 == 0) unreachable`, and for calls, whose numbers have their kind in the lowest two bits,
/// `(argument >> 2) % 50`; the argument's index is the second byte.
const EVERY_500TH_CONTEXT: &[u8] = &[
    0x20, 0, 0x41, 0xf4, 0x03, 0x70, 0x45, 0x04, 0x40, 0x00, 0x0b,
];
const EVERY_50TH_CALL: &[u8] = &[
    0x20, 1, 0x41, 2, 0x76, 0x41, 50, 0x70, 0x45, 0x04, 0x40, 0x00, 0x0b,
];
const ALWAYS: &[u8] = &[0x00];

/// Callbacks of a request and its answer get the number of their context first, those of a call its token second.
pub(super) const TRAPS: [Trap; 8] = [
    trap("proxy_on_context_create", EVERY_500TH_CONTEXT),
    trap("proxy_on_request_headers", EVERY_500TH_CONTEXT),
    trap("proxy_on_grpc_receive", EVERY_50TH_CALL),
    trap("proxy_on_response_headers", EVERY_500TH_CONTEXT),
    trap("proxy_on_log", EVERY_500TH_CONTEXT),
    trap("proxy_on_done", EVERY_500TH_CONTEXT),
    trap("proxy_on_delete", EVERY_500TH_CONTEXT),
    Trap {
        callback: "proxy_on_request_headers",
        first: ALWAYS,
        passes: false,
    },
];

const fn trap(callback: &'static str, first: &'static [u8]) -> Trap {
    Trap {
        callback,
        first,
        passes: true,
    }
}

impl Trap {
    /// The module with the trap in it.
    pub(super) fn set_in(&self, module: &[u8]) -> Vec<u8> {
        let (mut imported, mut wanted, mut end) = (0, None, 8);
        let (mut bodies, mut code) = (Vec::new(), None);
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.unwrap();
            match &payload {
                Payload::ImportSection(imports) => {
                    let functions = imports
                        .clone()
                        .into_imports()
                        .filter(|import| matches!(import.as_ref().unwrap().ty, TypeRef::Func(_)));
                    imported = functions.count();
                }
                Payload::ExportSection(exports) => {
                    let found = exports
                        .clone()
                        .into_iter()
                        .map(Result::unwrap)
                        .find(|it| it.kind == ExternalKind::Func && it.name == self.callback);
                    wanted = Some(found.unwrap().index as usize - imported);
                }
                Payload::CodeSectionStart { range, .. } => code = Some((end, range.end)),
                Payload::CodeSectionEntry(body) => {
                    let first: &[u8] = if wanted == Some(bodies.len()) {
                        self.first
                    } else {
                        &[]
                    };
                    bodies.push(starting_with(module, body, first));
                }
                _ => {}
            }
            if let Some((_, range)) = payload.as_section() {
                end = range.end;
            }
        }
        let (start, end) = code.unwrap();
        let mut section = length(bodies.len());
        section.extend(
            bodies
                .iter()
                .flat_map(|body| [length(body.len()), body.clone()].concat()),
        );
        let head = [&[10], length(section.len()).as_slice()].concat();
        [&module[..start], &head, &section, &module[end..]].concat()
    }
}

fn starting_with(module: &[u8], body: &FunctionBody<'_>, first: &[u8]) -> Vec<u8> {
    let instructions = body.get_operators_reader().unwrap().original_position();
    let (locals, rest) = (
        &module[body.range().start..instructions],
        &module[instructions..body.range().end],
    );
    [locals, first, rest].concat()
}

/// As LEB128.
fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
