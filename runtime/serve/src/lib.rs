//! OpenAI-compatible HTTP server over one inference engine.
//!
//! One engine, one request at a time: the engine runs on a thread of its own and takes jobs from a
//! bounded [`queue`]; a thread of HTTP beside it reads requests, answers those that cannot be
//! served, and passes on text as it is made. What makes text is behind the trait [`Generate`], so
//! that everything here is tested with a scripted one.
//!
//! - A request that does not fit the queue is refused at once (429).
//! - A client that goes away frees its place in the queue, or stops the engine before its next
//!   token; the engine keeps its memory and its KV cache for the next request.
//! - On shutdown the running request may finish within a limit, the waiting ones are refused, and
//!   [`Server::run`] returns when threads and connections are gone.
//!
//! Nothing is printed. Fields of requests that the server does not honour are refused by name.

mod adapter;
mod answer;
mod error;
mod fields;
mod generate;
mod metrics;
mod queue;
mod request;
mod routes;
mod server;
mod stop;
mod stream;
mod worker;

pub use error::ServeError;
pub use generate::{Ask, Counters, Finish, Generate, GenerateError, Outcome};
pub use server::{Config, Handle, Server};
pub use stop::StopMatcher;
