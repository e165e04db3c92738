//! From the proxy's callbacks to events. A callback about a context that is not known, or that comes while another one
//! is being answered, lets nothing pass.

use std::cell::RefCell;

use crate::host::Vm;
use crate::hostcall::{self, Buffer, Level, Map};

thread_local! {
    /// A VM has one thread.
    static VM: RefCell<Vm> = RefCell::default();
}

/// What the proxy is to do with what it called about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Continue,
    Pause,
}

impl Action {
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Continue => 0,
            Self::Pause => 1,
        }
    }
}

/// Does something with the VM's memory; `otherwise` where it is in use, which no proxy brings about.
fn with<T>(otherwise: T, act: impl FnOnce(&mut Vm) -> T) -> T {
    let mut act = Some(act);
    let done = VM.try_with(|vm| {
        let mut vm = vm.try_borrow_mut().ok()?;
        act.take().map(|act| act(&mut vm))
    });
    if let Ok(Some(done)) = done {
        return done;
    }
    hostcall::log(Level::Error, "a callback came inside of another one");
    otherwise
}

pub(crate) fn created(context: u32, parent: u32) {
    with((), |vm| vm.create(context, parent));
}

pub(crate) fn configured(context: u32, size: usize) -> bool {
    let text = match hostcall::buffer(Buffer::PluginConfiguration, size) {
        Ok(text) => text,
        Err(status) => {
            hostcall::log(
                Level::Error,
                &format!("the configuration cannot be read: {status:?}"),
            );
            return false;
        }
    };
    with(false, |vm| vm.configure(context, &text))
}

pub(crate) fn ticked(context: u32) {
    with((), |vm| vm.tick(context));
}

pub(crate) fn request_headers(context: u32) -> Action {
    with(Action::Pause, |vm| vm.request_headers(context))
}

pub(crate) fn strip(context: u32, map: Map) -> Action {
    with(Action::Pause, |vm| vm.strip(context, map))
}

pub(crate) fn received(_root: u32, token: u32, size: usize) {
    let message = hostcall::buffer(Buffer::GrpcReceived, size);
    with((), |vm| vm.received(token, message.ok().as_deref()));
}

pub(crate) fn closed(_root: u32, token: u32) {
    with((), |vm| vm.closed(token));
}

pub(crate) fn ended(context: u32) {
    with((), |vm| vm.ended(context));
}

pub(crate) fn deleted(context: u32) {
    with((), |vm| vm.delete(context));
}

/// Names and values, in the bytes of a map.
pub(crate) type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// A map as the proxy takes it: the number of pairs, their lengths, then names and values, each ended by a zero.
pub(crate) fn map<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let count = u32::try_from(pairs.clone().count()).unwrap_or(u32::MAX);
    let mut map = count.to_le_bytes().to_vec();
    for (name, value) in pairs.clone() {
        map.extend(length(name));
        map.extend(length(value));
    }
    for part in pairs.flat_map(|(name, value)| [name, value]) {
        map.extend_from_slice(part);
        map.push(0);
    }
    map
}

/// The pairs of a map that the proxy gave; none where it is not of the form.
pub(crate) fn pairs(map: &[u8]) -> Option<Pairs<'_>> {
    if map.is_empty() {
        return Some(Vec::new());
    }
    let (count, rest) = map.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (lengths, mut rest) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut pairs = Vec::with_capacity(count);
    for pair in lengths.chunks_exact(8) {
        let (name, value) = pair.split_first_chunk::<4>()?;
        let name = part(&mut rest, u32::from_le_bytes(*name))?;
        let value = part(&mut rest, u32::from_le_bytes(*value.first_chunk::<4>()?))?;
        pairs.push((name, value));
    }
    Some(pairs)
}

fn part<'a>(rest: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (part, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after.strip_prefix(&[0])?;
    Some(part)
}
