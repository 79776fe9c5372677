//! Takes no new task while a disk or the memory is short, and goes on by itself.
//!
//! What runs goes on: it may be what frees the place. A task that waits loses nothing, and one that is
//! begun on a full disk would only fail. The bounds have a margin, so that tasks do not start and stop
//! in quick turns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::HumanBytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::GuardSettings;
use crate::shutdown::{self, Shutdown};
use crate::worker::Running;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(2);
/// How long a look may take: a file system of the network can hang.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Short {
    /// Free space of a file system.
    Disk,
    /// Memory of the machine, the container, or the configured budget.
    Memory,
}

impl Short {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Disk, Self::Memory];

    /// The name in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}

/// Why no task is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What is short.
    pub short: Short,
    /// In a sentence for an operator.
    pub reason: String,
}

/// Looks after disks and memory; clones share it.
#[derive(Clone, Debug)]
pub struct Guards(Arc<Inner>);

/// Tells the free bytes at a place. Blocks, on a file system of the network for ever.
type Probe = fn(&Path) -> Option<u64>;

/// A look at a place that has not ended.
type Looking = JoinHandle<Option<u64>>;

#[derive(Debug)]
struct Inner {
    places: Vec<(String, PathBuf)>,
    probe: Probe,
    /// By place. As long as a look has not ended, there is no second one: it would hang as well, and hold
    /// one thread more.
    looking: Mutex<BTreeMap<String, Looking>>,
    memory_limit: Option<u64>,
    settings: Mutex<GuardSettings>,
    hold: watch::Sender<Option<Hold>>,
    free: Mutex<BTreeMap<String, u64>>,
}

impl Default for Guards {
    /// Guards that hold nothing.
    fn default() -> Self {
        Self::new(Vec::new(), None, GuardSettings { min_free_disk: 0, min_available_memory: 0 })
    }
}

/// What a look found, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Look {
    /// Free space by place.
    free: BTreeMap<String, u64>,
    /// Memory that this process can still get, where the system tells it.
    available: Option<u64>,
    /// Memory that this process has.
    resident: Option<u64>,
}

impl Guards {
    /// Guards for file systems, by what is there, and for the memory budget of the tasks.
    #[must_use]
    pub fn new(places: Vec<(String, PathBuf)>, memory_limit: Option<u64>, settings: GuardSettings) -> Self {
        Self::with_probe(places, memory_limit, settings, free_space)
    }

    fn with_probe(
        places: Vec<(String, PathBuf)>,
        memory_limit: Option<u64>,
        settings: GuardSettings,
        probe: Probe,
    ) -> Self {
        Self(Arc::new(Inner {
            places,
            probe,
            looking: Mutex::default(),
            memory_limit,
            settings: Mutex::new(settings),
            hold: watch::Sender::new(None),
            free: Mutex::default(),
        }))
    }

    /// Looks for the first time, and from then on every two seconds until the agent drains.
    pub async fn start(&self, running: Arc<Running>, shutdown: &Shutdown) {
        self.look(&running, LOOK_LIMIT).await;
        let (guards, drain) = (self.clone(), shutdown.clone());
        shutdown.spawn(async move {
            let regularly = async {
                let mut cleared = 0;
                loop {
                    tokio::time::sleep(EVERY).await;
                    guards.look(&running, LOOK_LIMIT).await;
                    // Once after each time of work. What is left of it would count as memory that is short.
                    let entered = running.entered();
                    if running.count() == 0 && entered != std::mem::replace(&mut cleared, entered) {
                        let _done = shutdown::spawn_blocking(crate::heap::give_back).await;
                    }
                }
            };
            tokio::select! {
                never = regularly => never,
                () = drain.draining() => {}
            }
        });
    }

    /// Why no task is started now; `None` when tasks are.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.0.hold.borrow().clone()
    }

    /// Follows [`Self::hold`].
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Option<Hold>> {
        self.0.hold.subscribe()
    }

    /// Free bytes of each file system that is looked after, as of the last look.
    #[must_use]
    pub fn free(&self) -> BTreeMap<String, u64> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the bounds; the next look goes by them.
    pub fn set(&self, settings: GuardSettings) {
        *self.0.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Begins a look at each place where none is under way.
    fn begin_looks(&self) -> BTreeMap<String, Looking> {
        let waiting = self.looking();
        let places = self.0.places.iter().filter(|(name, _)| !waiting.contains_key(name)).cloned();
        let probe = self.0.probe;
        places.map(|(name, path)| (name, shutdown::spawn_blocking(move || probe(&path)))).collect()
    }

    /// The free space of each place that answers. One that does not is left as it was; the queue and the
    /// stores have limits of their own.
    async fn free_space(&self, limit: Duration) -> BTreeMap<String, u64> {
        let mut free = self.free();
        let mut take = |name: String, space: Option<u64>| match space {
            Some(space) => _ = free.insert(name, space),
            None => _ = free.remove(&name),
        };
        let deadline = Instant::now() + limit;
        for (name, mut looking) in self.begin_looks() {
            match tokio::time::timeout_at(deadline, &mut looking).await {
                Ok(space) => take(name, space.unwrap_or(None)),
                Err(_elapsed) => {
                    tracing::warn!(
                        "{name} has not told its free space within {limit:?}; it is not guarded until it does. \
                         Look at its file system, which may be one of the network"
                    );
                    self.looking().insert(name, looking);
                }
            }
        }
        let answered: Vec<_> = self.looking().extract_if(.., |_, looking| looking.is_finished()).collect();
        for (name, looking) in answered {
            take(name, looking.await.unwrap_or(None));
        }
        free
    }

    fn looking(&self) -> MutexGuard<'_, BTreeMap<String, Looking>> {
        self.0.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, running: &Running, limit: Duration) {
        let (available, resident) =
            shutdown::spawn_blocking(|| (available_memory(), resident_memory())).await.unwrap_or_default();
        let look = Look { free: self.free_space(limit).await, available, resident };
        let settings = *self.0.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.hold();
        let after = judge(&look, settings, self.0.memory_limit, running.count(), before.as_ref());
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) = look.free;
        match (&before, &after) {
            (None, Some(hold)) => tracing::warn!(short = hold.short.as_str(), "{}", hold.reason),
            (Some(_), None) => tracing::info!("tasks are started again: nothing is short any more"),
            _ => {}
        }
        self.0.hold.send_if_modified(|hold| {
            let is_new = *hold != after;
            *hold = after;
            is_new
        });
    }
}

/// What follows from a look. Whatever held tasks before goes on to do so until there is a twentieth
/// more than its bound.
fn judge(
    look: &Look,
    settings: GuardSettings,
    memory_limit: Option<u64>,
    running: usize,
    before: Option<&Hold>,
) -> Option<Hold> {
    let bound = |short: Short, least: u64| match before {
        Some(hold) if hold.short == short => least.saturating_add(least / 20),
        _ => least,
    };
    let least_free = bound(Short::Disk, settings.min_free_disk);
    if let Some((place, free)) = look.free.iter().find(|(_, free)| **free < least_free) {
        let reason = format!(
            "no new task is started: {place} has {} free, and {} are wanted. Free space there, or lower \
             guards.min_free_disk",
            HumanBytes(*free),
            HumanBytes(least_free)
        );
        return Some(Hold { short: Short::Disk, reason });
    }
    let least_available = bound(Short::Memory, settings.min_available_memory);
    if let Some(available) = look.available.filter(|available| *available < least_available) {
        let reason = format!(
            "no new task is started: {} of memory are available, and {} are wanted. End what takes it, give the \
             agent more, or lower guards.min_available_memory",
            HumanBytes(available),
            HumanBytes(least_available)
        );
        return Some(Hold { short: Short::Memory, reason });
    }
    // Memory that a task has given back may stay with the process. Without a task that runs, one is
    // started all the same: otherwise nothing would ever run again.
    if let (Some(limit), Some(resident)) = (memory_limit, look.resident)
        && running > 0
        && resident >= limit
    {
        let reason = format!(
            "no new task is started while others run: the agent has {} of memory, and application.memory_limit is {}",
            HumanBytes(resident),
            HumanBytes(limit)
        );
        return Some(Hold { short: Short::Memory, reason });
    }
    None
}

/// Free bytes for this user on the file system of `path`, or of what is above it while it is missing.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let system = rustix::fs::statvfs(path).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    })
}

/// Memory that this process can still get: of the machine, or of its container when that has less.
fn available_memory() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:");
    [machine, container_memory(Path::new("/sys/fs/cgroup"))].into_iter().flatten().min()
}

/// What a container has left of its limit; the cache of files goes when it is needed.
fn container_memory(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let statistics = read("memory.stat").unwrap_or_default();
    let cache =
        statistics.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok());
    Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
}

/// Resident memory of this process in bytes, where the system tells it.
pub(crate) fn resident_memory() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// A field of the files in /proc, which are in kibibytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;

    use super::*;

    const SETTINGS: GuardSettings = GuardSettings { min_free_disk: 1_000, min_available_memory: 2_000 };

    fn found(free: u64, available: u64, resident: u64) -> Look {
        Look {
            free: [("the data directory".to_owned(), free), ("target out".to_owned(), 1_000_000)].into(),
            available: Some(available),
            resident: Some(resident),
        }
    }

    #[test]
    fn what_is_short_holds_new_tasks() {
        let disk = Hold { short: Short::Disk, reason: String::new() };
        let memory = Hold { short: Short::Memory, reason: String::new() };
        // free, available, resident, running, before -> what is short
        for (free, available, resident, running, before, expected) in [
            (1_000, 2_000, 4_999, 1, None, None),
            (999, 2_000, 0, 0, None, Some(Short::Disk)),
            (1_000, 1_999, 0, 0, None, Some(Short::Memory)),
            (1_000, 2_000, 5_000, 1, None, Some(Short::Memory)),
            (1_000, 2_000, 5_000, 0, None, None),
            // A margin of a twentieth for what held before, and only for that.
            (1_049, 2_000, 0, 0, Some(&disk), Some(Short::Disk)),
            (1_050, 2_000, 0, 0, Some(&disk), None),
            (1_049, 2_100, 0, 0, Some(&memory), None),
            (1_000, 2_099, 0, 0, Some(&memory), Some(Short::Memory)),
        ] {
            let hold = judge(&found(free, available, resident), SETTINGS, Some(5_000), running, before);
            assert_eq!(
                hold.map(|hold| hold.short),
                expected,
                "{free} {available} {resident} {running} {before:?}"
            );
        }
        assert_eq!(
            judge(&Look::default(), SETTINGS, Some(1), 1, None),
            None,
            "what nobody knows holds nothing"
        );
    }

    #[test]
    fn the_reason_names_the_place_and_the_remedy() {
        let hold = judge(&found(10, 9_999, 0), SETTINGS, None, 0, None).unwrap();
        assert_eq!(
            hold.reason,
            "no new task is started: the data directory has 10 B free, and 1000 B are wanted. Free space there, \
             or lower guards.min_free_disk"
        );
    }

    #[test]
    fn the_space_of_a_directory_that_is_not_there_yet_is_that_of_its_parent() {
        let missing = std::env::temp_dir().join("not-there").join("at-all");
        assert!(free_space(&missing).is_some_and(|free| free > 0));
        assert!(free_space(Path::new("relative/not-there")).is_some());
    }

    #[test]
    fn a_container_has_what_its_limit_leaves() {
        let group = std::env::temp_dir().join(format!("guards-test-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&group).unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(container_memory(&group), None);
        fs::write(group.join("memory.max"), "1000\n").unwrap();
        fs::write(group.join("memory.current"), "900\n").unwrap();
        fs::write(group.join("memory.stat"), "anon 500\ninactive_file 300\n").unwrap();
        assert_eq!(container_memory(&group), Some(400));
        fs::remove_dir_all(&group).ok();
    }

    #[test]
    fn this_machine_tells_its_memory() {
        assert!(available_memory().is_some_and(|bytes| bytes > 0));
        assert!(resident_memory().is_some_and(|bytes| bytes > 1 << 20));
    }

    /// Looks that have begun at the place that hangs, and whether they may end.
    static HANGING: (Mutex<(u32, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());

    fn hangs_at_one(path: &Path) -> Option<u64> {
        if path == Path::new("hangs") {
            let mut state = HANGING.0.lock().unwrap();
            state.0 += 1;
            drop(HANGING.1.wait_while(state, |(_, may_end)| !*may_end).unwrap());
        }
        Some(10)
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_costs_one_thread_and_disables_no_other_guard() {
        let places = ["hangs", "answers"].map(|name| (name.to_owned(), PathBuf::from(name))).to_vec();
        let settings = GuardSettings { min_free_disk: 0, min_available_memory: 0 };
        let guards = Guards::with_probe(places, None, settings, hangs_at_one);
        let running = Running::default();
        let look_until = async |done: &dyn Fn() -> bool| {
            let looks = async {
                while !done() {
                    guards.look(&running, Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), looks).await.expect("in time");
        };
        let is_short = |short| guards.hold().is_some_and(|hold| hold.short == short);
        let hung = || HANGING.0.lock().unwrap().0;
        look_until(&|| hung() == 1 && guards.free() == [("answers".to_owned(), 10)].into()).await;
        guards.set(GuardSettings { min_free_disk: 11, min_available_memory: 0 });
        look_until(&|| is_short(Short::Disk)).await;
        guards.set(GuardSettings { min_free_disk: 0, min_available_memory: u64::MAX });
        look_until(&|| is_short(Short::Memory)).await;
        assert_eq!(hung(), 1, "there is one look for as long as it takes");

        HANGING.0.lock().unwrap().1 = true;
        HANGING.1.notify_all();
        look_until(&|| guards.free().len() == 2).await;
    }

    #[tokio::test]
    async fn tasks_are_held_and_go_on_by_themselves() {
        let shutdown = Shutdown::new();
        let place = vec![("the disk".to_owned(), std::env::temp_dir())];
        let endless = GuardSettings { min_free_disk: u64::MAX / 2, min_available_memory: 0 };
        let guards = Guards::new(place, None, endless);
        guards.start(Arc::default(), &shutdown).await;
        assert_eq!(guards.hold().map(|hold| hold.short), Some(Short::Disk));
        assert!(guards.free()["the disk"] > 0);
        let mut follow = guards.follow();
        guards.set(GuardSettings { min_free_disk: 0, min_available_memory: 0 });
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, follow.wait_for(Option::is_none)).await.expect("in time").unwrap();
        shutdown.begin_drain();
        assert!(shutdown.finished(limit).await, "the guards end with the drain");
    }
}
