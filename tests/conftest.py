"""Fixtures that several files share."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Emq, Result
from hypothesis import HealthCheck, settings
from spec import verify

from emqlang.cli import run
from emqlang.compiler import plan
from emqlang.compiler.plan import Plan

# The same examples in every run, on a machine as slow as you like; `make fuzz` draws fresh ones.
ANY_SPEED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("test", derandomize=True, **ANY_SPEED)
settings.register_profile("fuzz", print_blob=True, **ANY_SPEED)
settings.load_profile("test")  # pytest's own option --hypothesis-profile comes later, and wins


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow comes first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the user's directories alone, and in subprocesses find the installed package.

    The checkout's own `emqlang/` would shadow it there. A job that a shell runs in the background
    ignores Ctrl-C, and so would its subprocesses.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parent)
        for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
            patch.setenv(name, str(home / name.lower()))
        yield


@pytest.fixture(scope="session", autouse=True)
def _every_plan_is_verified() -> Iterator[None]:
    """Whatever a test plans is in planning form after the passes."""

    def verified(*parts: Any) -> Plan:
        made = Plan(*parts)
        verify(made)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "Plan", verified)
        yield


@pytest.fixture
def emq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emq:
    """Run one `emqlang` command in this process, with plain output and directories of its own."""
    for name in ("NO_COLOR", "FORCE_COLOR", "EMQLANG_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))

    def call(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            status = run(arguments)
        except SystemExit as exit:  # completion leaves this way
            assert isinstance(exit.code, int)
            status = exit.code
        return Result(status, *capsys.readouterr())

    return call
