"""Rewrites a template so that what takes time or space is paid for. Knows no budget, only the names of filters."""
# ruff: noqa: N802  (jinja2 finds a visitor by the name of the node's class)

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

TURNS = "_turns"
"""Of an iterable, and the cost of a turn."""
MEASURED = "_measured"
"""Of a new container."""
CONCATENATED = "_concatenated"
"""Of a list of what is to be joined."""
COUNTED = "_counted"
"""Of something that took time."""


class Rewriter(NodeTransformer):
    """Puts the paying filters around loops, literals, concatenations, comparisons and slices."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        # A turn costs at least the constant text of the loop's body.
        text = sum(len(each.data) for each in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _filtered(node.iter, TURNS, nodes.Const(text + 1))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), CONCATENATED)

    def visit_List(self, node: nodes.Expr) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(node, MEASURED)

    def visit_Dict(self, node: nodes.Expr) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(node, MEASURED)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:
        self.generic_visit(node)
        return _filtered(node, MEASURED) if node.ctx == "load" else node  # else: names to assign to

    def visit_Compare(self, node: nodes.Expr) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(node, COUNTED)

    def visit_Test(self, node: nodes.Expr) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(node, COUNTED)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        return _filtered(node, COUNTED) if isinstance(node.arg, nodes.Slice) else node  # a slice is a copy


def _filtered(node: nodes.Expr, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
