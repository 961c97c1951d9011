"""Networks that are fed, or answer, in other ways than scores for a tensor of images."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from entries import Wrapped, classes, entry, flat, images, numbers, plain, tokens
from torch import Tensor, nn

Pair = namedtuple("Pair", "logits hidden")


class Encoding(UserDict[str, Any]):
    """As tokenizers return: a mapping that is no dict, with entries as attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(name) from None


class ModelOutput(OrderedDict[Any, Any]):
    """As `transformers` returns: by name, by attribute and by place."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]


def _encoder(answer: Any) -> nn.Module:
    def forward(m: Any, input_ids: Tensor, attention_mask: Tensor, **rest: Any) -> Any:
        h = m.a(m.e(input_ids)).relu() * attention_mask[..., None]
        return answer(m.o(h.sum(1) / attention_mask.sum(1, keepdim=True)), h)

    return Wrapped(forward, e=nn.Embedding(50, 16), a=nn.Linear(16, 16), o=nn.Linear(16, 10))


def encoding_in() -> nn.Module:
    return _encoder(lambda logits, hidden: logits)


def model_output() -> nn.Module:
    return _encoder(lambda logits, hidden: ModelOutput(loss=None, logits=logits, hidden=hidden))


def named_tuple() -> nn.Module:
    return _encoder(Pair)


def sequence_of_outputs() -> nn.Module:
    return _encoder(lambda logits, hidden: [logits, (hidden, None)])


def nothing_but_strings() -> nn.Module:
    return _encoder(lambda logits, hidden: {"answer": "yes"})


def numpy_out() -> nn.Module:
    return _encoder(lambda logits, hidden: logits.detach().numpy())


def iterator_out() -> nn.Module:
    return _encoder(lambda logits, hidden: iter([logits]))


def masked(rows: int) -> dict[str, Tensor]:
    mask = torch.ones(rows, 6, dtype=torch.long)
    mask[::2, 4:] = 0
    return {"input_ids": tokens(rows), "attention_mask": mask}


def encoding(rows: int) -> Encoding:
    return Encoding(masked(rows))


def detector() -> nn.Module:
    def forward(m: Any, pixels: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        h = m.b(pixels).relu() * sizes[:, :1, None, None]
        return {"logits": m.c(h), "boxes": m.r(h)}

    return Wrapped(
        forward, b=nn.Conv2d(1, 8, 3, padding=1), c=nn.Conv2d(8, 5, 1), r=nn.Conv2d(8, 4, 1)
    )


def two_towers() -> nn.Module:
    def forward(m: Any, left: Tensor, right: Tensor) -> Tensor:
        return F.normalize(m.a(left), dim=1) @ F.normalize(m.b(right), dim=1).T

    return Wrapped(forward, a=nn.Linear(16, 8), b=nn.Linear(16, 8))


def siamese() -> nn.Module:
    return Wrapped(
        lambda m, left, right: m.o((m.a(left) - m.a(right)).abs()),
        a=nn.Linear(16, 16), o=nn.Linear(16, 10),
    )  # fmt: skip


def noise_predictor() -> nn.Module:
    def forward(m: Any, image: Tensor, step: Tensor) -> Tensor:
        h = m.d(image).relu() + m.t(m.e(step))[..., None, None]
        return m.u(h)

    return Wrapped(
        forward, e=nn.Embedding(10, 8), t=nn.Linear(8, 4), d=nn.Conv2d(1, 4, 3, padding=1),
        u=nn.Conv2d(4, 1, 3, padding=1),
    )  # fmt: skip


def embedder() -> nn.Module:
    return Wrapped(lambda m, x: F.normalize(m.net(x), dim=1), net=plain())


def autoencoder() -> nn.Module:
    return Wrapped(lambda m, x: m.d(m.e(x).relu()), e=nn.Linear(16, 4), d=nn.Linear(4, 16))


def variational() -> nn.Module:
    def forward(m: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, spread = m.m(x), m.s(x)
        return m.d(mean + torch.randn_like(mean) * spread.exp()), mean, spread

    return Wrapped(forward, m=nn.Linear(16, 4), s=nn.Linear(16, 4), d=nn.Linear(4, 16))


def multi_label() -> nn.Module:
    return plain()


def soft_labels() -> nn.Module:
    return plain()


def squeezed_output() -> nn.Module:
    return Wrapped(lambda m, x: m.o(m.a(x).relu()).squeeze(), a=nn.Linear(16, 8), o=nn.Linear(8, 1))


def token_tags() -> nn.Module:
    return Wrapped(
        lambda m, ids: m.o(m.r(m.e(ids))[0]),
        e=nn.Embedding(50, 8), r=nn.GRU(8, 8, batch_first=True, bidirectional=True),
        o=nn.Linear(16, 5),
    )  # fmt: skip


def graph() -> nn.Module:
    def forward(m: Any, nodes: Tensor, edges: Tensor) -> Tensor:
        return m.o((edges @ m.a(nodes).relu()).mean(1))

    return Wrapped(forward, a=nn.Linear(4, 16), o=nn.Linear(16, 10))


def keyword_only() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = plain()

        def forward(self, *, features: Tensor, temperature: float = 1.0) -> Tensor:
            return self.net(features) / temperature

    return Net()


def anything() -> nn.Module:
    return Wrapped(lambda m, *args, **kwargs: m.net(args[0]), net=plain())


def one_at_a_time() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        return torch.stack([m.net(row[None])[0] for row in x])

    return Wrapped(forward, net=plain())


def refuses_one_row() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        if len(x) < 2:
            raise ValueError("give at least two rows")
        return m.net(x)

    return Wrapped(forward, net=plain())


def iterates() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Iterator[Tensor]:
        yield m.net(x)

    return Wrapped(forward, net=plain())


def _edges(rows: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, 5, 4), torch.rand(rows, 5, 5)


def _targets(rows: int) -> Tensor:
    return torch.rand(rows, 10).softmax(1)


for one in (encoding_in, model_output, named_tuple, sequence_of_outputs):
    entry(one, encoding, classes)
entry(detector, lambda n: (images(n), torch.rand(n, 2)), lambda n: torch.randint(0, 5, (n, 8, 8)))
entry(siamese, lambda n: (flat(n), flat(n)), classes)
entry(
    noise_predictor,
    lambda n: (images(n), torch.randint(0, 10, (n,))),
    images,
)
for one in (embedder, autoencoder, variational):
    entry(one, flat, None, "--loss", "self")
entry(multi_label, flat, lambda n: torch.randint(0, 2, (n, 10)).float(), runs=False)
entry(soft_labels, flat, _targets, runs=False)
entry(squeezed_output, flat, lambda n: numbers(n).squeeze(1))
entry(token_tags, tokens, lambda n: torch.randint(0, 5, (n, 6)))
entry(graph, _edges, classes)
entry(keyword_only, lambda n: {"features": flat(n)}, classes)
for one in (anything, one_at_a_time):
    entry(one, flat, classes)
entry(two_towers, lambda n: (flat(n), flat(n)), None, "--loss", "self")
for one in (nothing_but_strings, numpy_out, iterator_out):
    entry(one, masked, classes, runs=False)
for one in (refuses_one_row, iterates):
    entry(one, flat, classes, runs=False)
