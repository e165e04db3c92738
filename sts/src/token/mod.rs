//! What is decided about a token request without asking anybody: its form, its parameters, its
//! credential, what may be granted, and what a mandate says. Pure.

pub(crate) mod claims;
pub(crate) mod credential;
pub(crate) mod form;
pub(crate) mod grant;
pub(crate) mod law;
pub(crate) mod request;
