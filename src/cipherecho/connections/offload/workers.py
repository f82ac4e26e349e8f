"""Threads for what would hold up the event loop: a bounded number, shared out by time.

Trio's own are made for anything; a call through one costs half as much again as the whole
of answering a line.  These are made for many short jobs: the loop puts what is to be done
into a queue, and what came of it comes back by the loop's own.

A job is a connection's lines, one after the other, for some 50 ms.  Then its connection
goes to the back of the queue, which is fair by time (start-time fair queueing: Goyal, Vin and
Cheng, 1996): a connection's jobs are in it by the time that its earlier ones took, and
one that comes anew is next, as is one that has paused for as long as its lines took.  Who waits
moves up by a tenth of that time, so that those can't keep others waiting for ever.  As soon as
somebody else is due, a job ends with the line under way.

A line that takes longer than the coding time costs its connection, and the thread is written
off, as nobody can end it; another takes its place.
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

# For so long a job goes on with its connection's lines if nobody else is due: each job costs
# some 0.1 ms for the way there and back.
_JOB_SECONDS = 0.05

# And for so long if somebody is.
_SHORTEST_JOB_SECONDS = 0.002

# How often jobs under way are looked at. What was coded when a job was looked at before, and is
# not sent yet since the line after it takes its time, is sent: within 50 ms.
_SECONDS_BETWEEN_LOOKS = 0.025

# After so long without a job, there is no more looking.
_IDLE_SECONDS = 1.0

# When there is no memory to hand over what is done, a thread tries again after so long.
_RETRY_SECONDS = 0.01

# Who waits moves up in the queue by this share of the time.
_WAITING_SHARE = 0.1

# Threads that together keep about one processor busy are in each other's way: as a rule it is the
# interpreter's lock that they wait for, and so does the loop, each time for all of them. Then
# so many are at work at once, and one more for each whose line has been under way for long.
_ONE_PROCESSOR = 0.7, 1.4
_IN_EACH_OTHERS_WAY = 2
_LONG_SECONDS = 0.1

# How much what is known of that follows the newest job.
_NEWEST_SHARE = 0.1

# One source may have this share of the threads that can be written off.
_SOURCE_SHARE = 4


_Refusal: TypeAlias = tuple[Closed, str]


class _Connection(Protocol):
    """What is asked of a connection whose lines are to be coded."""

    session: Session
    worked_until: float  # in the time that the queue counts
    worked_at: float  # when that was found

    @property
    def peer(self) -> str: ...

    @property
    def source(self) -> Hashable: ...


class Job:
    """Lines of one connection that a worker thread answers.

    Args:
      connection: whose they are.
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
        """Whether there is no more to come than what can be taken now."""
        # What follows is for the workers alone. Of the loop's:
        self.start = 0.0  # from when on it is due, in the time that the queue counts
        self.wanted = True
        self.aged = False  # whether there was something to be sent at the last look
        self.seen = -1  # how many lines there were at the last look, and since when
        self.seen_since = 0.0
        self.source: Hashable = None  # whose thread was written off
        self.counted = False
        self.settled = False
        # And of the thread that has it, the first four under the lock:
        self.lock = threading.Lock()
        self.replies: list[bytes] = []
        self.lines = 0  # or pieces that were coded in one
        self.over = False
        self.written_off = False
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.dearest = (0.0, 1)  # seconds and weight of the line that was that
        self.failure: BaseException | None = None

    def take(self) -> bytes:
        """Return what is to be sent of what was coded since this was called last.

        Raises what must not be raised while lines are coded, if something was.
        """
        with self.lock:
            replies, self.replies = self.replies, []
        self.aged = False
        if self.failure is not None and self.finished:
            raise self.failure
        return b"".join(replies)

    async def news(self) -> bytes:
        """Return what :meth:`take` does, as soon as there is something or it has finished.

        Nothing is notified of any more then.
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
        """Say that nobody waits for it any more; the line under way is its last."""
        self.wanted = False

    def tell(self) -> None:
        """Tell whoever waits for it that there is something."""
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None
        elif self._notify is not None and self.wanted:
            notify, self._notify = self._notify, None
            notify(self)


class Workers:
    """Worker threads of one server.

    They are started when they are first needed, and end with :meth:`close`.  One that is
    still at work then, or when the process ends, is not waited for.

    There are `limits.max_workers` at the most, beside those that are written off, of which so
    many have another in their place.  After that there are fewer, and at last none: then what
    is submitted is refused, until one of them returns.  One source is refused when a
    quarter of `limits.max_workers` are written off for its lines.

    Args:
      limits: of these, `max_workers` and `coding_timeout`.
      detector: how quick the cipher is that they run.
      counters: where it is counted how many are written off.
    """

    def __init__(self, limits: Limits, detector: SlowCipherDetector, counters: Counters) -> None:
        self._most = limits.max_workers
        self._coding_timeout = limits.coding_timeout
        self._most_of_source = max(1, limits.max_workers // _SOURCE_SHARE)
        self._detector = detector
        self._counters = counters
        # What follows is the loop's alone.
        self._threads = 0  # that are not written off
        self._unfinished = 0  # jobs under way or waiting
        self._stuck: Counter[Hashable] = Counter()  # threads written off, by source
        self._is_watching = False
        self._processors = 0.0  # how many they keep busy together, of late
        self._long = 0  # lines that have been under way for long
        self._seldom = LogThrottle()
        self._closed = False  # threads read it
        # And what follows everybody's, under the lock.
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, int, Job]] = []  # a heap
        self._numbers = count()
        self._now = 0.0  # in the time that the queue counts: the start of what began last
        self._under_way: set[Job] = set()
        self._done: deque[Job] = deque()  # what the loop has to settle
        # One for each job that waits, for whichever thread is free. (A condition or a
        # semaphore of Python's would take several times as long.)
        self._tokens: SimpleQueue[None] = SimpleQueue()

    def submit(self, connection: _Connection, notify: Callable[[Job], None] | None = None) -> Job:
        """Have lines answered that wait in a connection's session, and return the job.

        Until the job has finished, nobody else may use the session.  The connection gets
        another one, which is closed, if a line takes too long.  If no thread can be had for it,
        the job has finished already, and the session is closed.

        Args:
          connection: whose lines they are.
          notify: called in the event loop, once, when there is something to take after this has
            returned; if it is not given, :meth:`Job.news` waits for that.
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
        """Have threads begin with jobs that wait, as many as may be under way."""
        given = self._tokens.qsize()
        missing = len(self._waiting) - given
        low, high = _ONE_PROCESSOR
        if low < self._processors < high:
            most = _IN_EACH_OTHERS_WAY + self._long
            missing = min(missing, most - len(self._under_way) - given)
        for _ in range(missing):
            self._tokens.put(None)

    def _refusal_of(self, connection: _Connection) -> _Refusal | None:
        """Return why a connection can't have a thread, if so."""
        if self._counters.no_worker_left:
            return Closed.NO_WORKER, (
                f"got a line when {self._counters.workers_written_off} before it still take their "
                "time, expected that a thread is left"
            )
        if self._stuck and (source := connection.source) is not None:
            stuck = self._stuck[source]
            if stuck >= self._most_of_source:
                return Closed.SOURCE_STUCK, (
                    f"got a line when {stuck} of your address still take more than "
                    f"{self._coding_timeout:g} s, expected at most {self._most_of_source}"
                )
        return None

    def _refuse(self, job: Job, reason: Closed, message: str) -> None:
        job.replies.append(job.session.close(message, reason))
        self._unfinished -= 1
        job.settled = job.finished = True

    # Threads

    def _start_thread(self) -> _Refusal | None:
        """Start a thread if there can be one more and there are jobs for it."""
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
            except BaseException:  # there is no memory for that
                sleep(_RETRY_SECONDS)
                continue
            if self._closed:
                return
            if job is None:
                continue
            try:
                self._do(job)
            except BaseException as raised:  # it is for whoever waits for it
                job.failure = raised
            with job.lock:
                job.over = True
            stays = not job.written_off
            if stays:
                with self._lock:
                    self._under_way.discard(job)
            if not self._hand_over(job, token):
                return
            del job  # what is not needed is not kept

    def _next_job(self) -> Job | None:
        """Return the job that is due next, when there is one; None if it went away meanwhile."""
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
        """Have the event loop settle a job; return whether there is still one."""
        handed_over = False
        while not handed_over:
            try:
                self._done.append(job)
                handed_over = True
            except BaseException:  # there is no memory; and a thread must not end without a word
                sleep(_RETRY_SECONDS)
        try:
            token.run_sync_soon(self._settle_all)
        except trio.RunFinishedError:
            return False
        except BaseException:  # noqa: S110 (whoever looks at jobs under way finds it)
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
                if now.waits == used.waits:  # a pause of the machine is not the cipher's
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
        """Return whether somebody waits who is due before the next line of a job."""
        with self._lock:
            return bool(self._waiting) and self._waiting[0][2].start < job.start + job.seconds

    # What came of it, in the event loop

    # What is raised in these would end the program. So what fails is done again at the next look,
    # and what must not be raised for a connection is left to its own boundary, by Job.take.

    def _settle_all(self) -> None:
        """See to all jobs that threads have done."""
        try:
            while self._done:
                job = self._done[0]
                if job.settled:
                    job.tell()
                elif job.written_off:
                    self._write_off(job)  # if that failed half way
                    self._count_back(job)
                else:
                    self._settle(job)
                self._done.popleft()
        except BaseException:  # noqa: S110 (done again at the next look)
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
        """Look at jobs under way as long as there are some, and a little longer."""
        idle = 0.0
        while idle < _IDLE_SECONDS and not self._closed:
            try:
                await trio.sleep(_SECONDS_BETWEEN_LOOKS)
                idle = 0 if self._unfinished else idle + _SECONDS_BETWEEN_LOOKS
                self._settle_all()
                self._look()
            except trio.Cancelled:
                raise
            except BaseException:  # noqa: S112 (done again)
                continue
        self._is_watching = False

    def _look(self) -> None:
        now = trio.current_time()
        with self._lock:
            under_way = list(self._under_way)
        long = 0
        for job in under_way:
            if job.written_off:
                self._write_off(job)  # which failed half way
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
        """Give up a job whose line takes too long, and the thread that has it."""
        with job.lock:
            if not job.written_off and (job.over or job.seen != job.lines):
                return  # it has just come to an end
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
        """Have a connection end whose line takes too long."""
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
        """Log that a thread is lost, and see to those who wait for one."""
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
                "with lines that take longer than %(seconds)g s, and its clients are refused",
                fields,
            )
        self._refuse_waiting()
        if self._waiting:
            self._start_thread()

    def _refuse_waiting(self) -> None:
        """Refuse those who wait for a thread and may not have one any more."""
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
        """Count a thread no more that was written off and has ended after all."""
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
