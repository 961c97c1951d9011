"""Where independent tasks run: in this process, in others, or on a dask or ray cluster."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from emqlang.grammar.diagnostics import error

DEATHS = 3  # tolerated deaths of workers in a row, without a finished task in between


@dataclass(frozen=True)
class Workers:
    """`count` tasks at a time. Which worker runs a task, and in which order, changes no result.

    backend  'local' processes, or the cluster that DASK_SCHEDULER_ADDRESS or RAY_ADDRESS names
    """

    count: int = 1
    backend: str = "local"

    def run(self, task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """The results as they come. A task whose worker dies is run again.

        Raises what a task raises, E403 for an unreachable cluster, E503 if workers keep dying.
        """
        if self.count == 1 and self.backend == "local":
            return (task(*each) for each in arguments)
        return self._spread(task, arguments)

    def _spread(
        self, task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any]:
        from joblib import parallel_config
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        left, deaths = dict(enumerate(arguments)), 0
        with ExitStack() as stack:
            stack.enter_context(parallel_config(BACKENDS[self.backend](stack), n_jobs=self.count))
            while left:
                try:
                    for place, result in _results(self.backend, task, dict(left), 2 * self.count):
                        del left[place]
                        deaths = 0
                        yield result
                except TerminatedWorkerError as reason:
                    deaths += 1
                    if deaths == DEATHS:
                        message = f"{DEATHS} workers in a row died without finishing a task"
                        help = "is there enough memory? try fewer --workers"
                        raise error("E503", message, help) from reason


def _results(
    backend: str, task: Callable[..., Any], arguments: Mapping[int, tuple[Any, ...]], ahead: int
) -> Iterator[Any]:
    from joblib import Parallel, delayed

    parent = Parent(os.getpid(), threading.current_thread() is threading.main_thread())
    calls = [delayed(_run)(parent, place, task, each) for place, each in arguments.items()]
    if backend == "ray":  # which returns whole lists of results
        for start in range(0, len(calls), ahead):
            yield from Parallel()(calls[start : start + ahead])
        return
    yield from Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=ahead)(calls)


@dataclass(frozen=True)
class Parent:
    """The process that has workers, and whether the thread that made them lives as long as it."""

    process: int
    on_main_thread: bool

    def bind(self) -> None:
        """Ends this process, a worker on its parent's machine, soon after the parent."""
        if os.getppid() != self.process or _BOUND:  # a cluster's own worker
            return
        _BOUND.append(self.process)
        if self.on_main_thread and sys.platform == "linux":
            with suppress(OSError, AttributeError):
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        threading.Thread(target=self._watch, daemon=True).start()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # or what reads the parent's output would wait for the worker
            os.dup2(nowhere, stream)

    def _watch(self) -> None:
        while os.getppid() == self.process:
            time.sleep(WATCH)
        os.kill(os.getpid(), signal.SIGKILL)


PR_SET_PDEATHSIG = 1  # of linux/prctl.h
WATCH = 0.5  # seconds between two looks at the parent
_BOUND: list[int] = []


def _run(
    parent: Parent, place: int, task: Callable[..., Any], arguments: Iterable[Any]
) -> tuple[int, Any]:
    """A task in another process: on one thread, ignoring Ctrl-C, which the parent handles."""
    if os.getpid() != parent.process:
        parent.bind()
        from joblib.externals.loky import process_executor

        if "torch" in sys.modules:  # which the task's module has imported if it computes
            sys.modules["torch"].set_num_threads(1)
        # What a task keeps for the next one is not a leak.
        process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
    return place, task(*arguments)


def _dask(stack: ExitStack) -> str:
    with _cluster("dask", "distributed", "DASK_SCHEDULER_ADDRESS") as address:
        from distributed import Client

        stack.enter_context(Client(address))
    return "dask"


def _ray(stack: ExitStack) -> str:
    with _cluster("ray", "ray", "RAY_ADDRESS") as address:
        import ray
        from ray.util.joblib import register_ray

        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            stack.callback(ray.shutdown)
        register_ray()
    return "ray"


@contextmanager
def _cluster(name: str, package: str, variable: str) -> Iterator[str]:
    """The address of a cluster. Raises E403 for what goes wrong on the way to it."""
    if not (address := os.environ.get(variable, "")):
        help = f"put its address into {variable}, or leave --backend out"
        raise error("E403", f"no {name} cluster is named", help)
    try:
        yield address
    except ImportError as reason:
        raise error("E403", f"{name} is not installed", f"pip install '{package}'") from reason
    except (OSError, RuntimeError) as reason:
        message = f"the {name} cluster does not answer: {reason}"
        raise error("E403", message, f"is {variable} right?") from reason


BACKENDS: Final[Mapping[str, Callable[[ExitStack], str]]] = {
    "local": lambda stack: "loky",
    "dask": _dask,
    "ray": _ray,
}
