//! The only place where concrete types meet: builds, wires, and owns the order of the stop.
//!
//! ```text
//! Config -> Catalog (sources, destinations) -> Runner -> Pool <- LocalQueue <- API
//! ```

mod connections;
mod registry;

use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::registry::{destination, methods, odbc_source, source};

use crate::api::{self, Access, ApiState, ConnectionLimits, Doors, Tls};
use crate::config::{Config, TargetConnection, TransferSettings};
use crate::destination::Destination;
use crate::fault::Fault;
use crate::guards::Guards;
use crate::history::{History, mirror};
use crate::idle::idle;
use crate::observer::Observer;
use crate::reload::Reload;
use crate::shutdown::{Shutdown, spawn_blocking};
use crate::snowflake::Clients;
use crate::task_source::TaskSource;
use crate::task_source::local::LocalQueue;
use crate::task_source::snowflake::write_history;
use crate::telemetry::{LogControl, Metrics, OtlpSender, push_metrics};
use crate::transfer::plan;
use crate::worker::{Pool, PoolSettings, Runner};

/// How long an abort may take: uploads are aborted and leases released meanwhile.
const ABORT_LIMIT: Duration = Duration::from_secs(20);
/// How long open requests may take once everything else has ended.
const API_LIMIT: Duration = Duration::from_secs(5);

/// When an agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When it is told to.
    Service,
    /// When its queues are drained.
    Once,
}

/// A running agent.
pub struct Agent {
    pool: Pool,
    runner: Arc<Runner>,
    task_sources: Vec<Arc<dyn TaskSource>>,
    mode: Mode,
    address: SocketAddr,
    is_secure: bool,
    queue: LocalQueue,
    history: History,
    queue_tasks: Shutdown,
    snowflake: Arc<Clients>,
    shutdown: Shutdown,
    api: JoinHandle<std::io::Result<()>>,
    close_api: CancellationToken,
    idle: watch::Receiver<Option<Duration>>,
    grace: watch::Receiver<Duration>,
    reload: Option<Reload>,
}

impl Agent {
    /// Opens the queue, builds every connection, and starts workers and API. Tasks of an agent that
    /// died before are leased at once.
    pub async fn start(config: Config, mode: Mode) -> anyhow::Result<Self> {
        let shutdown = Shutdown::new();
        let tls = config.server.tls.as_ref().map(Tls::load).transpose().map_err(explained)?.map(Arc::new);
        let snowflake = Arc::new(Clients::new(&shutdown).of_agent(agent_name(&config)));
        let catalog = Arc::new(connections::catalog(&config, &snowflake, &shutdown).await?);
        let memory_planned =
            check_memory(&config, catalog.destinations().map(|(_, _, destination)| destination))?;
        let memory_limit = config.application.memory_limit.map(NonZeroU64::get);

        // Bound before the queue is opened: a second agent on the same port changes nothing.
        let wanted = SocketAddr::new(config.server.host, config.server.port);
        let listener = TcpListener::bind(wanted).await.with_context(|| {
            format!("listen on {wanted}: choose another --port, or stop what listens there")
        })?;
        let address = listener.local_addr().context("read the address that is listened on")?;
        // Tasks of an agent that died are leased soon, and their programs of the dead one should be gone by then.
        spawn_blocking(crate::bulk::process::sweep).await.context("look for what a dead agent left")?;
        // The queue outlives the drain, because outcomes are recorded during the stop.
        let queue_tasks = Shutdown::new();
        let queue = LocalQueue::open(&config.application.data_directory, config.queue, &queue_tasks)
            .await
            .map_err(explained)?;
        // After the queue, whose lock keeps other agents out of the directory.
        let history = History::open(&config.application.data_directory, config.history, &queue_tasks)
            .await
            .map_err(explained)?;

        if let Some(procedures) = &config.task_sources.snowflake_history {
            let (tell, told) = mirror();
            let client = registry::procedures_client(&config, &snowflake, procedures)?;
            write_history(client, procedures, told, &queue_tasks);
            history.tell(tell);
        }
        let metrics = Arc::new(Metrics::default());
        let runner = Runner::new(
            Arc::clone(&catalog),
            config.transfer.clone().within(&config.application),
            Arc::clone(&metrics),
            shutdown.clone(),
        )
        .with_history(history.clone());
        let runner = Arc::new(match mode {
            Mode::Service => runner,
            Mode::Once => runner.remembering_failures(),
        });
        let guards = Guards::new(written_places(&config), memory_limit, config.guards);
        guards.start(Arc::clone(runner.running()), &shutdown).await;
        let settings = PoolSettings {
            workers: config.application.workers,
            interval: config.application.task_fetch_interval,
            once: mode == Mode::Once,
            guards: guards.clone(),
        };
        let mut task_sources: Vec<Arc<dyn TaskSource>> = vec![Arc::new(queue.clone())];
        task_sources
            .extend(registry::remote_task_sources(&config, &catalog, &snowflake, &metrics, &shutdown)?);
        let pool = Pool::start(settings, task_sources.clone(), &runner, &shutdown);

        let doors = Doors::from(Access::new(&config.server));
        let log = LogControl::of_process();
        let observer = Observer {
            metrics,
            queue: queue.clone(),
            pool: pool.clone(),
            guards: guards.clone(),
            history: history.clone(),
            log: log.clone(),
            memory_planned,
            memory_limit,
        };
        if let Some(settings) = config.otlp.clone().filter(|settings| settings.metrics) {
            let sender = OtlpSender::new(&settings, &queue_tasks).map_err(explained)?;
            let (observer, draining) = (observer.clone(), shutdown.clone());
            shutdown.spawn(async move {
                // A queue that cannot be read is logged by whoever needs it.
                push_metrics(&settings, &sender, &draining, async || observer.text().await.ok()).await;
            });
        }
        let router = api::router(ApiState {
            queue: queue.clone(),
            history: history.clone(),
            pool: pool.clone(),
            guards: guards.clone(),
            catalog,
            observer: observer.clone(),
            log: log.clone(),
            shutdown: shutdown.clone(),
            default_format: config.transfer.format,
            max_body_bytes: config.server.max_body_bytes,
            doors: doors.clone(),
            max_watchers: api::max_watchers(config.server.max_connections),
        });
        let close_api = CancellationToken::new();
        let is_secure = tls.is_some();
        let limits = ConnectionLimits {
            per_address: config.server.max_connections_per_address,
            ..ConnectionLimits::new(config.server.max_connections)
        };
        let server = api::Server::new(listener, limits).with_tls(tls);
        let api = crate::shutdown::spawn_server(server.serve(router, close_api.clone().cancelled_owned()));
        tracing::info!(%address, workers = config.application.workers, "the agent is ready");
        let (idle, idle_limit) = watch::channel(config.idle_shutdown);
        let (grace, grace_now) = watch::channel(config.application.stop_grace);
        let reload = Reload {
            live: config,
            pool: pool.clone(),
            doors,
            guards,
            queue: queue.clone(),
            history: history.clone(),
            log,
            idle,
            grace,
        };
        Ok(Self {
            pool,
            runner,
            task_sources,
            mode,
            address,
            is_secure,
            queue,
            history,
            queue_tasks,
            snowflake,
            shutdown,
            api,
            close_api,
            idle: idle_limit,
            grace: grace_now,
            reload: Some(reload),
        })
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.address)
    }

    /// The stop signals of this agent.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// What steers the parts that can change while the agent runs; `None` when it was taken before.
    pub fn take_reload(&mut self) -> Option<Reload> {
        self.reload.take()
    }

    /// What tells how the agent is.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse { pool: self.pool.clone(), queue: self.queue.clone(), is_stopping: self.shutdown.clone() }
    }

    /// Waits until a drain is asked for, or with [`Mode::Once`] until the queues are drained, then stops in order: readiness says no, leasing stops,
    /// running tasks end, or are stopped after the grace time and released, the queue and the API
    /// close. True when every task ended by itself or was released; with [`Mode::Once`] when the queues
    /// are drained and no task failed.
    pub async fn until_stopped(self) -> bool {
        let mut is_good = true;
        if self.mode == Mode::Once {
            let is_drained = tokio::select! {
                () = self.pool.ended() => !self.pool.gave_up(),
                () = self.shutdown.draining() => false,
            };
            let refused: usize = self.task_sources.iter().map(|source| source.refused_tasks()).sum();
            let failed = self.runner.failed_tasks() + refused;
            tracing::info!(is_drained, failed, "every queue that could be drained is drained");
            is_good = is_drained && failed == 0;
            self.shutdown.begin_drain();
        }
        tokio::select! {
            () = self.shutdown.draining() => {}
            limit = idle(self.idle.clone(), &self.queue, self.pool.running()) => {
                tracing::info!(?limit, "there was nothing to do for so long: the agent ends");
                self.shutdown.begin_drain();
            }
        }
        let grace = *self.grace.borrow();
        tracing::info!(?grace, "the agent drains: nothing new starts, running tasks may end");
        let drained = tokio::select! {
            drained = self.shutdown.finished(grace) => drained,
            () = self.shutdown.aborting() => false,
        };
        if !drained {
            tracing::warn!("the agent aborts: running tasks stop at the next safe point and are released");
            self.shutdown.begin_abort();
        }
        let ended = self.shutdown.finished(ABORT_LIMIT).await;
        if !ended {
            tracing::error!("some tasks did not stop in time; they will be leased again at the next start");
        }
        self.close_api.cancel();
        if tokio::time::timeout(API_LIMIT, self.api).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        self.queue.close().await;
        self.history.close().await;
        self.queue_tasks.finished(API_LIMIT).await;
        // Tasks, the queue in Snowflake, the checks of the API and the history have used them until here.
        self.snowflake.close().await;
        tracing::info!("the agent has stopped");
        ended && is_good
    }
}

/// How a running agent is, for whoever supervises it.
#[derive(Clone)]
pub struct Pulse {
    pool: Pool,
    queue: LocalQueue,
    is_stopping: Shutdown,
}

impl Pulse {
    /// True when no worker and no poller has died, and the queue can write.
    pub async fn is_felt(&self) -> bool {
        (self.pool.is_whole() || self.is_stopping.is_draining()) && self.queue.check().await.is_ok()
    }
}

/// The file systems that the agent writes to, by what is there.
pub(crate) fn written_places(config: &Config) -> Vec<(String, PathBuf)> {
    let data_directory = &config.application.data_directory;
    let mut places = vec![("the data directory".to_owned(), data_directory.clone())];
    if let Some(directory) =
        config.log.rotation(data_directory).and_then(|log| Some(log.file.parent()?.to_owned()))
    {
        places.push(("the directory of logs".to_owned(), directory));
    }
    for (name, target) in &config.targets {
        match target {
            TargetConnection::Local(local) => places.push((format!("the target {name}"), local.root.clone())),
            // Files for a stage wait in the directory of temporary files.
            TargetConnection::Snowflake(_) => {
                places.push(("the directory of temporary files".to_owned(), std::env::temp_dir()));
            }
            TargetConnection::S3(_) | TargetConnection::Gcs(_) | TargetConnection::AzureBlob(_) => {}
        }
    }
    places
}

/// What this process is called in Snowflake's query history: as configured, otherwise a name of its own.
fn agent_name(config: &Config) -> String {
    let snowflake = config.task_sources.snowflake.as_ref().map(|queue| &queue.procedures);
    let snowflake = snowflake.or(config.task_sources.snowflake_history.as_ref());
    let snowflake = snowflake.and_then(|procedures| procedures.agent_id.clone());
    let configured =
        snowflake.or_else(|| config.task_sources.api.as_ref().and_then(|api| api.agent_id.clone()));
    configured.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
}

/// Compares the memory equation with the configured limit. Returns the bytes that the tasks plan
/// with at most.
pub(crate) fn check_memory<'d>(
    config: &Config,
    destinations: impl Iterator<Item = &'d Arc<dyn Destination>>,
) -> anyhow::Result<u64> {
    let part_buffer = destinations.map(|destination| destination.part_buffer_bytes()).max().unwrap_or(0);
    let TransferSettings { slices, .. } = config.transfer;
    let ceiling = plan::memory_ceiling(
        config.application.workers,
        NonZeroUsize::from(slices),
        &config.transfer,
        part_buffer,
    );
    let Some(limit) = config.application.memory_limit else { return Ok(ceiling) };
    ensure!(
        ceiling <= limit.get(),
        "application.memory_limit is {limit} bytes and {workers} workers with {slices} slices can take {ceiling}. \
         Lower application.workers, transfer.slices, transfer.batch_bytes or transfer.row_group_bytes, or raise the limit.",
        workers = config.application.workers,
    );
    Ok(ceiling)
}

/// A fault with its remedy, for a person at a terminal.
pub fn explained(fault: Fault) -> anyhow::Error {
    match fault.hint() {
        Some(hint) => anyhow::anyhow!("{}. {hint}", fault.chain()),
        None => anyhow::anyhow!("{}", fault.chain()),
    }
}
