//! Tells systemd how the agent is: ready, alive, reloading, stopping (`sd_notify`).
//!
//! The protocol is a datagram of lines to the socket that systemd names in `NOTIFY_SOCKET`; see
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>. Without that variable all
//! of this does nothing. What cannot be told is no reason to stop.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Environment;

/// Whoever started the agent and wants to know; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Option<Arc<Socket>>);

#[derive(Debug)]
struct Socket {
    datagrams: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that `environment` names; one that nobody is behind when it names none.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let Some(path) = environment.get("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self(None);
        };
        match Socket::open(path, watchdog(environment, std::process::id())) {
            Ok(socket) => Self(Some(Arc::new(socket))),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET cannot be used; systemd will not hear of this agent");
                Self(None)
            }
        }
    }

    /// How often [`Self::alive`] has to be said at least; `None` when nobody counts.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref().and_then(|socket| socket.watchdog)
    }

    /// Tasks are taken.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is read again; [`Self::ready`] follows.
    pub fn reloading(&self) {
        // For `Type=notify-reload`; microseconds since the machine was started.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// Nothing hangs.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// The stop has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Draining: running tasks may end");
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = socket.datagrams.send_to_addr(message.as_bytes(), &socket.address) {
            tracing::debug!(%error, "systemd could not be told how the agent is");
        }
    }
}

impl Socket {
    fn open(path: &str, watchdog: Option<Duration>) -> io::Result<Self> {
        let datagrams = UnixDatagram::unbound()?;
        // Nothing of the agent waits for whoever does not read.
        datagrams.set_nonblocking(true)?;
        Ok(Self { datagrams, address: address(path)?, watchdog })
    }
}

/// A path, or a name without a file behind an `@`.
fn address(path: &str) -> io::Result<SocketAddr> {
    match path.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(Path::new(name).as_os_str().as_bytes())
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
        None => SocketAddr::from_pathname(path),
    }
}

/// The time after which systemd takes a process for dead that says nothing, when it means this one.
fn watchdog(environment: &Environment, own_id: u32) -> Option<Duration> {
    let is_meant = environment.get("WATCHDOG_PID").is_none_or(|id| id.parse() == Ok(own_id));
    let microseconds: u64 = environment.get("WATCHDOG_USEC")?.parse().ok()?;
    (is_meant && microseconds > 0).then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_hears_every_word() {
        let path = std::env::temp_dir().join(format!("notify-test-{}", uuid::Uuid::new_v4()));
        let systemd = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::of(&Environment::of([("NOTIFY_SOCKET", path.to_str().unwrap())]));
        supervisor.ready("4 workers");
        assert_eq!(heard(&systemd), "READY=1\nSTATUS=4 workers");
        supervisor.alive();
        assert_eq!(heard(&systemd), "WATCHDOG=1");
        supervisor.reloading();
        let reloading = heard(&systemd);
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(since.parse::<u64>().unwrap() > 0);
        supervisor.stopping();
        assert!(heard(&systemd).starts_with("STOPPING=1\n"));
        std::fs::remove_file(path).ok();
        // Nobody listens any more.
        drop(systemd);
        supervisor.alive();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_without_a_file_is_reached() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("notify-test-{}", uuid::Uuid::new_v4());
        let systemd = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let supervisor = Supervisor::of(&Environment::of([("NOTIFY_SOCKET", format!("@{name}"))]));
        supervisor.alive();
        assert_eq!(heard(&systemd), "WATCHDOG=1");
    }

    #[test]
    fn without_systemd_nobody_is_told() {
        let supervisor = Supervisor::of(&Environment::default());
        supervisor.ready("");
        supervisor.stopping();
        assert_eq!(supervisor.watchdog(), None);
    }

    #[test]
    fn the_watchdog_may_mean_another_process() {
        let of = |variables: &[(&str, &str)]| watchdog(&Environment::of(variables.iter().copied()), 42);
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000")]), Some(Duration::from_secs(30)));
        assert_eq!(of(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "42")]), Some(Duration::from_millis(1)));
        assert_eq!(of(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "43")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "soon")]), None);
        assert_eq!(of(&[]), None);
    }
}
