//! Reads files again while the node runs: those that settings and definitions name, within seconds
//! of a change, and all at once on SIGHUP.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use admin::Access;
use auth::ConfiguredKey;
use feed::Feeds;
use hook::Secrets;
use listener::{ClientAuthorities, Tls};
use parking_lot::Mutex;
use proxy::{Apis, ChangeError, Fault};
use rustix::process::Signal as Number;
use subscription::Extractors;
use telemetry::set_log_level;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::Level;

use crate::settings::{Mistakes, NamedFile, definitions_in};

/// How often the files are checked for changes.
const EVERY: Duration = Duration::from_secs(2);

/// Signals that would terminate the process by default, and have no meaning here.
const IGNORED: [(&str, Number); 4] =
    [("SIGUSR1", Number::USR1), ("SIGUSR2", Number::USR2), ("SIGALRM", Number::ALARM), ("SIGIO", Number::IO)];

/// SIGHUP, and the signals that are ignored. SIGPIPE is ignored by every Rust program.
pub(crate) struct Signals {
    hang_up: Signal,
    ignored: Vec<(&'static str, Signal)>,
}

impl Signals {
    /// Installs handlers: from now on these signals do not terminate the process.
    ///
    /// # Errors
    /// Fails if the system does not allow the handlers.
    pub(crate) fn new() -> io::Result<Self> {
        let take = |number: Number| signal(SignalKind::from_raw(number.as_raw()));
        let ignored = IGNORED.into_iter().map(|(name, number)| Ok((name, take(number)?)));
        Ok(Self { hang_up: take(Number::HUP)?, ignored: ignored.collect::<io::Result<_>>()? })
    }
}

/// Waits for the next ignored signal. Returns its name.
async fn next_ignored(ignored: &mut [(&'static str, Signal)]) -> &'static str {
    poll_fn(|cx| {
        for (name, signal) in &mut *ignored {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready(*name);
            }
        }
        Poll::Pending
    })
    .await
}

/// Reads the log level again, from the source that it was given in.
pub(crate) trait ReadLevel: Fn() -> Result<Level, Mistakes> + Send + Sync + 'static {}

impl<F: Fn() -> Result<Level, Mistakes> + Send + Sync + 'static> ReadLevel for F {}

/// Everything that is read from files.
pub(crate) struct Sources {
    /// Reads `LOG_LEVEL` again.
    pub(crate) log_level: Box<dyn ReadLevel>,
    /// The file of `PROXY_CONFIG_FILE`, if it is a file.
    pub(crate) definitions: Option<NamedFile>,
    /// The file of `EXTRACTORS`, if it is a file.
    pub(crate) extractors: Option<NamedFile>,
    /// The extractors that are replaced by the content of the file.
    pub(crate) extractors_in_use: Arc<Extractors>,
    /// The certificate of the ports, if there is one.
    pub(crate) tls: Option<Tls>,
    /// The authorities of the certificates of callers, if they may present any.
    pub(crate) clients: Option<ClientAuthorities>,
    /// The tokens of the internal port that are in files.
    pub(crate) access: Access,
    /// The key that verifies tokens.
    pub(crate) key: Arc<ConfiguredKey>,
    /// The feeds of identity providers, which have secrets in files.
    pub(crate) feeds: Arc<Feeds>,
    /// The secrets that sign reports of revocations.
    pub(crate) hook: Option<Arc<Secrets>>,
    /// The APIs, and the certificates of their services.
    pub(crate) apis: Arc<Apis>,
}

/// Reads the files again.
pub(crate) struct Reload(Arc<Mutex<Sources>>);

impl Reload {
    pub(crate) fn new(sources: Sources) -> Self {
        Self(Arc::new(Mutex::new(sources)))
    }

    /// Reads files again on every change and on SIGHUP. Never returns.
    pub(crate) async fn keep(self, Signals { mut hang_up, mut ignored }: Signals) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            let forced = tokio::select! {
                _ = ticks.tick() => false,
                _ = hang_up.recv() => true,
                name = next_ignored(&mut ignored) => {
                    tracing::info!(signal = name, "ignored");
                    continue;
                }
            };
            if forced {
                tracing::info!(
                    "SIGHUP: certificates, keys, tokens of callers, definitions, extractors and LOG_LEVEL are read again"
                );
            }
            let sources = self.0.clone();
            // Runs on a blocking thread, since a disk or a network may be slow.
            if let Err(error) = spawn_blocking(move || sources.lock().refresh(forced)).await {
                tracing::error!(%error, "reading files again has failed");
            }
            if forced {
                tracing::info!("SIGHUP: read again; all other settings change with a restart only");
            }
        }
    }
}

impl Sources {
    fn refresh(&mut self, forced: bool) {
        if let Some(tls) = &self.tls {
            tls.refresh(forced);
        }
        if let Some(clients) = &self.clients {
            clients.refresh(forced);
        }
        self.access.refresh(forced);
        self.key.refresh(forced);
        self.feeds.refresh(forced);
        if let Some(secrets) = &self.hook {
            secrets.refresh(forced);
        }
        self.refresh_definitions(forced);
        self.refresh_extractors(forced);
        self.apis.refresh_files(forced);
        if forced {
            match (self.log_level)() {
                Ok(level) => set_log_level(level),
                Err(mistakes) => {
                    tracing::error!("LOG_LEVEL not reloaded: {}", mistakes.to_string().trim_end())
                }
            }
        }
    }

    fn refresh_definitions(&mut self, forced: bool) {
        let Some((path, watched)) = &mut self.definitions else { return };
        let replaced = watched.refresh(forced, || {
            let (definitions, mut warnings) = definitions_in(path)?;
            warnings.extend(self.apis.replace_file(definitions).map_err(|error| match error {
                ChangeError::Faults(faults) => {
                    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
                }
                error => error.to_string(),
            })?);
            Ok::<_, String>(warnings)
        });
        let file = path.display();
        match replaced {
            Some(Ok(warnings)) => {
                tracing::info!(%file, apis = self.apis.standing().len(), "API definitions reloaded");
                for warning in warnings {
                    tracing::warn!(%file, "{}", warning.0);
                }
            }
            Some(Err(error)) => {
                tracing::error!(%file, error, "API definitions not reloaded, the old ones stay")
            }
            None => {}
        }
    }

    fn refresh_extractors(&mut self, forced: bool) {
        let Some((path, watched)) = &mut self.extractors else { return };
        let replaced = watched.refresh(forced, || {
            let json = document::read_text(path).map_err(|error| error.to_string())?;
            self.extractors_in_use.replace(&json).map_err(|error| error.to_string())
        });
        let file = path.display();
        match replaced {
            Some(Ok(gone)) => {
                tracing::info!(%file, "extractors reloaded");
                if !gone.is_empty() {
                    let fields = gone.join(", ");
                    tracing::warn!(%file, fields, "constraints on fields that have gone match nothing");
                }
            }
            Some(Err(error)) => tracing::error!(%file, error, "extractors not reloaded, the old ones stay"),
            None => {}
        }
    }
}
