"""The pass transposes matrix products with few columns, and leaves all others as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from odenet import MLPBranch
from odenet.blocks.compile.programs import Programs
from odenet.blocks.compile.thin_products import TransposeThinProducts

ATEN = torch.ops.aten


def rewritten(function: Callable[..., Tensor], *inputs: Tensor) -> list[tuple[int, ...]]:
    """Return the shapes of the products in the graph that the pass makes of a function, after checking its result."""
    module = make_fx(function, tracing_mode="fake")(*inputs)
    TransposeThinProducts()(module.graph)
    module.graph.lint()
    module.recompile()
    torch.testing.assert_close(module(*inputs), function(*inputs))
    return [tuple(result.shape) for result in Products.of(module, inputs)]


class Products(fx.Interpreter):
    """An interpreter that records the shapes of the results of `mm` nodes."""

    results: list[Tensor]

    @classmethod
    def of(cls, module: fx.GraphModule, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        products = cls(module)
        products.results = []
        products.run(*inputs)
        return products.results

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.target is ATEN.mm.default:
            self.results.append(result)
        return result


def rows(m: int, n: int) -> Tensor:
    return torch.randn(m, n)


def columns(m: int, n: int) -> Tensor:
    return torch.randn(n, m).t()


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize(("of_a", "of_b"), [(rows, rows), (columns, rows), (columns, columns)])
def test_a_product_of_few_columns_is_transposed(
    of_a: Callable[..., Tensor], of_b: Callable[..., Tensor], n: int
) -> None:
    assert rewritten(torch.mm, of_a(20, 5), of_b(5, n)) == [(n, 20)]


@pytest.mark.parametrize(
    ("m", "n", "of_b"),
    [(20, 2, columns), (20, 1, rows), (20, 9, rows), (8, 2, rows)],
    ids=["scalar products of rows and columns", "a vector", "many columns", "few rows"],
)
def test_another_product_stays(m: int, n: int, of_b: Callable[..., Tensor]) -> None:
    assert rewritten(torch.mm, rows(m, 5), of_b(5, n)) == [(m, n)]


@pytest.mark.parametrize("added", [(2,), (20, 2), (20, 1)], ids=["a bias", "a matrix", "a column"])
def test_the_bias_of_a_transposed_product_is_still_added(added: tuple[int, ...]) -> None:
    assert rewritten(torch.addmm, torch.randn(added), columns(20, 5), rows(5, 2)) == [(2, 20)]


def test_a_product_in_half_precision_stays() -> None:
    assert rewritten(torch.mm, rows(20, 5).bfloat16(), rows(5, 2).bfloat16()) == [(20, 2)]


def test_a_product_of_unknown_shape_stays() -> None:
    graph = fx.Graph()
    a, b = graph.placeholder("a"), graph.placeholder("b")
    graph.output(graph.call_function(ATEN.mm.default, (a, b)))
    before = str(graph)
    TransposeThinProducts()(graph)
    assert str(graph) == before


def test_strides_of_transposed_products_are_used_for_later_products() -> None:
    assert rewritten(lambda a, b, c: (a @ b) @ c, rows(20, 5), rows(5, 2), rows(2, 3)) == [(2, 20), (3, 20)]
    assert rewritten(lambda a, b, c: (a @ b) @ c, rows(20, 5), rows(5, 2), columns(2, 3)) == [(2, 20), (3, 20)]
    assert rewritten(lambda a, b, c: (a @ b) @ c, rows(20, 5), columns(5, 2), columns(2, 3)) == [(20, 2), (20, 3)]


def test_a_weighted_sum_stays() -> None:
    assert rewritten(lambda c, a, b: torch.addmm(c, a, b, alpha=0.5), rows(20, 2), rows(20, 5), rows(5, 2)) == []


def test_the_compiled_gradient_of_an_mlp_on_a_plane_is_that_of_the_uncompiled_one() -> None:
    branch, x = MLPBranch(2).double(), torch.randn(20, 2, dtype=torch.float64, requires_grad=True)

    def loss(branch: MLPBranch, x: Tensor) -> Tensor:
        return branch(0.0, x).square().sum()

    inputs = (x, *branch.parameters())
    expected = torch.autograd.grad(loss(branch, x), inputs)
    found = torch.autograd.grad(Programs().compiled("loss", loss, "an MLP")(branch, x), inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_graph_of_all_batch_sizes_stays_one() -> None:
    def product(a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    module = make_fx(product, tracing_mode="symbolic")(rows(20, 5), rows(5, 2))
    TransposeThinProducts()(module.graph)
    module.recompile()
    for batch in (3, 30):
        a, b = rows(batch, 5), rows(5, 2)
        torch.testing.assert_close(module(a, b), a @ b)
    assert [tuple(each.shape) for each in Products.of(module, (rows(20, 5), rows(5, 2)))] == [(20, 2)]


def test_the_cache_key_of_the_pass_depends_on_its_source() -> None:
    assert TransposeThinProducts().uuid() == TransposeThinProducts().uuid()
    assert TransposeThinProducts().uuid() is not None
