"""The faults of a soak, one at a time, chosen by a seed. All of them run in the main thread: what it
starts ends with it."""

import collections
import os
import random
import signal
import time

FREE_AT_LEAST = 1 << 16


class Faults:
    """Injects faults until its time is up, and keeps count."""

    def __init__(self, seed, agent, database, network, store, disks, watch):
        self.counts = collections.Counter()
        self.exit_codes = collections.Counter()
        self._random = random.Random(seed)
        self._agent, self._database, self._network, self._store = agent, database, network, store
        self._disks = disks
        self._watch = watch
        self._kinds = {
            "kill -9 of the agent": self._kill,
            "stop of the agent": self._stop,
            "database restarted": self._restart_database,
            "store fails": self._trouble_store,
            "slow network": self._slow_network,
            "connections cut": self._cut_network,
        }
        for name in disks:
            self._kinds[f"disk full: {name}"] = lambda name=name: self._fill(name)

    def run(self, until, without_restarts=False):
        """Every kind comes before one comes again, in an order by the seed, and with restarts at least once."""
        names = []
        while time.monotonic() < until or (not without_restarts and self.missing()):
            self._pause(self._random.uniform(1.0, 5.0))
            if not names:
                names = sorted(self._kinds)
                self._random.shuffle(names)
            name = names.pop()
            if without_restarts and name.endswith("the agent"):
                continue
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
            self._kinds[name]()
            self.counts[name] += 1

    def missing(self):
        """Kinds that have not been injected at all."""
        return sorted(name for name in self._kinds if not self.counts[name])

    def _pause(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._watch()
            time.sleep(min(0.5, left))

    def _kill(self):
        self._agent.kill()
        self._agent.start()
        self._agent.wait_until_live()

    def _stop(self):
        self.exit_codes[self._agent.terminate()] += 1
        self._agent.start()
        self._agent.wait_until_live()

    def _restart_database(self):
        self._database.stop(self._random.choice([signal.SIGINT, signal.SIGQUIT]))
        self._pause(self._random.uniform(0.0, 3.0))
        self._database.start()

    def _trouble_store(self):
        self._store.trouble = self._random.choice([0.1, 0.3, 1.0])
        self._pause(self._random.uniform(3.0, 12.0))
        self._store.trouble = 0.0
        # What is held comes through before the agent can be killed: the store would carry out the wish of a
        # dead agent later, and nobody would know of it.
        self._pause(self._store.HOLD_SECONDS + 1.0)

    def _slow_network(self):
        self._network.rate = self._random.choice([20_000, 200_000, 1_000_000])
        self._pause(self._random.uniform(3.0, 12.0))
        self._network.rate = None

    def _cut_network(self):
        self._network.cut()
        if self._random.random() < 0.5:
            self._network.refusing = True
            self._pause(self._random.uniform(0.5, 3.0))
            self._network.refusing = False

    def _fill(self, name):
        """Takes all room of a small file system, for longer than an outcome is tried at first."""
        ballast = os.path.join(self._disks[name], "ballast")
        end = time.monotonic() + self._random.choice([3.0, 10.0, 35.0])
        with open(ballast, "wb") as file:
            # What tasks free meanwhile is taken, too.
            while time.monotonic() < end:
                free = os.statvfs(self._disks[name])
                free = free.f_bavail * free.f_frsize
                try:
                    if free:
                        os.write(file.fileno(), bytes(max(free, FREE_AT_LEAST)))
                except OSError:
                    pass
                self._pause(0.2)
        os.remove(ballast)
