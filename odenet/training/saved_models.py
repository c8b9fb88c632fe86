"""Saved models: files that hold a network or block with all its settings, and suffice to rebuild it.

A saved model is a safetensors file. Its tensors are the state dict, as `save_weights` writes it; its header describes
as JSON (`json_settings`) how the network was constructed and, for each ODE block, the kind, nodes and horizon of θ, the
stepping, gradient method, projection and noise. So a network that was refined, or whose θ or solver was replaced, is
restored exactly. Reading the file runs no code but the constructors of odenet and torch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

import odenet
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock, label_blocks
from odenet.blocks.configuration import configure
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.statistics.tables import statistics_in
from odenet.blocks.stepping.base import Projection, Stepping
from odenet.blocks.stochastic_depth import StochasticDepth
from odenet.blocks.theta.base import Constant, Theta
from odenet.models.resnet import Transition
from odenet.training.files import write_atomically
from odenet.training.json_data import differences
from odenet.training.json_settings import Names, setting_from_expression, setting_from_json, setting_to_json
from odenet.training.tensor_files import DamagedFile, read_tensors, tensors_to_bytes
from odenet.training.weights import CHANGING, WeightsError, load_state, require_finite, require_state

FORMAT = 3
"""Number of the format, raised whenever older code cannot read the file. Since 2 there is a checksum; up to 2, settings
are Python expressions, since 3 they are JSON."""

_KEY = "odenet"
"""Entry of the header that holds the description."""

_ENTRIES = frozenset({"format", "construction", "training", "blocks", "noises"})
"""Required entries of the description of a network."""

_MOST_NODES = 10_000
"""Maximal number of nodes of a block whose branches have no weights, by which they could be counted."""

_PLAIN = (bool, int, float, str, tuple, type(None))
"""Types of the options that are compared; other attributes are modules, or settings of blocks, saved as JSON."""


@checked
def save_model(
    model: nn.Module, path: Path | str, construction: Callable[..., nn.Module], *, names: Names | None = None
) -> None:
    """Write `model`, its settings and its weights to `path`, atomically; its folder is made if there is none.

    The same model gives the same bytes.

    >>> from tempfile import TemporaryDirectory
    >>> from odenet import RK4, FixedSteps, configure, refine_steps, refine_theta
    >>> from odenet.models import resnet20
    >>> net = refine_theta(refine_steps(resnet20(num_classes=2)))
    >>> _ = configure(net, stepping=FixedSteps(RK4()))
    >>> with TemporaryDirectory() as folder:
    ...     save_model(net, f"{folder}/net.safetensors", partial(resnet20, num_classes=2))
    ...     again = load_model(f"{folder}/net.safetensors")
    >>> again.stages[0].flow.theta.number_of_pieces, again.stages[0].flow.stepping
    (6, FixedSteps(RK4(), per_piece=1))

    Args:
        model: Network, or an `ODEBlock`.
        path: File to write; an existing one is replaced, as by `torch.save`.
        construction: Function that made the network before its blocks were changed: a constructor, or a `partial` with
            its arguments, `partial(resnet20, num_classes=2)`. For a block, the constructor of its branches:
            `partial(BasicBranch, 16)`.
        names: Classes and functions among the settings that are not odenet's or torch.nn's, by name; `load_model`
            needs the same.

    Raises:
        ValueError: if the file would build another network (the message says where it differs), or a setting cannot be
            written as JSON.
        CannotWrite: if the disk is full, or the folder cannot be made or written; an existing file is left intact.
    """
    description = _description(model, construction, names)
    with torch.device("meta"):
        _require_same(_build(description, names, model.state_dict()), model)
    content = tensors_to_bytes(model.state_dict(), {_KEY: json.dumps(description, ensure_ascii=False)})
    write_atomically(Path(path), content, what="saved model")


@checked
def load_model(path: Path | str, *, names: Names | None = None) -> nn.Module:
    """Read the network or block that `save_model` wrote, on the CPU, in the mode and precision that it had.

    Random generators are left as they are. Every parameter requires a gradient, as in a new network.

    Args:
        path: File to read.
        names: Classes and functions by name, as given to `save_model`.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: if the file is truncated, damaged, foreign or of a newer format, names unknown classes, or holds
            weights that do not fit the network it describes: of other shapes, NaN, complex, or integers in place of
            floating-point numbers.
    """
    description, tensors = _content(Path(path))
    source = f"the saved model {path}"
    require_finite(tensors, source)
    with torch.random.fork_rng(devices=[]):
        try:
            _require_nodes(description, tensors)
            # First on the meta device, so that no memory is allocated unless the file holds that many numbers.
            with torch.device("meta"), _limited_modules(2 * _MOST_NODES + 20 * len(tensors)):
                require_state(_build(description, names, tensors), tensors, source)
            model = _build(description, names, tensors)
        except WeightsError:
            raise
        except Exception as error:  # constructors may raise anything for arguments from a file
            raise _unreadable(Path(path), f"the network cannot be built: {type(error).__name__}: {error}") from error
    load_state(model, tensors, source)
    model.load_state_dict(tensors, assign=True)  # a second time, to keep the precision of the file
    return model.train(description["training"])


def construction_of(path: Path | str) -> Callable[..., nn.Module]:
    """Return the construction with which `save_model` wrote the file at `path`, of classes of odenet and torch."""
    description, _ = _content(Path(path))
    read = setting_from_expression if description["format"] < 3 else setting_from_json
    return read(description["construction"])


@contextmanager
def _limited_modules(number: int) -> Iterator[None]:
    """Limit the number of modules, parameters and buffers, because a short file can describe a billion layers."""
    left = count(number, -1)

    def registered(*_: Any) -> None:
        if next(left) <= 0:
            raise ValueError(f"it would have more than {number} modules and weights, and the file has far fewer")

    hooks = (
        register_module_module_registration_hook,
        register_module_parameter_registration_hook,
        register_module_buffer_registration_hook,
    )
    handles = [register(registered) for register in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _require_nodes(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise an error if the number of nodes differs from that with weights, before nodes are copied."""
    for block, settings in description["blocks"].items():
        before = f"{block}.theta.nodes.".removeprefix(".")
        there = {name.removeprefix(before).partition(".")[0] for name in tensors if name.startswith(before)}
        if settings["nodes"] != len(there) and (there or settings["nodes"] > _MOST_NODES):
            raise ValueError(f"{block or 'the block'} has {settings['nodes']} nodes and weights of {len(there)}")


def _description(model: nn.Module, construction: Callable[..., nn.Module], names: Names | None) -> dict[str, Any]:
    noises = ((name, m.noise) for name, m in model.named_modules() if isinstance(m, Transition) and m.noise)
    return {
        "format": FORMAT,
        "version": odenet.__version__,
        "construction": setting_to_json(construction, names),
        "training": model.training,
        "blocks": {name: _settings(block, names) for name, block in _blocks(model)},
        "noises": {name: setting_to_json(noise, names) for name, noise in noises},
    }


def _blocks(model: nn.Module) -> Iterator[tuple[str, ODEBlock]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, ODEBlock))


def _settings(block: ODEBlock, names: Names | None) -> dict[str, Any]:
    theta = block.theta
    options = {name: getattr(theta, name) for name in ("degree", "basis") if hasattr(theta, name)}
    settings = {
        "theta": partial(type(theta), **options, horizon=theta.horizon),
        "stepping": block.stepping,
        "gradient": block.gradient,
        "projection": block.projection,
        "noise": block.noise,
    }
    return {"nodes": len(theta.nodes)} | {name: setting_to_json(value, names) for name, value in settings.items()}


def _build(description: Mapping[str, Any], names: Names | None, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build the network of a description, with new weights, and statistics along the solve as in `tensors`."""
    read = partial(setting_from_expression if description["format"] < 3 else setting_from_json, names=names)
    made = read(description["construction"])()
    model = ODEBlock(Constant(made)) if "" in description["blocks"] else made
    blocks = dict(_blocks(model))
    if blocks.keys() != description["blocks"].keys():
        raise _wrong_construction(f"the blocks {list(blocks)} and not {list(description['blocks'])}")
    for name, settings in description["blocks"].items():
        values = {key: value if key == "nodes" else read(value) for key, value in settings.items()}
        _set(blocks[name], **values)
        blocks[name].statistics = statistics_in(tensors, f"{name}.statistics.".removeprefix("."))
    for name, noise in description["noises"].items():
        model.get_submodule(name).noise = read(noise)
    label_blocks(model)
    return model


def _set(
    block: ODEBlock,
    *,
    theta: partial[Theta],
    nodes: int,
    stepping: Stepping,
    gradient: GradientMethod,
    projection: Projection | None,
    noise: StochasticDepth | None,
) -> None:
    """Set the θ and the settings of a newly constructed block to those of the saved one."""
    block.noise = None
    block.theta = _theta(theta, list(block.theta.nodes), nodes)
    block.projection = projection
    configure(block, stepping=stepping, gradient=gradient)
    block.noise = noise


def _theta(kind: partial[Theta], nodes: list[nn.Module], number: int) -> Theta:
    if len(nodes) != number:
        nodes = [copy.deepcopy(nodes[0]) for _ in range(number)]
    return kind(nodes[0] if kind.func is Constant else nodes)


def _require_same(built: nn.Module, model: nn.Module) -> None:
    """Raise an error unless the network built from the description equals the one to save."""
    if lines := differences(_facts(model), _facts(built), limit=2):
        raise _wrong_construction("; ".join(lines))
    if len(list(built.parameters())) != len(list(model.parameters())):
        raise _wrong_construction("parameters of their own where modules share them")


def _facts(model: nn.Module) -> dict[str, Any]:
    """Return the classes, options and shapes of a network: all but its weights and the settings of its blocks."""
    facts: dict[str, Any] = {name: list(value.shape) for name, value in model.state_dict().items()}
    for path, module in model.named_modules():
        facts[path] = type(module).__name__
        for name, value in vars(module).items():
            if not name.startswith("_") and name not in CHANGING and isinstance(value, _PLAIN):
                facts[f"{path}.{name}"] = repr(value)
    return facts


def _wrong_construction(found: str) -> ValueError:
    return ValueError(
        f"save_model was given a construction that makes another network than the one to save: {found}. Pass the "
        "constructor with all its arguments, as functools.partial(resnet20, num_classes=…); or save the weights alone "
        "by save_weights, and build the network yourself."
    )


def _content(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the description and the weights."""
    if not path.exists():
        raise FileNotFoundError(f"there is no saved model {path}; give the path of one that save_model wrote.")
    try:
        tensors, about, checked = read_tensors(path)
    except DamagedFile as error:
        raise _unreadable(path, str(error)) from error
    if _KEY not in about:
        raise _unreadable(
            path, "it describes no network; load_weights reads its weights into a network that you have built"
        )
    description = _parsed_description(path, about[_KEY])
    if description["format"] > FORMAT:
        raise WeightsError(
            f"the saved model {path} has format {description['format']}, of odenet {description['version']}, and this "
            f"version, {odenet.__version__}, reads formats up to {FORMAT}: update odenet."
        )
    if description["format"] > 1 and not checked:
        raise _unreadable(path, "it has lost its checksum")
    if lacking := _ENTRIES - description.keys():
        raise _unreadable(path, f"its description lacks {', '.join(sorted(lacking))}")
    if not isinstance(mode := description["training"], bool):
        raise _unreadable(path, f"training in its description must be true or false, got {mode!r:.50}")
    return description, tensors


def _parsed_description(path: Path, text: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"its description is no JSON: {error}") from error
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise _unreadable(path, "its description has no format")
    return {"version": "unknown"} | description


def _unreadable(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"the saved model {path} cannot be read ({reason}): it is truncated or damaged, or was not written by "
        "save_model; give another file."
    )
