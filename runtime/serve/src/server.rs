//! The server's life: listen, serve, end.

use crate::error::{ApiError, ServeError};
use crate::generate::Generate;
use crate::metrics::{Ending, Metrics};
use crate::queue::{Event, Queue};
use crate::routes::{App, router};
use crate::worker::{self, Shared};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lampyris_import::saved::TextTools;
use lampyris_runtime::SamplerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// After the last answer, for clients that do not read theirs.
const LINGER: Duration = Duration::from_secs(2);
/// After the system refused a connection (too many open files), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the model, as clients see it.
    pub model: String,
    /// Requests that may wait while the engine works on another.
    pub queue: usize,
    /// Largest body of a request, bytes.
    pub body_limit: usize,
    /// For the head of a request to arrive.
    pub header_timeout: Duration,
    /// For the body of a request to arrive.
    pub body_timeout: Duration,
    /// How long the running request may go on after [`Handle::shutdown`].
    pub grace: Duration,
    /// Between comments in a stream without text.
    pub keep_alive: Duration,
    /// Open connections; more wait until one closes.
    pub connections: usize,
    /// What requests do not set. The seed is not used: a request without one gets a fresh one.
    pub sampling: SamplerConfig,
    /// About the engine, for `/props`.
    pub props: serde_json::Value,
}

impl Config {
    /// The defaults for a model: a queue of 16, bodies of 4 MiB, OpenAI's sampling (temperature 1,
    /// no limits).
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            queue: 16,
            body_limit: 4 << 20,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            keep_alive: Duration::from_secs(15),
            connections: 256,
            sampling: SamplerConfig {
                temperature: 1.0,
                ..SamplerConfig::default()
            },
            props: serde_json::Value::Null,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Serving.
    Open,
    /// The running request may finish.
    Closing,
    /// Everything ends.
    Ending,
}

/// Ends a server from another thread.
#[derive(Debug, Clone)]
pub struct Handle(Arc<watch::Sender<Phase>>);

impl Handle {
    /// Takes no more requests and ends when the running one has finished, at the latest after
    /// [`Config::grace`]. Called again: like [`Handle::abort`].
    pub fn shutdown(&self) {
        self.0.send_modify(|phase| {
            *phase = match phase {
                Phase::Open => Phase::Closing,
                _ => Phase::Ending,
            };
        });
    }

    /// Ends the running request before its next token, and the server with it.
    pub fn abort(&self) {
        self.0.send_modify(|phase| *phase = Phase::Ending);
    }
}

/// A server that listens, and serves when it is [run](Server::run).
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    engine: Box<dyn Generate>,
    phase: Arc<watch::Sender<Phase>>,
}

impl Server {
    /// Listens on `address` for requests to `engine`, whose tokens `tools` understands.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn bind(
        address: SocketAddr,
        config: Config,
        tools: TextTools,
        engine: Box<dyn Generate>,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            tools,
            queue: Queue::new(config.queue),
            metrics: Metrics::new(),
            abort: AtomicBool::new(false),
        });
        Ok(Self {
            listener,
            address,
            app: Arc::new(App::new(shared, config, engine.context())),
            engine,
            phase: Arc::new(watch::channel(Phase::Open).0),
        })
    }

    /// Where it listens; the port is known even if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server later.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.phase))
    }

    /// Serves until a [`Handle`] ends it. Afterwards its threads, connections and the engine are
    /// gone.
    ///
    /// # Errors
    /// A system without room for a thread, or an engine that panicked.
    pub fn run(self) -> Result<(), ServeError> {
        let Self {
            listener,
            app,
            engine,
            phase,
            ..
        } = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .thread_name("lampyris-http")
            .build()
            .map_err(ServeError::Start)?;
        let (alive, gone) = watch::channel(());
        let guard = Guard {
            app: Arc::clone(&app),
            handle: Handle(Arc::clone(&phase)),
            _alive: alive,
        };
        let worker = thread::Builder::new()
            .name("lampyris-engine".into())
            .spawn(move || work(engine, &guard))
            .map_err(ServeError::Start)?;
        let served = runtime.block_on(serve(listener, app, phase.subscribe(), gone));
        drop(runtime);
        match worker.join() {
            Ok(()) => served,
            Err(panic) => Err(ServeError::Engine(message(&*panic))),
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Ends the server when the engine's thread ends, however it does.
struct Guard {
    app: Arc<App>,
    handle: Handle,
    _alive: watch::Sender<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // After a panic jobs still wait: dropping them tells their clients.
        drop(self.app.shared.queue.close());
        self.handle.abort();
    }
}

fn work(mut engine: Box<dyn Generate>, guard: &Guard) {
    worker::run(&mut *engine, &guard.app.shared);
}

/// Accepts connections until the phase changes, then ends everything in order.
async fn serve(
    listener: std::net::TcpListener,
    app: Arc<App>,
    mut phase: watch::Receiver<Phase>,
    gone: watch::Receiver<()>,
) -> Result<(), ServeError> {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => {
            drop(app.shared.queue.close());
            return Err(ServeError::Start(e));
        }
    };
    let graceful = GracefulShutdown::new();
    let routes = router(Arc::clone(&app));
    let room = Arc::new(Semaphore::new(app.config.connections));
    loop {
        let stream = tokio::select! {
            stream = accept(&listener, &room) => stream,
            _ = phase.wait_for(|p| *p > Phase::Open) => break,
        };
        let (stream, place) = stream;
        let connection = connect(stream, &routes, app.config.header_timeout);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks is the client's business.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    for job in app.shared.queue.close() {
        app.shared.metrics.ended(Ending::Refused);
        let _ = job.events.send(Event::Failed(ApiError::shutting_down()));
    }
    let connections = tokio::spawn(graceful.shutdown());
    end_engine(&app, phase, gone).await;
    let _ = tokio::time::timeout(LINGER, connections).await;
    Ok(())
}

/// The next connection, and its place among those that may be open.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn connect(
    stream: TcpStream,
    routes: &Router,
    header_timeout: Duration,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    // Tokens are small and each should go out at once; without it they only come later.
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(
            TokioIo::new(stream),
            TowerToHyperService::new(routes.clone()),
        )
}

/// Waits for the running request, within its grace, and for the engine's thread.
async fn end_engine(app: &App, mut phase: watch::Receiver<Phase>, mut gone: watch::Receiver<()>) {
    // `gone` never changes; it fails when its sender is dropped with the thread.
    tokio::select! {
        _ = gone.changed() => {}
        () = tokio::time::sleep(app.config.grace) => {}
        _ = phase.wait_for(|p| *p == Phase::Ending) => {}
    }
    app.shared.abort.store(true, Ordering::Relaxed);
    let _ = gone.changed().await;
}
