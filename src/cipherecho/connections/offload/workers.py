"""Worker threads for lines that would block the event loop: a limited number, shared by time.

Trio's threads are made for any work; a call through one costs half as much again as answering a
whole line.  These threads are made for many short jobs: the event loop puts jobs into a queue, and
results come back through the loop's own queue.

A job codes lines of one connection, one after the other, for about 50 ms.  Then the connection goes
to the back of the queue, which is fair by time (start-time fair queueing: Goyal, Vin and Cheng,
1996).  The position of a job depends on the time that earlier jobs of its connection took.  A new
connection comes first, and so does one that has paused for as long as its lines took.  A waiting
job moves up by a tenth of the time that it waits, so that new connections can't keep it waiting for
ever.  As soon as another job is due, a running job ends after its current line.

A line that exceeds the coding timeout ends its connection.  Its thread can't be stopped, so it is
written off, and another thread takes its place.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from queue import SimpleQueue
from time import perf_counter, sleep
from typing import Protocol, TypeAlias

import trio

from cipherecho.connections.counters import Counters
from cipherecho.connections.log_throttle import LogThrottle
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector, usage
from cipherecho.session import Closed, Session
from cipherecho.settings.limits import Limits

__all__ = ["Job", "Workers"]

log = logging.getLogger("cipherecho")

# How long a job codes if no other job is due: passing a job to a thread and back costs about
# 0.1 ms.
_JOB_SECONDS = 0.05

# How long it codes if another job is due.
_SHORTEST_JOB_SECONDS = 0.002

# How often the loop looks at running jobs.  It sends replies that were ready at the previous look
# and are still held back by a slow line after them: each is sent within 50 ms.
_SECONDS_BETWEEN_LOOKS = 0.025

# After this long without a job, the loop stops looking.
_IDLE_SECONDS = 1.0

# A thread without memory to hand over its job tries again after this long.
_RETRY_SECONDS = 0.01

# A waiting job moves up in the queue by this share of its waiting time.
_WAITING_SHARE = 0.1

# Threads that together keep about one processor busy block each other: usually they wait for the
# interpreter's lock, and the event loop then waits for all of them each time.  In that case, only
# this many run at once, plus one for each line that has been running for long.
_ONE_PROCESSOR = 0.7, 1.4
_IN_EACH_OTHERS_WAY = 2
_LONG_SECONDS = 0.1

# The weight of the newest job in the moving mean of busy processors.
_NEWEST_SHARE = 0.1

# Lines of one source may write off this share of the threads: a quarter.
_SOURCE_SHARE = 4


_Refusal: TypeAlias = tuple[Closed, str]


class _Connection(Protocol):
    """The interface of a connection whose lines are to be coded."""

    session: Session
    worked_until: float  # in the queue's virtual time
    worked_at: float  # when that was set, by perf_counter

    @property
    def peer(self) -> str: ...

    @property
    def source(self) -> Hashable: ...


class Job:
    """Lines of one connection for a worker thread to answer.

    Args:
      connection: the connection.
      notify: as in :meth:`Workers.submit`.
    """

    __slots__ = (
        "_notify",
        "_task",
        "aged",
        "connection",
        "counted",
        "cpu_seconds",
        "dearest",
        "failure",
        "finished",
        "lines",
        "lock",
        "over",
        "replies",
        "seconds",
        "seen",
        "seen_since",
        "session",
        "settled",
        "source",
        "start",
        "wanted",
        "written_off",
    )

    def __init__(self, connection: _Connection, notify: Callable[[Job], None] | None) -> None:
        self.connection = connection
        self.session = connection.session
        self._notify = notify
        self._task: trio.lowlevel.Task | None = None
        self.finished = False
        """Whether :meth:`take` returns the last of the replies now."""
        # The rest is for `Workers` alone.  The event loop changes these:
        self.start = 0.0  # when it is due, in the queue's virtual time
        self.wanted = True
        self.aged = False  # whether replies were ready at the last look
        self.seen = -1  # how many lines were coded at the last look, ...
        self.seen_since = 0.0  # ... and since when
        self.source: Hashable = None  # the source whose line wrote off the thread
        self.counted = False
        self.settled = False
        # The thread that runs the job changes these, the first four under the lock:
        self.lock = threading.Lock()
        self.replies: list[bytes] = []
        self.lines = 0  # or calls, where one call codes many lines
        self.over = False
        self.written_off = False
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.dearest = (0.0, 1)  # seconds and weight of the line that was slowest for its weight
        self.failure: BaseException | None = None

    def take(self) -> bytes:
        """Return the replies that were coded since the last call.

        If coding failed with an internal error, this raises it once the job has finished.
        """
        with self.lock:
            replies, self.replies = self.replies, []
        self.aged = False
        if self.failure is not None and self.finished:
            raise self.failure
        return b"".join(replies)

    async def news(self) -> bytes:
        """Wait until replies are ready or the job has finished; return what :meth:`take` returns.

        After this, `notify` is never called.  Cancelling loses no reply.
        """
        self._notify = None
        if not (self.replies or self.finished):
            self._task = trio.lowlevel.current_task()
            try:
                await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)
            finally:
                self._task = None
        return self.take()

    def abandon(self) -> None:
        """Give up the job: nobody waits for it, and it ends after its current line."""
        self.wanted = False

    def tell(self) -> None:
        """Wake the task that waits for replies, or call `notify`."""
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None
        elif self._notify is not None and self.wanted:
            notify, self._notify = self._notify, None
            notify(self)


class Workers:
    """Worker threads of one server.

    A thread starts when it is first needed, and ends after :meth:`close`.  Neither `close` nor the
    end of the process waits for a thread that is still coding.

    At most `limits.max_workers` threads are usable at once.  The first `limits.max_workers` threads
    that are written off are replaced.  After that, fewer are left, and finally none: then every job
    is refused until a written-off thread returns.  A source is refused while a quarter of
    `limits.max_workers` is written off for its lines.

    Args:
      limits: `max_workers` and `coding_timeout` are used.
      detector: knows how quick the cipher is, and learns from each job.
      counters: counts the threads that are written off.
    """

    def __init__(self, limits: Limits, detector: SlowCipherDetector, counters: Counters) -> None:
        self._most = limits.max_workers
        self._coding_timeout = limits.coding_timeout
        self._most_of_source = max(1, limits.max_workers // _SOURCE_SHARE)
        self._detector = detector
        self._counters = counters
        # Only the event loop uses these.
        self._threads = 0  # those that are not written off
        self._unfinished = 0  # jobs that run or wait
        self._stuck: Counter[Hashable] = Counter()  # threads written off, by source
        self._is_watching = False
        self._processors = 0.0  # how many processors the threads keep busy, as a moving mean
        self._long = 0  # lines that have been running for long
        self._seldom = LogThrottle()
        self._closed = False  # threads read it
        # The loop and the threads use these, under the lock.
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, int, Job]] = []  # a heap
        self._numbers = count()
        self._now = 0.0  # the queue's virtual time: the start of the job that began last
        self._under_way: set[Job] = set()
        self._done: deque[Job] = deque()  # jobs for the loop to settle
        # One token for each job that may begin; a free thread takes it.  (Python's Condition and
        # Semaphore take several times as long.)
        self._tokens: SimpleQueue[None] = SimpleQueue()

    def submit(self, connection: _Connection, notify: Callable[[Job], None] | None = None) -> Job:
        """Start a job that answers the lines waiting in a connection's session; return the job.

        Until the job has finished, only the job may use the session.  If a line takes too long,
        the connection gets a new session, which is closed.  If no thread is available, the
        returned job has finished already, and the session is closed.

        Args:
          connection: the connection whose lines wait.
          notify: called once in the event loop, after this has returned, when the job has
            replies or has finished.  Without it, use :meth:`Job.news` to wait.
        """
        job = Job(connection, notify)
        if not self._is_watching:
            trio.lowlevel.spawn_system_task(self._watch)
            self._is_watching = True
        self._unfinished += 1
        try:
            refusal = self._refusal_of(connection) or self._start_thread()
            if refusal:
                self._refuse(job, *refusal)
                return job
            with self._lock:
                now = perf_counter()
                paused = now - connection.worked_at
                job.start = max(self._now, connection.worked_until - paused)
                due = job.start + _WAITING_SHARE * now
                heappush(self._waiting, (due, next(self._numbers), job))
            self._let_in()
        except BaseException:
            self._unfinished -= 1
            job.settled = True
            job.abandon()
            raise
        return job

    def close(self) -> None:
        """Let the threads end; nothing may be submitted any more."""
        self._closed = True
        for _ in range(self._threads):
            self._tokens.put(None)

    def _let_in(self) -> None:
        """Let threads begin waiting jobs, as many as may run at once."""
        given = self._tokens.qsize()
        missing = len(self._waiting) - given
        low, high = _ONE_PROCESSOR
        if low < self._processors < high:
            most = _IN_EACH_OTHERS_WAY + self._long
            missing = min(missing, most - len(self._under_way) - given)
        for _ in range(missing):
            self._tokens.put(None)

    def _refusal_of(self, connection: _Connection) -> _Refusal | None:
        """Return why a connection may not have a thread; None if it may."""
        if self._counters.no_worker_left:
            return Closed.NO_WORKER, (
                f"got a line while {self._counters.workers_written_off} earlier ones still block "
                "every worker thread, expected a free one"
            )
        if self._stuck and (source := connection.source) is not None:
            stuck = self._stuck[source]
            if stuck >= self._most_of_source:
                return Closed.SOURCE_STUCK, (
                    f"got a line while {stuck} from your address still take more than "
                    f"{self._coding_timeout:g} s, expected at most {self._most_of_source}"
                )
        return None

    def _refuse(self, job: Job, reason: Closed, message: str) -> None:
        job.replies.append(job.session.close(message, reason))
        self._unfinished -= 1
        job.settled = job.finished = True

    # Threads

    def _start_thread(self) -> _Refusal | None:
        """Start a thread if another one is allowed and there is a job for it."""
        left = 2 * self._most - self._counters.workers_written_off
        if self._threads >= min(self._unfinished, self._most, left):
            return None
        token = trio.lowlevel.current_trio_token()
        thread = threading.Thread(
            target=self._work, args=(token,), name="cipherecho worker", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as problem:  # the system allows no more
            if not self._threads:
                self._seldom.warn(
                    "can't start a worker thread: %(problem)s", {"problem": str(problem)}
                )
                return Closed.NO_WORKER, "the system has no thread for this line, expected one"
        else:
            self._threads += 1
        return None

    def _work(self, token: trio.lowlevel.TrioToken) -> None:
        stays = True
        while stays:
            try:
                job = self._next_job()
            except BaseException:  # there is no memory left
                sleep(_RETRY_SECONDS)
                continue
            if self._closed:
                return
            if job is None:
                continue
            try:
                self._do(job)
            except BaseException as raised:  # `Job.take` raises it to the waiting driver
                job.failure = raised
            with job.lock:
                job.over = True
            stays = not job.written_off
            if stays:
                with self._lock:
                    self._under_way.discard(job)
            if not self._hand_over(job, token):
                return
            del job  # free it before the thread waits for the next one

    def _next_job(self) -> Job | None:
        """Wait for a job that may begin, and return it; None if it was refused meanwhile."""
        self._tokens.get()
        with self._lock:
            while self._waiting:
                _, _, job = self._waiting[0]
                if not job.settled:
                    self._under_way.add(job)
                    self._now = max(self._now, job.start)
                heappop(self._waiting)
                if not job.settled:
                    return job
        return None

    def _hand_over(self, job: Job, token: trio.lowlevel.TrioToken) -> bool:
        """Pass a job to the event loop to settle; return whether the loop still runs."""
        handed_over = False
        while not handed_over:
            try:
                self._done.append(job)
                handed_over = True
            except BaseException:  # no memory left; the loop must still learn that the job is done
                sleep(_RETRY_SECONDS)
        try:
            token.run_sync_soon(self._settle_all)
        except trio.RunFinishedError:
            return False
        except BaseException:  # noqa: S110 (the next look settles it)
            pass
        return True

    def _do(self, job: Job) -> None:
        """Answer a job's lines one after the other."""
        used = usage()
        try:
            self._answer_lines(job)
        finally:
            if used and (now := usage()):
                job.cpu_seconds = now.seconds - used.seconds
                if now.waits == used.waits:  # don't blame the cipher for a pause of the machine
                    seconds, weight = job.dearest
                    job.dearest = min(seconds, job.cpu_seconds), weight

    def _answer_lines(self, job: Job) -> None:
        session, piece = job.session, self._detector.piece()
        begin = before = perf_counter()
        while True:
            weight = session.weight
            reply = session.answer_next(piece)
            now = perf_counter()
            with job.lock:
                if job.written_off:
                    return
                job.replies.append(reply)
                job.lines += 1
            seconds, weight = now - before, session.weight - weight
            if seconds * job.dearest[1] > job.dearest[0] * weight:
                job.dearest = seconds, weight
            before, job.seconds = now, now - begin
            if not (session.has_more and job.wanted) or self._closed:
                return
            if job.seconds >= _JOB_SECONDS:
                return
            if job.seconds >= _SHORTEST_JOB_SECONDS and self._is_due_before(job):
                return

    def _is_due_before(self, job: Job) -> bool:
        """Return whether a waiting job is due before the next line of `job`."""
        with self._lock:
            return bool(self._waiting) and self._waiting[0][2].start < job.start + job.seconds

    # Results, in the event loop

    # An exception in these methods would end the program.  So a failed step is repeated at the
    # next look, and a connection's internal error goes to its own error boundary, by Job.take.

    def _settle_all(self) -> None:
        """Settle all jobs that threads have handed over."""
        try:
            while self._done:
                job = self._done[0]
                if job.settled:
                    job.tell()
                elif job.written_off:
                    self._write_off(job)  # in case that failed halfway before
                    self._count_back(job)
                else:
                    self._settle(job)
                self._done.popleft()
        except BaseException:  # noqa: S110 (the next look repeats it)
            pass

    def _settle(self, job: Job) -> None:
        seconds, weight = job.dearest
        if seconds > 0:
            self._detector.learn(seconds, weight)
        if job.seconds > 0:
            processors = job.cpu_seconds / job.seconds * (len(self._under_way) + 1)
            self._processors += _NEWEST_SHARE * (processors - self._processors)
        job.connection.worked_until = job.start + job.seconds
        job.connection.worked_at = perf_counter()
        self._unfinished -= 1
        job.settled = job.finished = True
        job.tell()
        if self._waiting:
            self._let_in()

    async def _watch(self) -> None:
        """Look at running jobs regularly, until there have been none for a while."""
        idle = 0.0
        while idle < _IDLE_SECONDS and not self._closed:
            try:
                await trio.sleep(_SECONDS_BETWEEN_LOOKS)
                idle = 0 if self._unfinished else idle + _SECONDS_BETWEEN_LOOKS
                self._settle_all()
                self._look()
            except trio.Cancelled:
                raise
            except BaseException:  # noqa: S112 (the next look repeats it)
                continue
        self._is_watching = False

    def _look(self) -> None:
        now = trio.current_time()
        with self._lock:
            under_way = list(self._under_way)
        long = 0
        for job in under_way:
            if job.written_off:
                self._write_off(job)  # that failed halfway before
                continue
            if job.seen != job.lines:
                job.seen, job.seen_since = job.lines, now
            elif now - job.seen_since >= self._coding_timeout:
                self._write_off(job)
                continue
            long += now - job.seen_since >= _LONG_SECONDS
            if job.aged:
                job.tell()
            job.aged = bool(job.replies)
        self._long = long
        if self._waiting:
            self._let_in()

    def _write_off(self, job: Job) -> None:
        """Give up a job whose line takes too long, and the thread that runs it."""
        with job.lock:
            if not job.written_off and (job.over or job.seen != job.lines):
                return  # the line has just ended
            job.written_off = True
        if not job.counted:
            counters = self._counters
            threads, unfinished = self._threads - 1, self._unfinished - 1
            counters.workers_written_off, self._threads = counters.workers_written_off + 1, threads
            self._unfinished = unfinished
            job.counted = True
            self._end_connection(job)
        job.finished = True
        job.tell()
        with self._lock:
            self._under_way.discard(job)

    def _end_connection(self, job: Job) -> None:
        """Close the session of a connection whose line takes too long."""
        connection = job.connection
        try:
            connection.session, last_words = job.session.given_up(
                f"took longer than {self._coding_timeout:g} s to code, expected less"
            )
            job.replies.append(last_words)
            job.source = connection.source
            self._stuck[job.source] += 1
            self._tell_of_loss(connection.peer)
        except BaseException as fault:
            job.failure = fault

    def _tell_of_loss(self, peer: str) -> None:
        """Log that a thread is written off; refuse waiting jobs that may have no thread now."""
        fields = {
            "cipher": self._detector.name,
            "seconds": self._coding_timeout,
            "peer": peer,
            "written_off": self._counters.workers_written_off,
        }
        self._seldom.warn(
            "a line took longer than %(seconds)g s, and its worker thread is written off: "
            "cipher=%(cipher)s peer=%(peer)s written_off=%(written_off)d",
            fields,
        )
        if self._counters.workers_written_off >= 2 * self._most:
            self._counters.no_worker_left = True
            log.error(
                "no worker thread is left for the cipher %(cipher)s: %(written_off)d are busy "
                "with lines that take longer than %(seconds)g s; new lines are refused",
                fields,
            )
        self._refuse_waiting()
        if self._waiting:
            self._start_thread()

    def _refuse_waiting(self) -> None:
        """Refuse the waiting jobs that may not have a thread any more."""
        with self._lock:
            refused = {
                job: refusal
                for _, _, job in self._waiting
                if (refusal := self._refusal_of(job.connection))
            }
            self._waiting = [entry for entry in self._waiting if entry[2] not in refused]
            heapify(self._waiting)
        for job, refusal in refused.items():
            self._refuse(job, *refusal)
            job.tell()

    def _count_back(self, job: Job) -> None:
        """Stop counting a written-off thread that has ended after all."""
        self._counters.workers_written_off -= 1
        job.settled = True
        self._stuck[job.source] -= 1
        if self._stuck[job.source] <= 0:
            del self._stuck[job.source]
        if self._counters.no_worker_left:
            self._counters.no_worker_left = False
            log.warning(
                "there are worker threads again for the cipher %(cipher)s",
                {"cipher": self._detector.name},
            )
        if self._waiting:
            self._start_thread()
