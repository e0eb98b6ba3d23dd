"""The number of threads follows what other programs leave; the clock is simulated."""

from dataclasses import dataclass, field

from rhobeta.utils.adaptive import AdaptiveThreads


@dataclass
class Machine:
    """Steps take `of_one` seconds / threads, but many times that where a thread has no core."""

    cores: int
    busy: int = 0
    of_one: float = 0.002
    now: float = 0.0
    threads: int = 0
    set_to: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.threads = self.cores

    def use(self, threads):
        self.threads = threads
        self.set_to.append(threads)

    def train(self, adaptive, steps):
        """Seconds of so many steps."""
        started = self.now
        for _ in range(steps):
            waits = self.threads > max(1, self.cores - self.busy)
            self.now += self.of_one / self.threads * (20 if waits else 1)
            adaptive.step(256)
        return self.now - started

    def adaptive(self):
        return AdaptiveThreads(self.cores, self.use, lambda: self.now)


def test_quiet_machine_uses_all_cores_almost_always():
    machine = Machine(cores=2)
    seconds = machine.train(machine.adaptive(), 5000)
    assert seconds < 1.03 * 5000 * 0.001
    assert machine.threads == 2


def test_busy_core_is_left_alone_and_used_again_later():
    machine = Machine(cores=2)
    adaptive = machine.adaptive()
    machine.train(adaptive, 2000)
    machine.busy = 1
    assert machine.train(adaptive, 3000) < 1.1 * 3000 * 0.002
    machine.busy = 0
    machine.train(adaptive, 3000)
    assert machine.train(adaptive, 2000) < 1.03 * 2000 * 0.001


def test_training_that_starts_on_a_busy_machine_does_not_wait():
    machine = Machine(cores=2, busy=1)
    assert machine.train(machine.adaptive(), 3000) < 1.1 * 3000 * 0.002


def test_as_many_threads_as_there_are_free_cores():
    machine = Machine(cores=8, busy=3)
    adaptive = machine.adaptive()
    machine.train(adaptive, 3000)
    assert machine.train(adaptive, 3000) < 1.1 * 3000 * 0.002 / 5


def test_time_between_chunks_does_not_count():
    machine = Machine(cores=2)
    adaptive = machine.adaptive()
    machine.train(adaptive, 1000)
    before = len(machine.set_to)
    machine.now += 100
    adaptive.resume()
    machine.train(adaptive, 10)
    assert len(machine.set_to) == before
