"""Places that commands write to: the one policy for what is there already, and for who else writes.

Nothing is written over in silence, and nothing is begun that cannot be written. One process at a
time has a place, by a lock beside it that the kernel releases when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.store import is_file, is_folder

FORCE = "--force replaces it"


@dataclass(frozen=True)
class Output:
    """What a command does with a place.

    folder    whether the place is a folder
    finished  patterns of what may not be there: '' is the place itself, others are within it.
              None for a command that goes on with what is there, or refuses it by itself
    replaced  patterns of what --force puts aside, so that the work begins anew
    said      what is there already, for the message
    hint      what to do besides --force
    made      whether the place is made; if not, one that is not there is left to the command
    ours      for a place that is a file or a folder: whether a folder is one that --force replaces
    """

    folder: bool = False
    finished: tuple[str, ...] = ("",)
    replaced: tuple[str, ...] = ()
    said: str = "there is a file already"
    hint: str = ""
    made: bool = True
    ours: Callable[[Path], bool] | None = None

    @contextmanager
    def claimed(self, path: Path, *, force: bool = False) -> Iterator[None]:
        """This process's own until it is left. Raises E301, E317, E318, before any work is done.

        Of a link, what it points to is claimed.
        """
        if not self.made and is_folder(path) != self.folder:
            yield
            return
        self._check_kind(path)
        place = Path(os.path.realpath(path))
        with ExitStack() as stack:
            stack.enter_context(_writable(place if self.folder else place.parent, path))
            stack.enter_context(_locked(place))
            if not force and any(_matches(place, self.finished)):
                hints = (self.hint, FORCE) if self.hint else (FORCE,)
                raise error("E317", self.said, *hints, path=str(path))
            if force:
                stack.enter_context(_aside(list(_matches(place, self.replaced))))
            yield

    def _check_kind(self, path: Path) -> None:
        try:
            os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            return
        except (OSError, ValueError) as reason:
            raise unwritable(path, reason) from reason
        if self.folder and not is_folder(path):
            raise error("E301", "nothing can be written there: it is not a folder", path=str(path))
        if self.ours is not None and is_folder(path):
            if not self.ours(path):
                message = "nothing is written over a folder that no export has made"
                raise error("E301", message, path=str(path))
        elif not self.folder and not is_file(path):
            raise error("E301", "nothing can be written there: it is not a file", path=str(path))


def unwritable(path: Path, reason: Exception) -> EmqError:
    """E301 in the words of the system."""
    said = (getattr(reason, "strerror", None) or str(reason)).lower()
    shown = str(path) if len(str(path)) < 200 else f"{str(path)[:200]}..."
    return error("E301", f"nothing can be written there: {said}", path=shown)


def _matches(path: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """What is there of some patterns."""
    for pattern in patterns:
        if pattern:
            yield from sorted(path.glob(pattern))
        elif is_file(path) or is_folder(path):
            yield path


@contextmanager
def _writable(folder: Path, path: Path) -> Iterator[None]:
    """Makes the folder and, for a moment, a file in it; folders that stay empty are removed."""
    probe = folder / f".{token_hex(8)}.part"
    made = [place for place in (folder, *folder.parents) if not is_folder(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as reason:
        raise unwritable(path, reason) from reason
    try:
        yield
    finally:
        with suppress(OSError):  # something is in it
            for place in made:
                place.rmdir()


@contextmanager
def _aside(paths: Sequence[Path]) -> Iterator[None]:
    """Puts files aside; they come back where nothing has taken their place."""
    moved = [(path, path.with_name(f".{path.name[:50]}.{token_hex(4)}.replaced")) for path in paths]
    for path, place in moved:
        path.replace(place)
    try:
        yield
    finally:
        for path, place in moved:
            if is_file(path):
                place.unlink()
            else:
                place.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock of a place. Raises E318, naming who has it."""
    lock = path.with_name(f".{path.name[:60]}.lock")
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as reason:
            holder = os.read(file, 100).decode(errors="replace") or "another process"
            os.close(file)
            help = "wait until it has ended, or end it"
            raise error("E318", f"{holder} writes there", help, path=str(path)) from reason
        except OSError:  # a file system without locks
            os.close(file)
            yield
            return
        if lock.exists() and os.fstat(file).st_ino == lock.stat().st_ino:
            break
        os.close(file)  # its holder has removed it since
    try:
        since = time.strftime("%H:%M:%S")
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()}, since {since},".encode())
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(file)
