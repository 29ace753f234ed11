//! Failures of the server, and failures of requests in OpenAI's JSON.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::net::SocketAddr;

/// Why a server cannot start or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}\nhint: choose another --port or --host; 0 takes any free port"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system refuses a thread or an event queue.
    #[error(
        "cannot start the server: {0}\nhint: see the limits of the system on threads and open files"
    )]
    Start(std::io::Error),
    /// The engine panicked; its state is unknown, so the server ended.
    #[error(
        "the engine stopped unexpectedly: {0}\nhint: this is a defect of Lampyris; please report it with the request that caused it"
    )]
    Engine(String),
}

/// A request that gets no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// OpenAI's `type`.
    kind: &'static str,
    code: Option<&'static str>,
    /// The field at fault.
    param: Option<String>,
    message: String,
    /// Seconds after which another try makes sense.
    retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The request cannot be served as it is.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// Field `param` is wrong.
    pub(crate) fn field(param: &str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..Self::invalid(message)
        }
    }

    /// Another status for a request that is wrong.
    pub(crate) fn status(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code: Some(code),
            ..Self::new(status, "invalid_request_error", message)
        }
    }

    /// Gives the error a `code` that programs can test.
    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// The queue is full.
    pub(crate) fn queue_full(waiting: usize) -> Self {
        let message = format!(
            "the queue is full: {waiting} requests wait for the engine\nhint: try again later, or start the server with a larger --queue"
        );
        Self {
            code: Some("queue_full"),
            retry_after: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
        }
    }

    /// The server is about to end.
    pub(crate) fn shutting_down() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "the server is shutting down\nhint: send the request again when it is back",
        )
        .with_code("shutting_down")
    }

    /// The engine failed.
    pub(crate) fn engine(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
            .with_code("engine_failed")
    }

    /// The engine's thread is gone.
    pub(crate) fn engine_gone() -> Self {
        Self::engine(
            "the engine stopped unexpectedly\nhint: see what the server printed, and start it again",
        )
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> Value {
        serde_json::json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

/// A JSON answer.
pub(crate) fn json(value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, value.to_string()).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json(&self.body());
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
