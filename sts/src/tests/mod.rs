//! The service over HTTP on real Postgres, each part logged in as its own role.

mod errors;
mod evidence;
mod happy;
mod isolation;
mod keys;
mod load;
mod races;
mod start;
mod world;
