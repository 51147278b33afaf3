//! The client against masters that do as a test tells them.

mod failover;
mod fake;
mod streams;
mod words;
