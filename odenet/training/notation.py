"""Settings in Python's own notation, `FixedSteps(RK4(), per_piece=2)`, read back without running any code but theirs.

What is written are literals, names of odenet and torch.nn, and calls of these: the `repr` of a solver, a stepping, a
gradient method or a noise, or a constructor with its arguments as a `functools.partial`. What is read can therefore
call nothing else, whoever wrote it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from odenet.blocks.errors import unknown_name


def write(value: object, names: Mapping[str, Any] | None = None) -> str:
    """`value` as an expression that `read` gives back.

    >>> from odenet import group_norm
    >>> from odenet.models import resnet20
    >>> write(partial(resnet20, num_classes=100, norm=group_norm))
    'partial(resnet20, num_classes=100, norm=group_norm)'

    Args:
        value: a literal, a setting, a class or function of odenet or torch.nn, a `partial` of one, or a list, tuple or
            dictionary of these.
        names: further classes and functions by name.

    Raises:
        ValueError: something that has no such notation, or none that is exact.
    """
    text = _written(value, _known(names))
    if not _is_same(read(text, names), value):
        raise ValueError(
            f"{value!r} cannot be written exactly: {text} is another value. Choose one that its notation shows in full."
        )
    return text


def read(text: str, names: Mapping[str, Any] | None = None) -> Any:
    """The value that `write` wrote.

    >>> read("FixedSteps(RK4(), per_piece=2)")
    FixedSteps(RK4(), per_piece=2)

    Args:
        text: the expression.
        names: further classes and functions by name.

    Raises:
        ValueError: an unknown name, or anything but literals, names and calls.
    """
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise _foreign(text) from error
    return _value(tree.body, _known(names), text)


def _known(names: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return _own_names() if names is None else {**_own_names(), **names}


@cache
def _own_names() -> Mapping[str, Any]:
    """The classes and functions of odenet that a setting may name, and the modules of torch.nn."""
    import odenet
    from odenet import models
    from odenet.models import plain, resnet

    layers = {name: kind for name, kind in vars(nn).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    parts = {part.__name__: part for part in (resnet.PaddedShortcut, resnet.projected_shortcut, resnet.residual_flow)}
    plain_parts = {part.__name__: part for part in (plain.Substitution, plain.plain_stage)}
    own = {name: getattr(wing, name) for wing in (odenet, models) for name in wing.__all__}
    return layers | parts | plain_parts | own | {"partial": partial, "relu": torch.relu, "tanh": torch.tanh}


def _written(value: object, names: Mapping[str, Any]) -> str:
    match value:
        case partial():
            arguments = [_written(argument, names) for argument in value.args]
            arguments += [f"{name}={_written(argument, names)}" for name, argument in value.keywords.items()]
            return f"partial({', '.join([_written(value.func, names), *arguments])})"
        case list():
            return f"[{', '.join(_written(entry, names) for entry in value)}]"
        case tuple():
            return f"({''.join(f'{_written(entry, names)}, ' for entry in value)})"
        case dict():
            return f"{{{', '.join(f'{key!r}: {_written(entry, names)}' for key, entry in value.items())}}}"
    return _name_of(value, names) if callable(value) else repr(value)


def _name_of(value: Callable[..., Any], names: Mapping[str, Any]) -> str:
    for name, known in names.items():
        if known is value:
            return name
    if isinstance(value, type) or hasattr(value, "__name__"):
        raise ValueError(
            f"{value!r} has no name by which it could be found again: it is none of odenet or torch.nn. Give it one, "
            "names={'name': it}, when you save and when you load."
        )
    return repr(value)


def _value(node: ast.expr, names: Mapping[str, Any], text: str) -> Any:
    def inner(node: ast.expr) -> Any:
        return _value(node, names, text)

    match node:
        case ast.Name():
            if node.id not in names:
                raise unknown_name("name", node.id, names)
            return names[node.id]
        case ast.Call(func=ast.Name()) if all(keyword.arg for keyword in node.keywords):
            keywords = {str(keyword.arg): inner(keyword.value) for keyword in node.keywords}
            return inner(node.func)(*map(inner, node.args), **keywords)
        case ast.List():
            return [inner(entry) for entry in node.elts]
        case ast.Tuple():
            return tuple(inner(entry) for entry in node.elts)
        case ast.Dict(keys=keys) if None not in keys:
            return {inner(key): inner(entry) for key, entry in zip(node.keys, node.values, strict=True) if key}
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise _foreign(text) from error


def _is_same(again: Any, value: Any) -> bool:
    """Whether two values are equal or, where their class knows no equality, look alike."""
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


def _foreign(text: str) -> ValueError:
    return ValueError(
        f"the expression {text!r} is none of a setting; literals, names of odenet and torch.nn, and calls of these are "
        "read: write it so."
    )
