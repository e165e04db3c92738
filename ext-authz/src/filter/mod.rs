//! The filters' side: `caracal.filter.v1.Filter/Session`, one stream for each worker of a proxy.
//!
//! Down goes what a filter verifies by: a snapshot of its attachment's zones, then each change at the moment our own
//! memory has it, and how old that memory is. Up comes how far the filter is, and what it refused by itself; that is in
//! the journal before it is acknowledged. Policy never goes down: a filter refuses, and what it would let pass it asks.
//!
//! Nobody waits for a filter: who does not read is cut off and starts anew.

mod audience;
mod filing;
mod hello;
mod hub;
mod outgoing;
mod report;
mod rows;
mod serve;
mod session;
mod told;
mod vm;

pub use audience::Stand;
pub use filing::watch;
pub use hello::{Hello, VmId};
pub use hub::{Ends, Hub, Jobs, write_snapshots};
pub use report::{Ground, Report};
pub use serve::FilterServer;
pub use session::Sessions;
