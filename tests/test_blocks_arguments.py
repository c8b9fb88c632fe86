"""Arguments are what their annotations say, whatever is given, or refused by name before the function begins."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import pytest
import torch
from torch import nn

from odenet.blocks.annotations import Inside, MayBeEmpty, Number, Share, Whole, WholeFromZero
from odenet.blocks.arguments import check_fields, checked, checked_value

Net = TypeVar("Net", bound=nn.Module)


@checked
def function(
    count: int = 1,
    rate: float = 1.0,
    *rest: nn.Module,
    clutter: int = 0,
    share: Share = 0.5,
    padding: WholeFromZero | None = None,
    survival: float | Sequence[float] = 1.0,
    widths: Sequence[Sequence[int]] = ((1,),),
    nodes: Iterable[nn.Module] = (),
    tensors: Mapping[str, torch.Tensor] | None = None,
    kind: Literal["pre", "post"] = "pre",
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    device: torch.device | str = "cpu",
    quiet: bool = False,
    layer: nn.Module | None = None,
    least: Whole = 5,
    size: Number = 5.0,
    names: Annotated[tuple[str, ...], Inside()] = (),
    times: Annotated[Sequence[float], MayBeEmpty()] = (1.0,),
    **options: Any,
) -> dict[str, Any]:
    """What was given."""
    return dict(locals())


@checked
def of_a_kind(net: Net) -> Net:
    return net


WRONG: list[tuple[str, Any, type[Exception], str]] = [
    ("count", 0, ValueError, "count must be a whole number of at least 1, got 0: pass such a value"),
    ("count", 1.0, TypeError, "count must be a whole number, got 1.0 of type float: pass such a value"),
    ("count", 10**30, ValueError, "count must be a whole number of at least 1, got 1000"),
    ("count", np.True_, TypeError, "must be a whole number, got .* of type bool"),
    ("count", torch.tensor(True), TypeError, "must be a whole number, got tensor.* of type Tensor"),
    ("count", torch.tensor([1, 2]), TypeError, "must be a whole number, got tensor.* of type Tensor"),
    ("count", None, TypeError, "count must be a whole number, got None of type NoneType"),
    ("rate", "0.1", TypeError, "rate must be a number, got '0.1' of type str"),
    ("rate", math.inf, ValueError, "rate must be a finite number greater than 0, got inf"),
    ("rate", math.nan, ValueError, "rate must be a finite number greater than 0, got nan"),
    ("rate", 10**400, ValueError, "rate must be a finite number greater than 0, got <of type int>"),
    ("clutter", -1, ValueError, "clutter must be a whole number of at least 0, got -1"),
    ("share", 1.5, ValueError, "share must be a number from 0 to 1, got 1.5"),
    ("padding", -1, ValueError, "padding must be a whole number of at least 0, got -1"),
    ("survival", "abc", TypeError, "survival must be a number or a sequence of values, .*, got 'abc'"),
    ("survival", [0.5, True], TypeError, r"survival\[1\] must be a number, got True"),
    ("survival", -1, ValueError, "survival must be a finite number greater than 0, got -1"),
    ("widths", [[1], []], ValueError, r"widths\[1\] must be a sequence of at least one value, got \[\]: with none"),
    ("widths", [[1], [0]], ValueError, r"widths\[1\]\[0\] must be a whole number of at least 1, got 0"),
    ("widths", np.ones((2, 2)), TypeError, "widths must be a sequence of values, .*, got .* of type ndarray"),
    ("nodes", [nn.ReLU], TypeError, r"nodes\[0\] must be an instance of Module, got the class ReLU: pass an instance"),
    ("nodes", "ab", TypeError, "nodes must be a sequence of values, .*, got 'ab'"),
    ("tensors", {"a": 1}, TypeError, r"tensors\['a'\] must be a tensor, got 1"),
    ("tensors", {1: torch.ones(1)}, TypeError, "a key of tensors must be a string, got 1"),
    ("tensors", {}, ValueError, "tensors must be a dictionary of at least one value, got {}"),
    ("tensors", [1], TypeError, "tensors must be a dictionary"),
    ("kind", "pro", ValueError, "unknown kind 'pro'; did you mean 'pre'"),
    ("kind", np.ones(2), ValueError, "unknown kind"),
    ("norm", "batch", TypeError, "norm must be a callable, such as a function or a class, got 'batch'"),
    ("device", "gpu", ValueError, "device must be a device that torch knows, such as 'cpu' or 'cuda:0', got 'gpu'"),
    ("device", 0, TypeError, "device must be a device or a string, got 0"),
    ("quiet", "no", TypeError, "quiet must be True or False, got 'no'"),
    ("layer", nn.ReLU, TypeError, "layer must be an instance of Module or None, got the class ReLU"),
    ("least", "5", TypeError, "least must be a whole number, got '5'"),
    ("least", 10**30, ValueError, "least must be a whole number"),
    ("size", None, TypeError, "size must be a number, got None"),
]

RIGHT: list[tuple[str, Any, Any]] = [
    ("count", np.int32(3), 3),
    ("count", torch.tensor(3), 3),
    ("rate", np.float32(0.5), 0.5),
    ("rate", 2, 2.0),
    ("clutter", 0, 0),
    ("padding", None, None),
    ("widths", [(1, 2), (3,)], [(1, 2), (3,)]),
    ("nodes", (), ()),
    ("device", "meta", torch.device("meta")),
    ("least", -7, -7),
    ("size", -0.5, -0.5),
    ("names", "anything", "anything"),
    ("times", [], []),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_what_cannot_be_meant_is_refused_by_name(name: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        function(**{name: value})


@pytest.mark.parametrize(("name", "value", "meant"), RIGHT, ids=lambda value: str(value)[:30])
def test_what_is_meant_is_handed_on_with_numbers_of_python(name: str, value: Any, meant: Any) -> None:
    given = function(**{name: value})[name]
    assert given == meant
    assert type(given) is type(meant)


def test_each_of_a_number_of_positional_arguments_is_compared() -> None:
    relu = nn.ReLU()
    assert function(1, 1.0, relu)["rest"] == (relu,)
    with pytest.raises(TypeError, match=r"rest\[1\] must be an instance of Module, got 3"):
        function(1, 1.0, relu, 3)  # pyright: ignore[reportArgumentType]


def test_a_missing_argument_is_said_as_python_says_it() -> None:
    with pytest.raises(TypeError, match=r"of_a_kind\(\) missing 1 required positional argument: 'net'"):
        of_a_kind()  # pyright: ignore[reportCallIssue]


def test_the_bound_of_a_type_variable_counts() -> None:
    with pytest.raises(TypeError, match="net must be an instance of Module, got 3"):
        of_a_kind(3)  # pyright: ignore[reportArgumentType]


def test_a_checked_function_keeps_its_name_and_signature() -> None:
    assert function.__name__ == "function"
    assert str(inspect.signature(of_a_kind)) == "(net: 'Net') -> 'Net'"
    assert pickle.loads(pickle.dumps(partial(of_a_kind)))(relu := nn.ReLU()) is relu


def test_in_a_compiled_graph_nothing_is_compared() -> None:
    @checked
    def doubled(x: torch.Tensor, times: int) -> torch.Tensor:
        return x * times

    compiled = torch.compile(doubled, fullgraph=True, backend="eager")
    assert torch.equal(compiled(torch.ones(2), 2), torch.full((2,), 2.0))


@dataclass(frozen=True)
class Options:
    count: int = 1
    widths: tuple[int, ...] = (4,)

    def __post_init__(self) -> None:
        check_fields(self)


def test_fields_of_a_dataclass_are_compared_and_become_numbers_of_python() -> None:
    options = Options(np.int64(2), [3, 4])  # pyright: ignore[reportArgumentType]
    assert options == Options(2, (3, 4))
    assert type(options.count) is int
    with pytest.raises(ValueError, match="count must be a whole number of at least 1, got 0"):
        Options(0)


def test_one_value_is_compared_as_an_argument_is() -> None:
    assert checked_value("width", np.int64(2), int) == 2
    with pytest.raises(TypeError, match="width must be a whole number, got '2'"):
        checked_value("width", "2", int)
