"""What was exported: where it lies, what it holds, and how it was verified."""

from __future__ import annotations

from typing import Any, Final

from emqlang.quant.export.subject import by_reason
from emqlang.tasks.export import Exported
from emqlang.views import render
from emqlang.views.eval import network
from emqlang.views.render import View


def screen(exported: Exported) -> None:
    export = exported.export
    if exported.network is not None:
        network(exported.network)
    verified = export.verified or (f"no: {export.unverified}",) * bool(export.unverified)
    render.fields(
        [
            ("from", str(exported.source)),
            ("weights rounded", exported.rounded),
            ("written to", f"{exported.path}, {exported.size:,} bytes"),
            ("held", "\n".join(export.held)),
            ("left out", "\n".join(by_reason(export.ignored))),
            ("verified", "\n".join(verified)),
        ]
    )


def record(exported: Exported) -> dict[str, Any]:
    net, export = exported.network, exported.export
    return {
        "schema": "emqlang.export/1",
        "model": net
        and {"name": net.name, "weights": net.weights, "weights_sha256": net.weights_sha256},
        "from": str(exported.source),
        "format": exported.format,
        "out": str(exported.path),
        "bytes": exported.size,
        "held": list(export.held),
        "ignored": dict(export.ignored),
        "verified": list(export.verified),
        "unverified": export.unverified,
        "figures": dict(export.figures),
    }


VIEWS: Final = {Exported: View(screen, record)}
