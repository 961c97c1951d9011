"""`emqlang`: one file a command, imported only when it runs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from emqlang import __version__
from emqlang.cli import signals
from emqlang.cli.base import LazyGroup, misused, write_lines
from emqlang.grammar import diagnostics as status
from emqlang.grammar.diagnostics import error
from emqlang.views import render

SECTIONS = {
    "Scores": {
        "eval": "Score proxies on a network, layer by layer.",
        "repl": "Try expressions on a loaded network, line by line.",
        "models": "List the networks that have a name.",
        "cache": "Show or clear the cached statistics.",
    },
    "Bits": {
        "assign": "Choose the bits of every layer under a budget.",
        "quantize": "Quantize a network by a recipe, and say what that costs.",
        "qat": "Train a quantized network, and say what that gains.",
        "evaluate": "Score a network, or a quantized one, on test images.",
        "export": "Write bits or a quantized network as other programs read them.",
    },
    "Search": {
        "evolve": "Search for better proxies.",
        "front": "Print a run's best program of each size.",
        "top": "Print a run's best programs.",
        "lineage": "Print where a program of a run comes from.",
        "why": "Say why a run did not keep a program.",
    },
    "Evidence": {
        "bench": "Build, read and exchange benchmark tables.",
        "rank": "Rank proxies by how well they rank a table's configurations.",
        "report": "Write a page about a search, bits or a table.",
        "experiment": "Do one of the paper's experiments, or of ours.",
        "plot": "Draw bits as a picture.",
    },
    "Programs": {
        "check": "Report every mistake of files or expressions.",
        "fmt": "Lay out .emq files in the standard form.",
        "show": "Print what becomes of an expression, stage by stage.",
        "simplify": "Rewrite an expression to its simplest known form.",
        "equiv": "Tell whether two expressions are the same proxy.",
    },
    "Reference": {
        "library": "List the library's proxies, and what each costs.",
        "ops": "List the ops, the statistics and the paper's names.",
        "explain": "Explain an error code, an op, a statistic or a proxy.",
        "grammar": "Print the grammar.",
        "completion": "Print the script that completes commands in a shell.",
    },
}

EXAMPLES = (
    "emqlang quantize fisher_form --avg-bits 3",
    'emqlang eval "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"',
    "emqlang eval --proxy emq --proxy hawq_v2 --model resnet18-fmnist",
    "emqlang explain grad_synflow",
)

EXIT_STATUS = {
    status.EXIT_OK: "done, and the answer is yes",
    status.EXIT_NO: "the text is wrong, or the answer is no",
    status.EXIT_USAGE: "the command was used wrongly",
    status.EXIT_DATA: "a file, weights or images are missing or unreadable",
    status.EXIT_NOT_FINITE: "a score is not finite",
    status.EXIT_INTERNAL: "internal error",
    status.EXIT_INTERRUPTED: "interrupted (143 by SIGTERM, 129 by SIGHUP)",
}


class Root(LazyGroup):
    """The `emqlang` command: examples first, exit statuses last."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        write_lines(formatter, "Examples", EXAMPLES)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        write_lines(
            formatter,
            "Exit status",
            tuple(f"{code:>3}  {meaning}" for code, meaning in EXIT_STATUS.items()),
        )


@click.group(
    "emqlang", cls=Root, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def group() -> None:
    """A language, compiler and evaluator for training-free proxies of mixed-precision quantization.

    A proxy maps the statistics of one layer, and a bit-width, to one number; higher means a better
    configuration.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line in this process and return its exit status."""
    try:
        result = group.main(list(arguments), prog_name="emqlang", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else status.EXIT_OK
    except click.ClickException as misuse:
        render.failure((misused(misuse),), "--json" in arguments)
        return misuse.exit_code
    except (click.Abort, KeyboardInterrupt):
        return status.EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status.EXIT_OK
    except OSError as reason:  # a full disk, or a file that went away
        said, path = (reason.strerror or str(reason)).lower(), str(reason.filename or "<stdout>")
        failure = error("E301", f"a file cannot be read or written: {said}", path=path)
        render.diagnostics(failure.diagnostics)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failure.exit_status


def main() -> None:
    """The console script."""
    signals.install()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be no text
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(signals.exit_status(run(sys.argv[1:])))
