"""THE table of error codes: every mistake and warning, its exit status, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """A code is one row: the exit status, the title, and what `emqlang explain` says."""

    exit: int
    title: str
    text: str


# fmt: off
CODES: Final = {
    # E1: the text is not in the language
    "E101": Code(1, "syntax error",
        "The text does not follow the grammar "
        "(`emqlang show --stage tree` prints what was understood)."),
    "E102": Code(1, "unknown name",
        "A name is neither a statistic, an op, nor defined earlier in the file. "
        "`emqlang ops` lists them."),
    "E103": Code(1, "wrong number of arguments",
        "Every op takes a fixed number of arguments; `emqlang explain OP` shows them."),
    "E104": Code(1, "text too long",
        "An expression may have 64 KiB and a file 1 MiB. "
        "This is checked before anything is parsed."),
    "E105": Code(1, "nested too deeply", "Parentheses, calls and operators may nest 200 deep."),
    "E106": Code(1, "program too large",
        "A program may have 10,000 nodes once every name is replaced by what it stands for."),
    "E107": Code(1, "duplicate name", "A file binds each name once."),
    "E108": Code(1, "reserved name", "Statistics and ops cannot be bound to something else."),
    "E109": Code(1, "cycle between names", "A line may use only the names bound on earlier lines."),
    "E110": Code(1, "literal not finite", "Literals are finite float64 numbers."),
    "E111": Code(1, "not UTF-8", "Texts and files are UTF-8."),
    # E2: the text is in the language and means nothing
    "E201": Code(1, "kind error",
        "Weight, activation, matrix, image and layer values cannot be combined this way; "
        "reduce one first. Nor can a value of each layer and one of the whole configuration: "
        "put the first inside total(...), which adds up layers, once."),
    "E202": Code(1, "reduction of a layer value",
        "A reduction brings a tensor down to one number per layer; this is one already."),
    "E203": Code(1, "exponent not literal", "The right side of ** is a literal number."),
    "E204": Code(1, "joint menu needs an activation input",
        "Under a menu that chooses activation bits too, "
        "a proxy must mention an activation input (act_bits, act_qerr, ...)."),
    # E3: a network, its weights, its data or a file cannot be used
    "E301": Code(3, "file cannot be read",
        "The file is missing, unreadable, or not what its name says."),
    "E302": Code(3, "weights do not fit",
        "The checkpoint's names or shapes differ from the network's, "
        "or it holds values that are not finite."),
    "E303": Code(3, "data needed",
        "The proxy reads statistics that come from images, and the network has none of its own: "
        "give --data, or --data noise:N."),
    "E304": Code(3, "data does not fit",
        "The images are missing, too few, unlabelled, "
        "or of another size than the network takes."),
    "E305": Code(3, "unknown model",
        "`emqlang models` lists the built-in networks; "
        "others load as package.module:factory or file.py:factory."),
    "E306": Code(3, "nothing to quantize", "The network has no convolution and no linear layer."),
    "E307": Code(3, "no pretrained weights",
        "They are not in the torch hub cache and could not be downloaded."),
    "E308": Code(3, "network cannot be run",
        "Its own forward failed on an input of the expected shape."),
    "E309": Code(3, "unknown layer",
        "Layers that share one choice are named as the network names them, each in one tie."),
    "E310": Code(3, "not a recipe",
        "A recipe is the JSON object that `emqlang assign` writes; "
        "a field of this one is unknown, missing, or has an impossible value."),
    "E311": Code(3, "recipe for another network",
        "The recipe's layers or its weights' hash are not this network's."),
    "E312": Code(3, "values not finite",
        "Inputs, activations or outputs of the network "
        "hold infinities or values that are not a number."),
    "E313": Code(3, "bad latency table",
        "A CSV with columns layer,choice,milliseconds, "
        "one row for every layer and choice of the menu."),
    "E314": Code(3, "benchmark table unusable",
        "The file is not a benchmark table, or it was cut short, edited, "
        "or written by another version; `emqlang bench validate` says more."),
    "E315": Code(3, "benchmark table for something else",
        "The table's network, weights, images or settings are not the requested ones."),
    "E316": Code(3, "run unusable",
        "The folder holds no run, one of another version, or one with other settings or tables."),
    "E317": Code(3, "output exists",
        "What a command would write is there already, and is not the same work begun earlier; "
        "--force replaces it."),
    "E318": Code(3, "output in use",
        "Another process is writing there; the message names it."),
    "E319": Code(3, "package missing",
        "The format's writer or verifier needs packages that are not installed; "
        "the help names the extra that has them."),
    "E320": Code(1, "training diverges",
        "The loss is not a number, or has been far above the one that training began with for "
        "some steps: a lower learning rate helps."),
    "E321": Code(3, "measured scores unusable",
        "A file of measured scores has the columns name, numel, choice, bits, score or loss, "
        "and macs and latency where these are known: one row for every layer and choice, "
        "every number finite, the same weights and MACs in all rows of a layer."),
    # E4: the request does not fit the network
    "E401": Code(2, "bad menu",
        "A menu lists weight bits (2,3,4) or pairs (W2A8,W4A8), "
        "each from 1 to 16 bits, each once."),
    "E402": Code(2, "bad configuration",
        "A configuration has one entry per group, each from the menu."),
    "E403": Code(2, "bad option", "The option's value is not of the form its help describes."),
    "E404": Code(2, "bad budget",
        "A budget is a positive number with its unit: "
        "--size 4.5MiB, --bops 72G, --latency 3ms, --avg-bits 3."),
    "E405": Code(1, "no assignment within budget",
        "Even the cheapest choices cost more than the budget; "
        "the message gives each budget's minimum."),
    "E406": Code(2, "too few rows",
        "A correlation over the best rows needs at least two of them, "
        "and the paper's protocol 50."),
    "E407": Code(2, "too few configurations",
        "A table's rows are distinct, and the menu has fewer configurations than requested."),
    "E408": Code(2, "empty search space",
        "No program of these statistics and ops gives one number per layer."),
    "E409": Code(1, "scores prefer no bits",
        "The score of a group is the same for every choice, or could not be measured: no gradient "
        "or no image reaches the layer, or its weights are all zero. The fewest bits would be a "
        "guess; --hold-unmeasured gives such groups the most bits of the menu."),
    "E410": Code(2, "program does not separate",
        "The program's score is no sum over layers, so that there is no score table, which is what "
        "was asked for. eval, rank, assign and quantize do without one."),
    "E411": Code(2, "format cannot hold it",
        "The format has no such width, layer, op or grid, or is not written at all; "
        "the message names what does not fit, and --partial leaves out whole layers."),
    "E412": Code(2, "no integer form",
        "Integer arithmetic needs every layer's weights and inputs quantized, operations that have "
        "an integer form, and accumulators of at most 32 bits; the message names what is not so."),
    # E5: evaluation
    "E501": Code(4, "score not finite",
        "A group's score overflowed or is not a number; it is null in JSON."),
    "E502": Code(1, "time is up",
        "sympy was stopped at its time limit; the rules alone answer without --sympy."),
    "E503": Code(70, "workers keep dying",
        "Worker processes were killed from outside, mostly for lack of memory."),
    "E504": Code(1, "export does not verify",
        "What was written gives other outputs than the quantized network. Nothing is left of it."),
    # W: warnings; they never change the exit status
    "W601": Code(0, "suspicious domain",
        "The op's argument may leave the part of the real line where "
        "the op is the usual function; protected values apply there."),
    "W602": Code(0, "score falls as bits rise",
        "Higher must mean a better configuration. "
        "For these groups more bits score lower: a leading minus may be missing, a factor such "
        "as hess_trace be negative in these layers, or the menu lie beyond the proxy's domain."),
    "W603": Code(0, "weights are random",
        "No trained weights were used: the scores are those of a randomly initialised network."),
    "W604": Code(0, "cached statistics rebuilt",
        "A cache file was damaged or written for something else; "
        "it was set aside and its statistics computed again."),
    "W605": Code(0, "part of the network is not covered",
        "Parameters are multiplied or looked up outside the known layers, or weights are made in "
        "the forward; they count at 32 bits and are never quantized."),
    "W606": Code(0, "batch norm not folded",
        "It was not proven that this batch norm follows one convolution "
        "or linear layer and nothing else reads that output."),
    "W607": Code(0, "data is noise",
        "The images are standard normal noise with the network's own labels."),
    "W608": Code(0, "layer never reached",
        "The forward did not use these layers for any row it was looked at with; "
        "they are left out and keep 32 bits."),
    "W609": Code(0, "cache not written",
        "The cache's folder cannot be written to: what was computed is used and not kept."),
    "W610": Code(0, "file without a digest",
        "A file of ours from an older version carries no digest, "
        "so that nobody can tell whether it was edited or damaged."),
    "W611": Code(0, "recipe's figures are not its own",
        "A figure of the recipe is not what its bits cost on this network, as after an edit, or "
        "with inputs of another shape: it is left out with its budget and what was proven. "
        "A latency cannot be computed again, and is left out of every recipe that is read."),
    "W612": Code(0, "groups held at the most bits",
        "Nothing told which bits suit them, and --hold-unmeasured gave them the most of the menu."),
    "W613": Code(0, "statistic not measured",
        "No image has data or a gradient in these layers, as in an expert that no row reaches or "
        "behind an operation without a gradient: 0 stands there, and it does not mean "
        "that the layer does not matter."),
    "W616": Code(0, "more is lost than --max-drop",
        "The bits were chosen by one half of the test images, with a margin, and lose more on the "
        "other half."),
    "W617": Code(0, "few rows to search on",
        "Of many programs, some rank a few rows well by chance, and a search on fewer than 100 "
        "rows of a table finds them. Held-out figures beside the fitness tell them apart."),
    "W618": Code(0, "proxy ranked on something else than it was made for",
        "Its entry names the menu, the number of images or the rounding that it was searched on, "
        "and these are others. Its correlation may be far lower here than it was there."),
    "W614": Code(0, "another answer each time",
        "The network's forward draws random numbers, or keeps something from one run to the next. "
        "What it draws from the generators of torch, numpy and Python is the same for the same "
        "batch, so that every run gives the same figures; they hold for what was drawn."),
    "W619": Code(0, "rows are not independent",
        "The network's answer for a row changes with the rows beside it or with how many there are,"
        " as with a norm or an attention over the batch. Statistics show it one row at a time, and "
        "what is measured batch by batch holds for those batches alone."),
    "W620": Code(0, "folding batch norms moves the outputs",
        "After `qat --bn train`, the network with its batch norms folded answers otherwise than "
        "before: what is reported and written is the folded one."),
    "W621": Code(0, "several sets of weights in one file",
        "A checkpoint may hold the trained weights beside their moving average, as `model` and "
        "`model_ema`. --weights FILE:model_ema takes the other ones, FILE:model these "
        "without a warning."),
    "W615": Code(0, "layer that no calibration image reaches",
        "A router, an early exit or the like sent it none of the rows: its weight is rounded to "
        "the nearest value, and its input, of which no range is known, stays in float."),
}
# fmt: on
