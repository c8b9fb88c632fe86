"""Files that somebody wrote to run code, to fill the memory, or to hang who reads them."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from odenet.training import Record, load_model, save_model
from odenet.training.checkpoints import FORMAT, _sealed
from odenet.training.tensor_files import read_tensors, tensors_to_bytes
from tests.drills.kinds_of_files import SMALL

DONE = "ODENET_DRILL_DONE"
"""The environment variable with the name of a folder that code in a file would make."""

DEEP = 50_000
"""Levels of nesting: more than any stack holds."""


class Malice:
    """What a pickle may do: call any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def malices() -> dict[str, Malice]:
    """Calls that make the folder."""
    folder = os.environ[DONE]
    code = f"__import__('os').mkdir({folder!r})"
    return {
        "mkdir": Malice(os.mkdir, folder),
        "system": Malice(os.system, f"mkdir {folder}"),
        "eval": Malice(eval, code),
        "exec": Malice(exec, code),
        "loads": Malice(pickle.loads, pickle.dumps(Malice(os.mkdir, folder))),
        "torch.load": Malice(torch.load, folder),
    }


def pickles() -> dict[str, bytes]:
    """Files for torch.load: .pt and .pth."""
    found: dict[str, bytes] = {}
    for name, malice in malices().items():
        for place, content in {
            "alone": malice,
            "in a state": _checkpoint(state=malice),
            "in an identity": _checkpoint(identity=malice),
        }.items():
            found[f"{name} {place}"] = _sealed(_archive(content))
            found[f"{name} {place}, legacy"] = _archive(content, zipped=False)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            found[f"{name}, plain pickle {protocol}"] = pickle.dumps(malice, protocol)
    laughs: Any = "ha"
    for _ in range(60):
        laughs = [laughs, laughs]
    endless: dict[str, Any] = {}
    endless["a"] = endless
    deep = b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b"."
    huge = torch.zeros(1).expand(10**15)
    return found | {
        "billion laughs": _sealed(_archive(_checkpoint(identity=laughs))),
        "billion laughs as a state": _sealed(_archive(laughs)),
        "deep lists": _repacked(deep),
        "deep lists, plain pickle": deep,
        "deep identity": _sealed(_archive(_checkpoint(identity=_nested(400)))),
        "an identity without end": _sealed(_archive(_checkpoint(identity=endless))),
        "huge tensors": _sealed(_archive({"conv1.weight": huge, "fc.weight": huge, "fc.bias": huge})),
        "no tensors": _sealed(_archive({"conv1.weight": "none", "fc.weight": None})),
        "keys of other kinds": _sealed(_archive({1: torch.zeros(1), ("a",): 2})),
        "a long number": b"\x80\x02\x8b\xff\xff\xff\x7f1.",
        "a number of many digits": b"I" + b"9" * 100_000 + b"\n.",
        "a bomb of zeros": _repacked(bytes(50_000_000)),
        "an empty archive": _zip({}),
        "an archive of other files": _zip({"../../outside": b"x", "a/data.pkl": b"."}),
        "another identity of many entries": _sealed(_archive(_checkpoint(identity=list(range(100_000))))),
    }


def records() -> dict[str, bytes]:
    """Files for Record.load: of format 1, which have no checksum that the author would have to make."""
    whole = {
        "kind": "odenet record",
        "format": 1,
        **{name: value for name, value in vars(Record("widths", "smoke", {})).items() if name != "made_from"},
    }

    def entry(name: str, text: str) -> bytes:
        return json.dumps(whole | {name: "HERE"}).replace('"HERE"', text).encode()

    return {
        "deep lists": b"[" * DEEP + b"]" * DEEP,
        "deep lists without an end": b"[" * DEEP,
        "deep settings": entry("settings", '{"a": ' * DEEP + "1" + "}" * DEEP),
        "deep results": entry("results", '{"a": ' * 700 + "1" + "}" * 700),
        "deeper results": entry("results", '{"a": ' * 950 + "1" + "}" * 950),
        "a number of many digits": entry("results", '{"a": ' + "9" * 100_000 + "}"),
        "a format of many digits": entry("format", "9" * 100_000),
        "a format that is a list": entry("format", "[1]"),
        "a format that is a switch": entry("format", "true"),
        "a float that is none": entry("results", '{"a": {"$float": "many"}}'),
        "a result that is a number": entry("results", '{"a": 1}'),
        "sessions of numbers": entry("sessions", "[1, 2]"),
        "a commit that is a list": entry("sessions", '[{"seconds": 1, "commit": []}]'),
        "sessions without seconds": entry("sessions", "[{}]"),
        "seconds of words": entry("sessions", '[{"seconds": "many", "commit": null}]'),
        "half a character": b"\xff\xfe" + json.dumps(whole).encode("utf-16-le"),
        "a surrogate": entry("experiment", '"\\ud800"'),
        "zeros": bytes(10_000),
    }


def tensor_files() -> dict[str, bytes]:
    """Files for load_model and load_weights: headers of safetensors."""
    good = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    headers = {
        "deep lists": "[" * DEEP + "]" * DEEP,
        "deep entries": '{"a":' * DEEP + "1" + "}" * DEEP,
        "a shape beyond the data": json.dumps({"a": good | {"shape": [10**12]}}),
        "a shape beyond every number": json.dumps({"a": good | {"shape": [2**63, 2**63]}}),
        "a negative shape": json.dumps({"a": good | {"shape": [-1]}}),
        "offsets beyond the data": json.dumps({"a": good | {"data_offsets": [0, 2**62], "shape": [2**60]}}),
        "offsets in reverse": json.dumps({"a": good | {"data_offsets": [4, 0]}}),
        "offsets that overlap": json.dumps({"a": good, "b": good}),
        "an unknown type": json.dumps({"a": good | {"dtype": "PICKLE"}}),
        "no type": json.dumps({"a": {"shape": [1], "data_offsets": [0, 4]}}),
        "texts that are none": json.dumps({"__metadata__": {"odenet": 1}, "a": good}),
        "a name twice": '{"a":' + json.dumps(good) + ',"a":' + json.dumps(good) + "}",
        "a number of many digits": '{"a":' + "9" * 100_000 + "}",
        "a shape of many digits": json.dumps({"a": good | {"shape": ["N"]}}).replace('"N"', "9" * 5000),
    }
    data = bytes(4)
    found = {name: len(line.encode()).to_bytes(8, "little") + line.encode() + data for name, line in headers.items()}
    return found | {
        "a header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
        "a header of all there is": (2**64 - 1).to_bytes(8, "little") + b"{}",
        "a header beyond the file": (10**9).to_bytes(8, "little") + b"{}",
        "half a character": (4).to_bytes(8, "little") + b'{"\xff}',
        "other shapes": save({"head.weight": torch.zeros(1), "head.bias": torch.zeros(7)}),
        "no tensors": save({}),
        **{f"a pickle: {name}": content for name, content in pickles().items() if "mkdir" in name},
    }


def saved_models(path: Path) -> dict[str, bytes]:
    """Files for load_model: descriptions, in files whose checksum is right.

    Args:
        path: Where one may be written meanwhile.
    """
    save_model(SMALL(), path, SMALL)
    assert load_model(path)
    tensors, about, _ = read_tensors(path)
    whole = json.loads(about["odenet"])
    old = _of_format_2(whole)
    path.write_bytes(tensors_to_bytes(tensors, {"odenet": json.dumps(old)}))
    assert load_model(path), "a file of format 2"
    block = "stages.0.flow"
    folder = os.environ[DONE]

    def described(whole: dict[str, Any] = whole, **entries: Any) -> bytes:
        return tensors_to_bytes(tensors, {"odenet": json.dumps(whole | entries)})

    def of_block(whole: dict[str, Any] = whole, **entries: Any) -> bytes:
        return described(whole, blocks=whole["blocks"] | {block: whole["blocks"][block] | entries})

    def call(name: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"call": name, "args": list(args), "kwargs": kwargs}

    def net(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return call("partial", {"name": name}, *args, **kwargs)

    settings = {
        "an import": call("__import__", "os"),
        "an attribute": call("partial.__class__"),
        "a call of a call": call("partial", call("partial", {"name": "eval"}), f"__import__('os').mkdir({folder!r})"),
        "a name that is a call": call(call("partial")),
        "a constructor that is a number": call("partial", 3),
        "a product": call("partial", {"name": "repeat"}, "a", 10**12),
        "deep calls": _nested(200, "call"),
        "deep lists": _nested(200, "list"),
        "deep tuples": _nested(200, "tuple"),
        "pairs that are none": {"dict": [[1], [1, 2, 3]]},
        "a key that cannot be one": {"dict": [[[], 1]]},
        "a number of many digits": 10**4000,
        "a long name": {"name": "a" * 1_000_000},
        "a net of many classes": net("cifar_resnet", 2, 10**13, 1),
        "a net of many layers": net("cifar_resnet", 1000000000, 3, 1),
        "a net of wide layers": net("cifar_resnet", 2, 3, 1, widths={"tuple": [1000000000000, 4]}),
        "a chain of many layers": net("SigmoidChain", 1000000000),
        "a net of many stages": net("cifar_resnet", 2, 3, 1, widths={"tuple": [4] * 2000}),
        "a layer of torch": net("Linear", 1000000000, 1000000000),
        "an embedding": net("Embedding", 1000000000000, 1000000000),
        "another net": net("resnet20", num_classes=3),
    }
    expressions = {
        "an import": f"__import__('os').mkdir({folder!r})",
        "an attribute": f"partial.__class__.__base__.__subclasses__().mkdir({folder!r})",
        "a lambda": f"(lambda: __import__('os').mkdir({folder!r}))()",
        "a call of a call": f"partial(partial, eval)({folder!r})",
        "a comprehension": f"[__import__('os').mkdir(x) for x in [{folder!r}]]",
        "an f-string": f"f'{{__import__(\"os\").mkdir({folder!r})}}'",
        "a walrus": "(x := 1)",
        "a power": "9**9**9",
        "a product": "'a' * 10**12",
        "deep brackets": "(" * DEEP + ")" * DEEP,
        "deep lists": "[" * 90 + "]" * 90,
        "deep calls": "partial(" * 80 + ")" * 80,
        "deep signs": "-" * DEEP + "1",
        "a number of many digits": "9" * 100_000,
        "zeros inside": "partial\0",
        "a long name": "a" * 1_000_000,
        "a net of many classes": "partial(cifar_resnet, 2, 10**13, 1)",
        "a net of many layers": "partial(cifar_resnet, 1000000000, 3, 1)",
        "a net of wide layers": "partial(cifar_resnet, 2, 3, 1, widths=(1000000000000, 4))",
        "a chain of many layers": "partial(SigmoidChain, 1000000000)",
        "a net of many stages": f"partial(cifar_resnet, 2, 3, 1, widths={(4,) * 2000})",
        "a layer of torch": "partial(Linear, 1000000000, 1000000000)",
        "an embedding": "partial(Embedding, 1000000000000, 1000000000)",
        "another net": "partial(resnet20, num_classes=3)",
    }
    return {
        **{f"construction: {name}": described(construction=data) for name, data in settings.items()},
        **{f"stepping: {name}": of_block(stepping=data) for name, data in settings.items()},
        **{f"old construction: {name}": described(old, construction=text) for name, text in expressions.items()},
        **{f"old stepping: {name}": of_block(old, stepping=text) for name, text in expressions.items()},
        "expressions in a new format": described(_of_format_2(whole) | {"format": whole["format"]}),
        "a great many nodes": of_block(nodes=10**12),
        "nodes beyond every number": of_block(nodes=float("inf")),
        "many steps": of_block(stepping=call("FixedSteps", call("Euler"), per_piece=-1)),
        "an unknown block": described(blocks=whole["blocks"] | {"nowhere": whole["blocks"][block]}),
        "blocks that are a list": described(blocks=[1]),
        "blocks that are deep": described(blocks=_nested(300)),
        "training that is a word": described(training="__import__"),
        "noises that are code": described(noises={block: call("eval", f"__import__('os').mkdir({folder!r})")}),
        "a version that is a list": described(format=10**9, version=[1]),
        "no text": tensors_to_bytes(tensors, {"odenet": ""}),
        "deep text": tensors_to_bytes(tensors, {"odenet": "[" * DEEP}),
        "a text of many digits": tensors_to_bytes(tensors, {"odenet": "9" * 100_000}),
    }


def _checkpoint(**entries: Any) -> dict[str, Any]:
    return {"kind": "odenet checkpoint", "format": FORMAT, "identity": {"seed": 1}, "state": {}} | entries


def _archive(content: Any, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _repacked(data: bytes) -> bytes:
    """A file of torch with another pickle in it."""
    return _zip({"archive/data.pkl": data, "archive/version": b"3\n", "archive/byteorder": b"little"})


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _nested(depth: int, kind: str = "dict") -> Any:
    nested: Any = {}
    for _ in range(depth):
        called = {"call": "partial", "args": [nested], "kwargs": {}}
        nested = {"dict": {"a": nested}, "list": [nested], "tuple": {"tuple": [nested]}, "call": called}[kind]
    return nested


def _of_format_2(description: dict[str, Any]) -> dict[str, Any]:
    """The description as it was up to format 2, where settings were expressions."""

    def expression(data: Any) -> str:
        match data:
            case {"name": name}:
                return name
            case {"call": name, "args": args, "kwargs": kwargs}:
                keywords = [f"{key}={expression(entry)}" for key, entry in kwargs.items()]
                return f"{name}({', '.join([*map(expression, args), *keywords])})"
            case {"tuple": entries}:
                return f"({''.join(f'{expression(entry)}, ' for entry in entries)})"
        return repr(data)

    def of_settings(settings: dict[str, Any]) -> dict[str, Any]:
        return {name: value if name == "nodes" else expression(value) for name, value in settings.items()}

    blocks = {name: of_settings(settings) for name, settings in description["blocks"].items()}
    return description | {"format": 2, "construction": expression(description["construction"]), "blocks": blocks}
