"""`emqlang completion SHELL`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.views import render


@declare(
    "completion",
    'eval "$(emqlang completion bash)"',
    "emqlang completion zsh > ~/.zfunc/_emqlang",
    "emqlang completion fish > ~/.config/fish/completions/emqlang.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands, ops, statistics and names in a shell."""
    from click.shell_completion import get_completion_class

    from emqlang.cli import group

    script = get_completion_class(shell)
    assert script is not None, shell
    render.raw(script(group, {}, "emqlang", "_EMQLANG_COMPLETE").source())
