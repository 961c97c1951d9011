"""The paper's 24 unary and 4 binary ops: a table of names, each with the expression for it here.

The list itself (Appendix F) was never published. Twenty unary names and their order are those of
LPZero, by the same authors; the four marked inferred were taken out of that list again, as its
comments and an older sibling show. Each of the 28 exists for a scalar and for a matrix operand in
the paper, which makes its 56; here one op serves all kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class PaperOp:
    """A paper op is one name of the paper's list.

    index      its number in the authors' genotypes (order of LPZero), None if it has none
    text       the expression that stands for it, over x and y
    inferred   whether only indirect evidence says that it is among the 24
    published  the formula as the authors coded it, where it is not the same
    """

    name: str
    arity: int
    index: int | None
    text: str
    published: str = ""
    inferred: bool = False


_TABLE = (
    PaperOp("log", 1, 0, "log(x)", "log(x + 1e-9), with x = 1 where x <= 0"),
    PaperOp("abslog", 1, 1, "log(abs(x))", "log|x|, with x = 1 where x = 0"),
    PaperOp("abs", 1, 2, "abs(x)"),
    PaperOp("pow", 1, 3, "x ** 2"),
    PaperOp("exp", 1, 4, "exp(x)"),
    PaperOp(
        "normalize", 1, 5, "normalize(x)", "the standard deviation divides by n - 1; NaN becomes 0"
    ),
    PaperOp("relu", 1, 6, "relu(x)"),
    PaperOp("invert", 1, 7, "inv(x)", "1 / (x + 1e-9)"),
    PaperOp("frobenius_norm", 1, 8, "l2(x)"),
    PaperOp("normalized_sum", 1, 9, "mean(x)", "sum(x) / (numel + 1e-9)"),
    PaperOp(
        "l1_norm", 1, 10, "mean(abs(x))", "sum|x| / (numel + 1e-9): a mean, in spite of its name"
    ),
    PaperOp("softmax", 1, 11, "softmax(x)"),
    PaperOp("sigmoid", 1, 12, "sigmoid(x)"),
    PaperOp("logsoftmax", 1, 13, "logsoftmax(x)"),
    PaperOp("sqrt", 1, 14, "sqrt(x)"),
    PaperOp("revert", 1, 15, "-x"),
    PaperOp("min_max_normalize", 1, 16, "min_max(x)", "(x - min) / (max - min + 1e-9)"),
    PaperOp("to_mean_scalar", 1, 17, "mean(x)"),
    PaperOp("to_std_scalar", 1, 18, "std(x)", "divides by n - 1"),
    PaperOp("no_op", 1, 19, "x"),
    PaperOp("sign", 1, None, "sign(x)", inferred=True),
    PaperOp("gram_matrix", 1, None, "gram(x)", "divided by the number of elements", inferred=True),
    PaperOp("to_sum_scalar", 1, None, "sum(x)", inferred=True),
    PaperOp("slogdet", 1, None, "slogdet(x)", inferred=True),
    PaperOp("element_wise_sum", 2, 0, "x + y"),
    PaperOp("difference", 2, 1, "x - y"),
    PaperOp("product", 2, 2, "x * y"),
    PaperOp("matrix_multiplication", 2, 3, "x @ y"),
)

NAMES: Final = {op.name: op for op in _TABLE}
assert len(NAMES) == len(_TABLE) == 24 + 4
