//! What is to be done.

use policy::Permit;

use crate::check::Call;
use crate::reply::Reply;

/// What is to be done, in this order.
pub type Effects = Vec<Effect>;

/// One thing to be done.
#[derive(Debug)]
pub enum Effect {
    /// Ask ext-authz; what becomes of that is the next event.
    Dispatch(Box<Call>),
    /// Let the request go forward. It must not where any part of this cannot be done.
    Forward(Box<Forward>),
    /// Answer by ourselves.
    Refuse(Box<Reply>),
    /// Cut the exchange off, so that nobody takes it for complete.
    Reset,
    /// Keep a fact for the proxy's log.
    Note(&'static str, String),
    /// Count something.
    Count(Metric),
}

/// How a request goes forward.
#[derive(Debug)]
pub struct Forward {
    /// That it may.
    pub permit: Permit,
    /// Headers that are set, over whatever the client sent.
    pub set: Vec<(&'static str, String)>,
    /// Headers that are removed.
    pub remove: Vec<Vec<u8>>,
}

/// What is counted. Names are of closed lists.
///
/// Each exchange is counted once as admitted, refused, relayed or abandoned. What was admitted can then be withdrawn or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// It went forward: counted where that was done.
    Admitted,
    /// We refused it.
    Refused(&'static str),
    /// ext-authz refused it.
    Relayed(&'static str),
    /// Its mandate had been verified before.
    Hit,
    /// It had not.
    Miss,
    /// Whoever asked was gone before there was an answer.
    Abandoned,
    /// It was refused after it had gone forward.
    Withdrawn(&'static str),
    /// Its answer was ended before its time.
    Cut,
}
