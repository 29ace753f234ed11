//! A real server on an ephemeral port of the loopback interface, a scripted engine behind it, and
//! a client that speaks raw HTTP. Nothing depends on time: where the order of events matters, the
//! engine waits for the test's permission before each token.

mod client;
mod completions;
mod engine;
mod lifetime;
mod limits;
mod refusals;
mod streams;
