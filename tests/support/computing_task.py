"""A task whose module imports torch, as those that compute do."""

from __future__ import annotations

import signal

import torch


def ignores_ctrl_c_on_one_thread(number: int) -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN and torch.get_num_threads() == 1
