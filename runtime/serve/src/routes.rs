//! Paths, and the way from a request to an answer.

use crate::answer::{Answer, Kind};
use crate::error::{ApiError, json as reply};
use crate::metrics::Ending;
use crate::queue::{Event, Job, Refused};
use crate::request::{Defaults, Prompt, Request, Settings};
use crate::server::Config;
use crate::stream;
use crate::worker::Shared;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lampyris_import::saved::TextTools;
use serde_json::json;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What every handler sees.
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: Config,
    /// Positions of the engine.
    pub(crate) context: usize,
    /// Makes ids and seeds that differ between servers.
    random: RandomState,
    count: AtomicU64,
}

impl App {
    pub(crate) fn new(shared: Arc<Shared>, config: Config, context: usize) -> Self {
        Self {
            shared,
            config,
            context,
            random: RandomState::new(),
            count: AtomicU64::new(0),
        }
    }

    /// A number that has not been given out before.
    fn unique(&self) -> u64 {
        self.random
            .hash_one(self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    let limit = app.config.body_limit;
    Router::new()
        .route("/v1/completions", post(completion))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/health", get(health))
        .route("/props", get(props))
        .route("/metrics", get(metrics))
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(limit))
        .with_state(app)
}

async fn completion(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response {
    text(app, Kind::Completion, request).await
}

async fn chat(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response {
    text(app, Kind::Chat, request).await
}

/// A request for text, from its bytes to its answer.
async fn text(app: Arc<App>, kind: Kind, request: axum::extract::Request) -> Response {
    match accept(&app, kind, request).await {
        Ok(accepted) => accepted.respond(&app).await,
        Err(error) => {
            let refused = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::SERVICE_UNAVAILABLE,
            ];
            let ending = if refused.contains(&error.status) {
                Ending::Refused
            } else {
                Ending::Invalid
            };
            app.shared.metrics.ended(ending);
            error.into_response()
        }
    }
}

/// A request that the engine will serve.
struct Accepted {
    events: UnboundedReceiver<Event>,
    answer: Answer,
    stream: bool,
    include_usage: bool,
}

async fn accept(
    app: &Arc<App>,
    kind: Kind,
    request: axum::extract::Request,
) -> Result<Accepted, ApiError> {
    let body = read(&app.config, request).await?;
    let number = app.unique();
    let task = Arc::clone(app);
    // Templates and tokenizers may take a while; other connections go on.
    let prepared = tokio::task::spawn_blocking(move || prepare(&task, kind, &body, number)).await;
    let (prompt, settings) = prepared.map_err(|e| ApiError::engine(e.to_string()))??;
    let (sender, events) = unbounded_channel();
    let room = app.context - prompt.len();
    let job = Job {
        max_tokens: settings.max_tokens.unwrap_or(room).min(room),
        prompt,
        sampler: settings.sampler,
        stops: settings.stops,
        events: sender,
    };
    app.shared
        .queue
        .push(job)
        .map_err(|refused| match refused {
            Refused::Full(waiting) => ApiError::queue_full(waiting),
            Refused::Closed => ApiError::shutting_down(),
        })?;
    let prefix = match kind {
        Kind::Completion => "cmpl",
        Kind::Chat => "chatcmpl",
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let answer = Answer {
        kind,
        id: format!("{prefix}-{number:016x}"),
        created: since.map_or(0, |d| d.as_secs()),
        model: app.config.model.clone(),
    };
    Ok(Accepted {
        events,
        answer,
        stream: settings.stream,
        include_usage: settings.include_usage,
    })
}

impl Accepted {
    async fn respond(mut self, app: &App) -> Response {
        if self.stream {
            let keep_alive = app.config.keep_alive;
            return stream::respond(self.events, self.answer, self.include_usage, keep_alive);
        }
        let mut text = String::new();
        loop {
            match self.events.recv().await {
                Some(Event::Text(piece)) => text.push_str(&piece),
                Some(Event::Done(done)) => {
                    return reply(&self.answer.whole(&text, &done));
                }
                Some(Event::Failed(error)) => return error.into_response(),
                None => return ApiError::engine_gone().into_response(),
            }
        }
    }
}

/// The body, within its limits of size and time.
async fn read(config: &Config, request: axum::extract::Request) -> Result<Bytes, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or("none");
    let essence = kind.split(';').next().unwrap_or_default().trim();
    // Also keeps web pages from using the server: a browser asks before it sends JSON elsewhere.
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!(
                "the content type is {kind}\nhint: send the header `Content-Type: application/json`"
            ),
        ));
    }
    let body = tokio::time::timeout(config.body_timeout, Bytes::from_request(request, &()));
    match body.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) => Err(unreadable(config, &rejection)),
        Err(_) => Err(ApiError::status(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!(
                "the body did not arrive within {} s\nhint: send the request again",
                config.body_timeout.as_secs_f32()
            ),
        )),
    }
}

fn unreadable(config: &Config, rejection: &BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!(
            "the body is larger than {} bytes\nhint: shorten the prompt",
            config.body_limit
        );
        return ApiError::status(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message);
    }
    ApiError::invalid(format!(
        "the body cannot be read: {}\nhint: send the request again",
        rejection.body_text()
    ))
}

/// Checks a request and makes its tokens.
fn prepare(
    app: &App,
    kind: Kind,
    body: &[u8],
    number: u64,
) -> Result<(Vec<u32>, Settings), ApiError> {
    let defaults = Defaults {
        model: &app.config.model,
        sampling: app.config.sampling,
        seed: number,
    };
    let request = match kind {
        Kind::Completion => Request::completion(body, &defaults),
        Kind::Chat => Request::chat(body, &defaults),
    }?;
    let tokens = tokens(&app.shared.tools, request.prompt)?;
    let field = match kind {
        Kind::Completion => "prompt",
        Kind::Chat => "messages",
    };
    if tokens.is_empty() {
        let message = format!("`{field}` has no tokens\nhint: send some text");
        return Err(ApiError::field(field, message));
    }
    if tokens.len() >= app.context {
        let message = format!(
            "the prompt has {} tokens, the context {}\nhint: shorten the prompt, or start the server with a larger --context",
            tokens.len(),
            app.context
        );
        return Err(ApiError::field(field, message).with_code("context_length_exceeded"));
    }
    Ok((tokens, request.settings))
}

fn tokens(tools: &TextTools, prompt: Prompt) -> Result<Vec<u32>, ApiError> {
    let encode = |text: &str, special| {
        tools
            .tokenizer
            .encode(text, special)
            .map_err(|e| ApiError::invalid(e.to_string()))
    };
    match prompt {
        Prompt::Text(text) => encode(&text, true),
        Prompt::Tokens(ids) => {
            let size = tools.tokenizer.vocab_size();
            match ids.iter().find(|&&id| id >= size) {
                None => Ok(ids),
                Some(id) => Err(ApiError::field(
                    "prompt",
                    format!(
                        "token {id} is outside the vocabulary of {size}\nhint: use this model's tokenizer"
                    ),
                )),
            }
        }
        Prompt::Messages(messages) => {
            let Some(template) = &tools.template else {
                let message = "the model has no chat template\nhint: use /v1/completions, or a model made for chats";
                return Err(ApiError::field("messages", message).with_code("no_chat_template"));
            };
            let text = template.render(&messages, true).map_err(|e| {
                ApiError::field("messages", e.to_string()).with_code("chat_template")
            })?;
            encode(&text, false)
        }
    }
}

async fn models(State(app): State<Arc<App>>) -> Response {
    reply(&json!({"object": "list", "data": [entry(&app)]}))
}

async fn model(
    State(app): State<Arc<App>>,
    axum::extract::Path(id): axum::extract::Path<String>,
) -> Response {
    if id == app.config.model {
        return reply(&entry(&app));
    }
    let message = format!(
        "the model `{id}` is not here\nhint: this server has `{}`",
        app.config.model
    );
    ApiError::status(StatusCode::NOT_FOUND, "model_not_found", message).into_response()
}

fn entry(app: &App) -> serde_json::Value {
    json!({
        "id": app.config.model,
        "object": "model",
        "created": 0,
        "owned_by": "lampyris",
        "context_length": app.context,
        "chat": app.shared.tools.template.is_some(),
    })
}

async fn health(State(app): State<Arc<App>>) -> Response {
    if app.shared.queue.is_closed() {
        return ApiError::shutting_down().into_response();
    }
    reply(&json!({"status": "ok"}))
}

async fn props(State(app): State<Arc<App>>) -> Response {
    let template = app.shared.tools.template.as_ref();
    let source = template.and_then(|t| t.parts().ok()).map(|parts| parts.0);
    let sampling = &app.config.sampling;
    reply(&json!({
        "model": app.config.model,
        "context_length": app.context,
        "queue": app.config.queue,
        "chat_template": source,
        "defaults": {
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
        },
        "engine": app.config.props,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.shared.metrics.text(app.shared.queue.load()) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(e) => ApiError::engine(format!("metrics: {e}")).into_response(),
    }
}

async fn no_path(uri: Uri) -> Response {
    let message = format!(
        "there is no {}\nhint: /v1/chat/completions, /v1/completions, /v1/models, /health, /metrics and /props exist",
        uri.path()
    );
    ApiError::status(StatusCode::NOT_FOUND, "not_found", message).into_response()
}

async fn no_method(method: Method, uri: Uri) -> Response {
    let message = format!(
        "{} does not take {method}\nhint: use POST for text, GET for everything else",
        uri.path()
    );
    ApiError::status(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
    .into_response()
}
