//! A new configuration for an agent that runs: what can change safely does, the rest is named.
//!
//! What changes at once neither moves data to another place nor needs another connection, listener or
//! thread. Everything else waits for a restart, and is told, so that nobody believes that it has
//! happened.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::{Access, Doors};
use crate::config::Config;
use crate::guards::Guards;
use crate::history::History;
use crate::task_source::local::LocalQueue;
use crate::telemetry::{LogControl, LogLevel};
use crate::worker::Pool;

/// The parts of a running agent that can change, and the configuration that they have.
pub struct Reload {
    pub(crate) live: Config,
    pub(crate) pool: Pool,
    pub(crate) doors: Doors,
    pub(crate) guards: Guards,
    pub(crate) queue: LocalQueue,
    pub(crate) history: History,
    pub(crate) log: LogControl,
    pub(crate) idle: watch::Sender<Option<Duration>>,
    pub(crate) grace: watch::Sender<Duration>,
}

/// What a new configuration changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys and sections that are different now.
    pub applied: Vec<String>,
    /// Keys and sections that stay as they were until the agent is started again.
    pub needs_restart: Vec<String>,
}

impl Reload {
    /// Applies what can change of a proven configuration.
    pub fn apply(&mut self, new: &Config) -> Changes {
        let (live, changes) = merge(&self.live, new);
        if live.server.api_keys != new.server.api_keys {
            tracing::warn!(
                host = %live.server.host,
                "the API keys stay until a restart: the agent still listens where other machines reach it, and \
                 the new configuration has no key; restart it, or write a key"
            );
        }
        self.log.configure(log_level(&live));
        self.guards.set(live.guards);
        self.queue.set(live.queue);
        self.history.set(live.history);
        self.pool.set_interval(live.application.task_fetch_interval);
        self.grace.send_replace(live.application.stop_grace);
        self.idle.send_replace(live.idle_shutdown);
        if changes.applied.iter().any(|key| key.starts_with("server.")) {
            // Only then, because what callers have used up of their limits begins anew.
            self.doors.replace(Access::new(&live.server));
        }
        self.live = live;
        changes
    }
}

/// Which lines are logged.
#[must_use]
pub fn log_level(config: &Config) -> LogLevel {
    config.log.level.clone().unwrap_or_else(|| LogLevel::standard(config.application.debug_mode))
}

/// The old configuration with everything of the new one that can change, and what that is.
fn merge(old: &Config, new: &Config) -> (Config, Changes) {
    let mut live = old.clone();
    let mut changes = Changes::default();
    macro_rules! change {
        ($($name:literal: $($field:ident).+),+ $(,)?) => {
            $(if old.$($field).+ != new.$($field).+ {
                live.$($field).+ = new.$($field).+.clone();
                changes.applied.push($name.to_owned());
            })+
        };
    }
    change! {
        "application.task_fetch_interval": application.task_fetch_interval,
        "application.debug_mode": application.debug_mode,
        "application.stop_grace": application.stop_grace,
        "server.api_keys": server.api_keys,
        "server.allowed_hosts": server.allowed_hosts,
        "server.requests_per_minute": server.requests_per_minute,
        "log.level": log.level,
        "queue.keep": queue.keep,
        "queue.max_tasks": queue.max_tasks,
        "history.keep": history.keep,
        "history.max_runs": history.max_runs,
        "history.max_lines": history.max_lines,
        "guards.min_free_disk": guards.min_free_disk,
        "guards.min_available_memory": guards.min_available_memory,
        "idle_shutdown.minutes": idle_shutdown,
    }
    if !may_go_without_keys(old, new) && new.server.api_keys.is_empty() {
        live.server.api_keys.clone_from(&old.server.api_keys);
        changes.applied.retain(|key| key != "server.api_keys");
    }
    // What is equal now has changed; the rest has to wait.
    let mut rest = live.clone();
    macro_rules! wait {
        ($($name:literal: $($field:ident).+),+ $(,)?) => {
            $(if live.$($field).+ != new.$($field).+ {
                rest.$($field).+ = new.$($field).+.clone();
                changes.needs_restart.push($name.to_owned());
            })+
        };
    }
    wait! {
        "application.workers": application.workers,
        "application.affinity": application.affinity,
        "application.data_directory": application.data_directory,
        "application.memory_limit": application.memory_limit,
        "server.api_keys": server.api_keys,
        "server.host": server.host,
        "server.port": server.port,
        "server.max_body_bytes": server.max_body_bytes,
        "server.max_connections": server.max_connections,
        "server.max_connections_per_address": server.max_connections_per_address,
        "server.tls": server.tls,
        "server.allow_unauthenticated": server.allow_unauthenticated,
        "transfer": transfer,
        "log.format": log.format,
        "log.files": log.files,
        "log.directory": log.directory,
        "log.max_file_size": log.max_file_size,
        "log.max_files": log.max_files,
        "task_source": task_sources,
        "bounds": bounds,
        "secrets": secrets,
    }
    // Names of both, each once.
    let different = |path: &str, names: &mut dyn Iterator<Item = &String>| {
        let names: BTreeSet<&String> = names.collect();
        names.into_iter().map(|name| format!("{path}.{name}")).collect::<Vec<_>>()
    };
    let sources = live.sources.keys().chain(new.sources.keys());
    let mut sources = sources.filter(|name| live.sources.get(*name) != new.sources.get(*name));
    changes.needs_restart.extend(different("connections.source", &mut sources));
    let targets = live.targets.keys().chain(new.targets.keys());
    let mut targets = targets.filter(|name| live.targets.get(*name) != new.targets.get(*name));
    changes.needs_restart.extend(different("connections.target", &mut targets));
    rest.sources.clone_from(&new.sources);
    rest.targets.clone_from(&new.targets);
    if rest != *new {
        changes.needs_restart.push("other keys".to_owned());
    }
    (live, changes)
}

/// Whether the last API key can be taken away while the agent runs. The new configuration was proven with
/// its own address, but the listener stays on the old one until a restart.
fn may_go_without_keys(old: &Config, new: &Config) -> bool {
    let is_allowed = old.server.allow_unauthenticated && new.server.allow_unauthenticated;
    old.server.host.is_loopback() || is_allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Overrides, parse};

    fn config(text: &str) -> Config {
        let environment = Environment::default().with_home("/home/agent");
        parse(text, "configuration.toml", &Overrides::default(), &environment).expect("valid").0
    }

    #[track_caller]
    fn check(old: &str, new: &str, applied: &[&str], needs_restart: &[&str]) {
        let (old, new) = (config(old), config(new));
        let (live, changes) = merge(&old, &new);
        assert_eq!(changes.applied, applied);
        assert_eq!(changes.needs_restart, needs_restart);
        assert_eq!(live == new, needs_restart.is_empty());
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        check("", "", &[], &[]);
        check(
            "",
            "[application]\ntask_fetch_interval = 9\ndebug_mode = true\nstop_grace = 9\n[log]\nlevel = \"warn\"\n\
             [queue]\nkeep = \"1d\"\nmax_tasks = 1\n[history]\nkeep = \"1d\"\nmax_runs = 1\nmax_lines = 1\n[guards]\nmin_free_disk = 1\n\
             min_available_memory = 1\n[idle_shutdown]\nminutes = 1\n[server]\nallowed_hosts = \"a\"\n\
             requests_per_minute = 1\n\
             [server.api_keys.a]\nkey = \"0123456789abcdef\"",
            &[
                "application.task_fetch_interval",
                "application.debug_mode",
                "application.stop_grace",
                "server.api_keys",
                "server.allowed_hosts",
                "server.requests_per_minute",
                "log.level",
                "queue.keep",
                "queue.max_tasks",
                "history.keep",
                "history.max_runs",
                "history.max_lines",
                "guards.min_free_disk",
                "guards.min_available_memory",
                "idle_shutdown.minutes",
            ],
            &[],
        );
        check(
            "[connections.target.a]\nkind = \"local\"\nroot = \"/a\"\n[connections.target.b]\nkind = \"local\"\n\
             root = \"/b\"",
            "[application]\nworkers = 9\nmemory_limit = \"8 GiB\"\n[server]\nport = 9\nmax_connections = 9\n\
             [server.tls]\ncertificate = \"c\"\nprivate_key = \"k\"\n[bounds]\nsources = \"a\"\n\
             [secrets]\nallow_command_secrets = true\n[transfer]\nslices = 2\n\
             [log]\nfiles = false\nlevel = \"warn\"\n[connections.target.a]\nkind = \"local\"\nroot = \"/c\"\n\
             [bulk_utility.bcp]\ndelimiter = \",\"",
            &["log.level"],
            &[
                "application.workers",
                "application.memory_limit",
                "server.port",
                "server.max_connections",
                "server.tls",
                "transfer",
                "log.files",
                "bounds",
                "secrets",
                "connections.target.a",
                "connections.target.b",
                "other keys",
            ],
        );
    }

    #[test]
    fn a_listener_on_a_network_keeps_its_keys_until_a_restart() {
        const KEY: &str = "[server.api_keys.a]\nkey = \"0123456789abcdef\"";
        let server = |lines: &str, key: &str| format!("[server]\n{lines}\n{key}");
        let network = "host = \"0.0.0.0\"";
        let allowed = "host = \"0.0.0.0\"\nallow_unauthenticated = true";
        let near = "host = \"127.0.0.1\"";
        check(&server(network, KEY), &server(near, ""), &[], &["server.api_keys", "server.host"]);
        // Only one of the two says that something in front keeps strangers out.
        let waiting = ["server.api_keys", "server.allow_unauthenticated"];
        check(&server(network, KEY), &server(allowed, ""), &[], &waiting);
        let waiting = ["server.api_keys", "server.host", "server.allow_unauthenticated"];
        check(&server(allowed, KEY), &server(near, ""), &[], &waiting);

        check(&server(allowed, KEY), &server(allowed, ""), &["server.api_keys"], &[]);
        check(&server(near, KEY), &server(near, ""), &["server.api_keys"], &[]);
        let other = KEY.replace("0123", "4567");
        check(&server(network, KEY), &server(network, &other), &["server.api_keys"], &[]);
    }
}
