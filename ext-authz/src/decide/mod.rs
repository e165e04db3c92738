//! The pure core: what was asked, memory and a moment go in, a decision and its evidence come out.

mod cache;
mod inquiry;

pub use cache::{Bounds, Verified};
pub use inquiry::Inquiry;
