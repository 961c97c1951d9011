"""What a table says of itself: all that is needed to build it again, and to know what it is of."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.network import Network
from emqlang.quant.tables.spec import Spec


def facts_of(network: Network, spec: Spec, menu: Sequence[Choice], command: str) -> dict[str, Any]:
    """What is known of every table, whether it was built or imported."""
    layers = network.collection.layers
    return {
        "spec": spec.as_dict(),
        "model": {
            "name": network.name,
            "weights": network.weights,
            "weights_sha256": network.weights_sha256,
        },
        "groups": [
            {"name": g.name, "layers": [layers[i].name for i in g.layers]}
            for g in network.collection.groups
        ],
        "menu": [str(choice) for choice in menu],
        "versions": {name: version(name) for name in ("emqlang", "torch", "numpy")},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "kernels": torch.backends.cpu.get_cpu_capability(),
        },
        "command": command,
    }
