//! One file per command.

pub(crate) mod audit;
pub(crate) mod demo;
pub(crate) mod down;
pub(crate) mod filter;
pub(crate) mod mandate;
pub(crate) mod revoke;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod supervise;
pub(crate) mod up;
