//! The pure core: what was asked, memory and a moment go in, a decision and what it stands on come
//! out. Nothing here waits, reads a clock or writes anything but the cache of verified mandates.

mod cache;
mod decider;
mod inquiry;
mod memory;

pub use cache::{Bounds, Verified};
pub use decider::{Decided, Decider, Trace};
pub use inquiry::Inquiry;
pub use memory::{Moment, Ready, View, ZoneMemory};
