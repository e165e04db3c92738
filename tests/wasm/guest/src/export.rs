//! What the host calls: `push` the text, `run`, `pull` the answer.
#![expect(
    unsafe_code,
    reason = "exporting a name is an unsafe attribute; no pointer is touched"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The text on its way in, or the answer on its way out.
static BYTES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn bytes() -> MutexGuard<'static, Vec<u8>> {
    BYTES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends eight bytes, the first in the lowest place.
#[unsafe(no_mangle)]
extern "C" fn push(word: u64) {
    bytes().extend(word.to_le_bytes());
}

/// Takes the first `length` bytes as the file, puts the answer in their place and tells its length; of an error, the
/// length below zero.
#[unsafe(no_mangle)]
extern "C" fn run(length: u32) -> i64 {
    let mut bytes = bytes();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let text = bytes.get(..length).map(<[u8]>::to_vec).unwrap_or_default();
    let answer = String::from_utf8(text)
        .map_err(|error| error.to_string())
        .and_then(|text| super::verdicts(&text));
    let (answer, sign) = match answer {
        Ok(answer) => (answer, 1),
        Err(error) => (error, -1),
    };
    *bytes = answer.into_bytes();
    i64::try_from(bytes.len())
        .unwrap_or(i64::MAX)
        .saturating_mul(sign)
}

/// Eight bytes of the answer; zeros after its end.
#[unsafe(no_mangle)]
extern "C" fn pull(word: u32) -> u64 {
    let bytes = bytes();
    let start = usize::try_from(word)
        .unwrap_or(usize::MAX)
        .saturating_mul(8);
    let mut taken = [0; 8];
    for (place, byte) in taken.iter_mut().zip(bytes.iter().skip(start)) {
        *place = *byte;
    }
    u64::from_le_bytes(taken)
}
