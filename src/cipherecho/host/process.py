"""Runs the server as a process of its own: it obeys signals and returns an exit status."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from cipherecho.cipher import Cipher
from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters
from cipherecho.host.memory import raise_mmap_threshold
from cipherecho.host.plan import Plan
from cipherecho.host.sandbox.companion import companions
from cipherecho.host.sandbox.confinement import confine, confine_loading
from cipherecho.host.sandbox.reader import reader
from cipherecho.host.signals import Signals
from cipherecho.network.certificates import Certificates, PemFiles, TlsError
from cipherecho.network.listeners import ListeningSocket, open_listeners
from cipherecho.printable import safe_text
from cipherecho.server.capacity import Capacity
from cipherecho.server.serving import serve
from cipherecho.service_manager.notifications import ServiceManager
from cipherecho.settings.endpoint import Endpoint
from cipherecho.settings.file_contents import Contents
from cipherecho.settings.process import ProcessSettings, Sandbox

__all__ = ["Callbacks", "ciphers_in_sandbox", "run"]

log = logging.getLogger("cipherecho")

# A worker thread that runs pure Python keeps the interpreter's lock until another thread has
# waited for it this long, and the event loop waits again for each receive and send.  With Python's
# default, 5 ms, one such thread delays other clients by 16 ms (median); with this value, by 1 ms.
_SWITCH_INTERVAL_SECONDS = 0.0002


# When a terminal closes, the kernel sends SIGHUP some microseconds before the process loses the
# terminal, and a terminal's window may send one itself before it closes.
_TERMINAL_SECONDS = 2.0


@dataclass(frozen=True)
class Callbacks:
    """Functions of the calling program that the process calls."""

    announce: Callable[[str, Endpoint], None] = lambda what, endpoint: None
    """Called with "listening" and each endpoint, once clients can connect to all of them; called
    with "metrics" and the endpoint of the metrics."""
    threads_paused: Callable[[], AbstractContextManager[None]] = nullcontext
    """Returns a context in which the program has no threads of its own.  The process enters it to
    set up the sandbox, which holds for threads that start later, not for earlier ones."""
    records_lost: Callable[[], int] = lambda: 0
    """Returns how many log records were lost, for the metrics."""
    look_again: Callable[[], None] = lambda: None
    """Called in a thread at each reload, so that the program can check its own files."""


def run(plan: Plan, settings: ProcessSettings, callbacks: Callbacks, signals: Signals) -> int:
    """Serve all listeners of `plan` until a signal ends the process; return the exit status.

    The first SIGTERM or SIGINT shuts the server down gracefully, with status 0.  A second one ends
    the process at once, with 128 plus the signal's number.  SIGHUP reloads the certificates; if
    it came because the terminal of the process was closed, it shuts the server down like SIGTERM.

    The caller handles `signals` already.  They are passed to the server as soon as the listeners
    are open, the process is in its sandbox and the ciphers are made.

    Raises:
      ListenError: the system refuses one of the endpoints; none is announced then.
      SandboxError: the sandbox is required, and the system can't provide all of it.
      VariableError: an environment variable from a service manager is malformed.
      Exception: any error that ``plan.ciphers`` raises.
    """
    raise_mmap_threshold()
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    with ServiceManager() as manager:
        return trio.run(_Process(plan, settings, callbacks, signals, manager).run)


def ciphers_in_sandbox(plan: Plan, sandbox: Sandbox) -> Sequence[Cipher]:
    """Confine this process for good, then make the ciphers and return them.

    Raises:
      SandboxError: the sandbox is required, and the system can't provide all of it.
      Exception: any error that ``plan.ciphers`` raises.
    """
    with companions(plan.loading.companions):
        trio.run(confine_loading, sandbox, plan.loading)
        return plan.ciphers()


class _Process:
    """The state that the tasks of the process share."""

    def __init__(
        self,
        plan: Plan,
        settings: ProcessSettings,
        callbacks: Callbacks,
        signals: Signals,
        manager: ServiceManager,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._callbacks = callbacks
        self._signals = signals
        self._manager = manager
        self._certificates: Sequence[Certificates | None] = [
            None if one.tls is None else plan.certificates[one.tls] for one in plan.listeners
        ]
        self._buffers = Buffers(settings.max_buffered)
        # Reads a file from outside the sandbox; None without a sandbox.
        self._read: Callable[[Path], Contents] | None = None
        self._ready = False
        # Set by signals.
        self._stop_asked = trio.Event()
        self._stop_at_once_asked = trio.Event()
        self._reload_asked = trio.Event()
        self._status = 0
        self._shutdown = trio.Event()
        # The endpoints and the counters of each listener.
        self._all_counters: list[tuple[list[Endpoint], Counters]] = []

    async def run(self) -> int:
        self._warn_of_public_keys()
        async with AsyncExitStack() as stack:

            async def opened(
                endpoints: Sequence[Endpoint], certificates: Certificates | None = None
            ) -> list[ListeningSocket]:
                listeners = open_listeners(endpoints, certificates)
                return await stack.enter_async_context(listeners)

            entrances = [
                await opened(listener.endpoints, certificates)
                for listener, certificates in zip(
                    self._plan.listeners, self._certificates, strict=True
                )
            ]
            watching = await opened([self._settings.metrics] if self._settings.metrics else [])
            ciphers = await self._ciphers(stack)
            # Not earlier: loading a plugin may take long, and a signal should end the process then.
            self._heed_signals()
            async with trio.open_nursery() as nursery:
                endpoints = await nursery.start(
                    self._serve, entrances, ciphers, nursery.cancel_scope
                )
                if watching:
                    await self._watch(nursery, watching)
                nursery.start_soon(self._manager.feed_watchdog)
                for endpoint in endpoints:
                    self._callbacks.announce("listening", endpoint)
                self._ready = True
                self._manager.ready()
                nursery.start_soon(self._reload_when_asked)
                await self._until_stopped_at_once()
                nursery.cancel_scope.cancel()
        return self._status

    def _heed_signals(self) -> None:
        token = trio.lowlevel.current_trio_token()

        def in_loop(work: Callable[..., None], *arguments: int) -> None:
            with suppress(trio.RunFinishedError):  # the process is ending
                token.run_sync_soon(work, *arguments)

        def stop_at_once(number: int) -> None:
            self._status = 128 + number
            self._stop_at_once_asked.set()

        self._signals.serve(
            stop=partial(in_loop, self._stop_asked.set),
            stop_at_once=partial(in_loop, stop_at_once),
            hang_up=partial(in_loop, lambda: self._reload_asked.set()),
        )

    async def _ciphers(self, stack: AsyncExitStack) -> Sequence[Cipher]:
        """Make the ciphers in a sandbox, then reduce it to what serving needs; return them.

        A process outside the sandbox reads files again for reloads, until `stack` closes.
        """
        if self._settings.sandbox is Sandbox.OFF:
            return self._plan.ciphers()
        if self._settings.metrics:
            # Import this now: the sandbox allows modules later, but not all system libraries.
            import cipherecho.host.monitoring  # noqa: F401
        if renewable := list(self._renewable()):
            self._read = stack.enter_context(reader(renewable)).read
        with companions(self._plan.loading.companions):
            with self._callbacks.threads_paused():
                await confine_loading(self._settings.sandbox, self._plan.loading)
            ciphers = self._plan.ciphers()
        with self._callbacks.threads_paused():
            await confine(self._settings.sandbox, again=True)
        return ciphers

    def _renewable(self) -> Iterator[Path]:
        """Yield the files that a reload reads again."""
        for certificates in self._certificates:
            if certificates is not None:
                yield from certificates.lasting

    async def _serve(
        self,
        entrances: Sequence[Sequence[ListeningSocket]],
        ciphers: Sequence[Cipher],
        everything: trio.CancelScope,
        task_status: trio.TaskStatus[list[Endpoint]],
    ) -> None:
        """Run all listeners; when they have shut down, cancel everything else."""
        endpoints: list[Endpoint] = []
        capacity = Capacity(
            [listener.limits.max_connections for listener in self._plan.listeners], raise_limit=True
        )
        async with trio.open_nursery() as serving:
            for listener, cipher, sockets in zip(
                self._plan.listeners, ciphers, entrances, strict=True
            ):
                counters = Counters()
                theirs = await serving.start(
                    partial(
                        serve,
                        sockets,
                        cipher,
                        listener.limits,
                        reply=listener.reply,
                        reset=listener.reset,
                        proxies=listener.proxies,
                        express=self._settings.express,
                        log_empty=listener.log_empty,
                        counters=counters,
                        buffers=self._buffers,
                        capacity=capacity,
                        shutdown=self._shutdown,
                    )
                )
                self._all_counters.append((theirs, counters))
                endpoints += theirs
            task_status.started(endpoints)
        everything.cancel()

    async def _watch(self, nursery: trio.Nursery, listeners: Sequence[ListeningSocket]) -> None:
        """Start to serve metrics and probes."""
        from cipherecho.host.metrics import Watched
        from cipherecho.host.monitoring import serve_metrics

        watched = {
            " ".join(map(str, endpoints)): Watched(
                counters, certificates.expires if certificates else None
            )
            for certificates, (endpoints, counters) in zip(
                self._certificates, self._all_counters, strict=True
            )
        }
        serving = partial(
            serve_metrics,
            listeners,
            watched,
            ready=lambda: self._ready,
            records_lost=self._callbacks.records_lost,
            buffers=self._buffers,
        )
        for endpoint in await nursery.start(serving):
            self._callbacks.announce("metrics", endpoint)

    async def _until_stopped_at_once(self) -> None:
        """Shut down gracefully at the first signal; return at the second."""
        await self._stop_asked.wait()
        self._ready = False
        self._manager.stopping()
        with trio.move_on_after(self._settings.drain_delay):
            await self._stop_at_once_asked.wait()
        self._shutdown.set()
        await self._stop_at_once_asked.wait()

    async def _reload_when_asked(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._reload_asked.wait()
                self._reload_asked = trio.Event()
                if not self._signals.terminal_is_gone():
                    await self._reload()
                nursery.start_soon(self._stop_without_terminal)

    async def _stop_without_terminal(self) -> None:
        """Shut down gracefully if the terminal was closed, which sent the SIGHUP."""
        with trio.move_on_after(_TERMINAL_SECONDS):
            while not self._signals.terminal_is_gone():
                await trio.sleep(_TERMINAL_SECONDS / 10)
            log.info("the terminal was closed")
            self._stop_asked.set()

    async def _reload(self) -> None:
        """Reload the certificates; if anything fails, keep those in use."""
        try:
            self._manager.reloading()
            try:
                await self._load_again()
            finally:
                self._manager.ready()
        except Exception as error:
            log.error(
                "the reload failed, and the certificates in use are kept: %(problem)s",
                {"problem": safe_text(error)},
                exc_info=True,
            )

    async def _load_again(self) -> None:
        certified = [one for one in self._certificates if one is not None]
        log.info("reloading: certificates=%(certificates)d", {"certificates": len(certified)})
        pipes = {path: one for each in certified for path, one in each.pipes.items()}
        for path in pipes:
            log.warning(
                "%(path)s can't be read again, so its contents are kept: to renew them, restart "
                "the server",
                {"path": str(path)},
            )
        files = PemFiles(pipes, self._read)
        problems: dict[str, None] = {}  # each once, and in order
        loaded = 0
        for certificates in certified:
            try:
                # If the process ends meanwhile, it leaves the thread behind.
                await trio.to_thread.run_sync(
                    partial(certificates.reload, files), abandon_on_cancel=True
                )
                loaded += 1
            except TlsError as error:
                problems[str(error)] = None
        for problem in problems:
            log.error("the certificates in use are kept: %(problem)s", {"problem": problem})
        if loaded:
            log.info("certificates reloaded: new connections use them")
        await trio.to_thread.run_sync(self._callbacks.look_again, abandon_on_cancel=True)
        self._warn_of_public_keys()

    def _warn_of_public_keys(self) -> None:
        found = {one.public_key_file for one in self._certificates if one is not None}
        for path in sorted(filter(None, found)):
            log.warning(
                "every user of this machine can read the TLS key in %(path)s: run chmod o= on it",
                {"path": str(path)},
            )
