"""Settings as JSON: names of constructors with their arguments; reading calls these constructors and nothing else.

A setting is a solver, a stepping, a gradient method or a noise, or a constructor with its arguments as a
`functools.partial`. Numbers, texts, True, False, None and lists stand for themselves; the rest is an object:

    {"name": "group_norm"}                                            class or function of odenet or torch.nn
    {"call": "StochasticDepth", "args": [0.5], "kwargs": {"per": "sample"}}   result of a call
    {"tuple": […]}, {"dict": [[key, value], …]}
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from odenet.blocks.errors import unknown_name

Names = Mapping[str, Any]
"""Further classes and functions by name, for settings that are none of odenet's or torch.nn's."""


def setting_to_json(value: object, names: Names | None = None) -> Any:
    """Return `value` as JSON data, which `setting_from_json` converts back.

    >>> from odenet.models import resnet20
    >>> setting_to_json(partial(resnet20, num_classes=100))
    {'call': 'partial', 'args': [{'name': 'resnet20'}], 'kwargs': {'num_classes': 100}}

    Args:
        value: Setting, class or function of odenet or torch.nn, `partial` of one, or number, text, True, False, None,
            list, tuple or dictionary of these. The arguments of a setting are those that its `repr` shows.
        names: Further classes and functions by name.

    Raises:
        ValueError: if a class or function has no known name, or the JSON data would make another value.
    """
    data = _encode(value, _known(names))
    if not _is_same(setting_from_json(data, names), value):
        raise ValueError(
            f"{value!r} cannot be saved exactly, as {data} makes another value: choose one that its repr shows in full."
        )
    return data


def setting_from_json(data: Any, names: Names | None = None) -> Any:
    """Return the setting that `setting_to_json` converted to JSON data.

    >>> setting_from_json({"call": "FixedSteps", "args": [{"call": "RK4", "args": [], "kwargs": {}}], "kwargs": {}})
    FixedSteps(RK4(), per_piece=1)

    Args:
        data: JSON data, as `json.loads` returns them.
        names: Further classes and functions by name.

    Raises:
        ValueError: if a name is unknown, or the data describe no setting.
    """
    return _decode(data, _known(names))


def setting_from_expression(text: str, names: Names | None = None) -> Any:
    """Return the setting that a Python expression describes, as in saved models up to format 2.

    >>> setting_from_expression("FixedSteps(RK4(), per_piece=2)")
    FixedSteps(RK4(), per_piece=2)

    Args:
        text: Expression of literals, names and calls.
        names: Further classes and functions by name.

    Raises:
        ValueError: if a name is unknown, or the expression has anything but literals, names and calls.
    """
    return _decode(_parsed(text), _known(names))


def _known(names: Names | None) -> Names:
    return _own_names() if names is None else {**_own_names(), **names}


@cache
def _own_names() -> Names:
    """Return the classes and functions of odenet that a setting may name, and the modules of torch.nn."""
    import odenet
    from odenet import models
    from odenet.models import plain, resnet

    layers = {name: kind for name, kind in vars(nn).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    parts = {part.__name__: part for part in (resnet.PaddedShortcut, resnet.projected_shortcut, resnet.residual_flow)}
    plain_parts = {part.__name__: part for part in (plain.Substitution, plain.plain_stage)}
    own = {name: getattr(wing, name) for wing in (odenet, models) for name in wing.__all__}
    return layers | parts | plain_parts | own | {"partial": partial, "relu": torch.relu, "tanh": torch.tanh}


def _encode(value: Any, names: Names) -> Any:
    encode = partial(_encode, names=names)
    match value:
        case partial():
            kwargs = {name: encode(argument) for name, argument in value.keywords.items()}
            return {"call": "partial", "args": list(map(encode, (value.func, *value.args))), "kwargs": kwargs}
        case list():
            return [encode(entry) for entry in value]
        case tuple():
            return {"tuple": [encode(entry) for entry in value]}
        case dict():
            return {"dict": [[encode(key), encode(entry)] for key, entry in value.items()]}
    if callable(value) and (isinstance(value, type) or hasattr(value, "__name__")):
        return {"name": _name_of(value, names)}
    return _parsed(repr(value))


def _name_of(value: Callable[..., Any], names: Names) -> str:
    for name, known in names.items():
        if known is value:
            return name
    raise ValueError(
        f"{value!r} has no name by which it could be found again: it is none of odenet or torch.nn. Give it one, "
        "names={'name': it}, when you save and when you load."
    )


def _parsed(text: str) -> Any:
    """Return an expression, the `repr` of a setting for example, as JSON data."""
    try:
        return _of_node(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise _foreign(text) from error


def _of_node(node: ast.expr) -> Any:
    match node:
        case ast.Name():
            return {"name": node.id}
        case ast.Call(func=ast.Name(id=name)) if all(keyword.arg for keyword in node.keywords):
            kwargs = {str(keyword.arg): _of_node(keyword.value) for keyword in node.keywords}
            return {"call": name, "args": list(map(_of_node, node.args)), "kwargs": kwargs}
        case ast.List():
            return list(map(_of_node, node.elts))
        case ast.Tuple():
            return {"tuple": list(map(_of_node, node.elts))}
        case ast.Dict(keys=keys) if None not in keys:
            return {"dict": [list(map(_of_node, pair)) for pair in zip(filter(None, keys), node.values, strict=True)]}
    return ast.literal_eval(node)


def _decode(data: Any, names: Names) -> Any:
    decode = partial(_decode, names=names)
    match data:
        case {"name": str(name)} if len(data) == 1:
            return _named(name, names)
        case {"call": str(name), "args": list(args), "kwargs": dict(kwargs)} if len(data) == 3:
            return _named(name, names)(*map(decode, args), **{key: decode(entry) for key, entry in kwargs.items()})
        case {"tuple": list(entries)} if len(data) == 1:
            return tuple(map(decode, entries))
        case {"dict": list(pairs)} if len(data) == 1:
            return {decode(key): decode(entry) for key, entry in pairs}
        case list():
            return list(map(decode, data))
        case None | bool() | int() | float() | str():
            return data
    raise _foreign(data)


def _named(name: str, names: Names) -> Any:
    if name not in names:
        raise unknown_name("name", name, names)
    return names[name]


def _is_same(again: Any, value: Any) -> bool:
    """Whether two values are equal or, if their class defines no equality, have the same `repr`."""
    if type(again) is not type(value):
        return False
    match value:
        case partial():
            parts = ((each.func, list(each.args), each.keywords) for each in (again, value))
            return all(map(_is_same, *parts))
        case list() | tuple():
            return len(again) == len(value) and all(map(_is_same, again, value))
        case dict():
            return again.keys() == value.keys() and all(_is_same(again[key], entry) for key, entry in value.items())
    return repr(again) == repr(value) if type(value).__eq__ is object.__eq__ else again == value


def _foreign(found: object) -> ValueError:
    return ValueError(
        f"{found!r:.200} describes no setting: only literals, names of odenet and torch.nn, and calls of these are "
        "read; give such a description."
    )
