"""Writes LLVM IR as text: typed values, loops, variables. Knows no instruction set and no kernel.

Why text and not `llvmlite.ir`: scalable vectors, per-function CPU features and intrinsics by full name all need
it, and the text itself is the key of the object cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from kernels.jit.ir_types import F16, F32, I1, I8, I16, I32, I64, PTR, VOID, is_float, literal, mangled, vector

CACHE_LINE = 64

# fmt: off
__all__ = [
    "F16", "F32", "I1", "I8", "I16", "I32", "I64", "PTR", "VOID",
    "Function", "Value", "Variable", "is_float", "vector",
]
# fmt: on

Operand: TypeAlias = "Value | int"


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An SSA value or a constant; `+ - * & | >> <<` emit instructions (`>>` is logical)."""

    function: Function
    type: str
    name: str

    def _binary(self, integer: str, floating: str, other: Operand) -> Value:
        right = self.function.const(self.type, other) if isinstance(other, int) else other
        assert right.type == self.type, f"{integer}: {self.type} against {right.type}"
        return self.function.emit(
            self.type, f"{floating if is_float(self.type) else integer} {self.type} {self.name}, {right.name}"
        )

    def __add__(self, other: Operand) -> Value:
        return self._binary("add", "fadd", other)

    def __sub__(self, other: Operand) -> Value:
        return self._binary("sub", "fsub", other)

    def __mul__(self, other: Operand) -> Value:
        return self._binary("mul", "fmul", other)

    def __and__(self, other: Operand) -> Value:
        return self._binary("and", "and", other)

    def __or__(self, other: Operand) -> Value:
        return self._binary("or", "or", other)

    def __rshift__(self, other: Operand) -> Value:
        return self._binary("lshr", "lshr", other)

    def __lshift__(self, other: Operand) -> Value:
        return self._binary("shl", "shl", other)


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """A mutable local. It lives in an alloca that LLVM turns into a register."""

    pointer: Value
    type: str

    def get(self) -> Value:
        return self.pointer.function.load(self.type, self.pointer, align=_natural_align(self.type))

    def set(self, value: Value) -> None:
        assert value.type == self.type, f"{self.type} set to {value.type}"
        self.pointer.function.store(value, self.pointer, align=_natural_align(self.type))


def _natural_align(type_: str) -> int:
    return 8 if type_ in (PTR, I64) else 4


class Function:
    """One function being written. Blocks are opened and closed by `loop` and `when`."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[tuple[str, str]],
        features: str,
        returns: str = VOID,
        attributes: Sequence[str] = (),
    ):
        self.name = name
        self.returns = returns
        self.features = features
        self.attributes = attributes
        self._arguments = {arg: Value(self, type_, f"%{arg}") for arg, type_ in arguments}
        self._allocas: list[str] = []
        self._lines: list[str] = []
        self._declarations: dict[str, str] = {}
        self._count = 0

    def __getitem__(self, argument: str) -> Value:
        return self._arguments[argument]

    # -- values

    def _fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def emit(self, type_: str, instruction: str) -> Value:
        """Appends `instruction` and names its result."""
        name = f"%{self._fresh()}"
        self._lines.append(f"  {name} = {instruction}")
        return Value(self, type_, name)

    def const(self, type_: str, value: float) -> Value:
        """A scalar constant, or a vector with `value` in every lane."""
        if type_.startswith("<"):
            element = type_.rsplit(" ", 1)[1].rstrip(">")
            text = f"splat ({element} {literal(element, value)})"
        else:
            text = literal(type_, value)
        return Value(self, type_, text)

    def zero(self, type_: str) -> Value:
        return Value(self, type_, "zeroinitializer" if type_.startswith("<") else literal(type_, 0))

    def cast(self, kind: str, value: Value, to: str) -> Value:
        """`kind`: sext, zext, trunc, bitcast, sitofp, fpext, fptrunc, fptosi ..."""
        return self.emit(to, f"{kind} {value.type} {value.name} to {to}")

    def compare(self, predicate: str, left: Value, right: Operand) -> Value:
        """`predicate`: eq, slt, sgt ... for integers; oeq, olt ... for floats."""
        right = self.const(left.type, right) if isinstance(right, int) else right
        kind = "fcmp" if is_float(left.type) else "icmp"
        lanes = left.type.replace(left.type.rsplit(" ", 1)[1].rstrip(">"), I1) if left.type.startswith("<") else I1
        return self.emit(lanes, f"{kind} {predicate} {left.type} {left.name}, {right.name}")

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        operands = f"{condition.type} {condition.name}, {yes.type} {yes.name}, {no.type} {no.name}"
        return self.emit(yes.type, f"select {operands}")

    def shuffle(self, left: Value, mask: Sequence[int], right: Value | None = None) -> Value:
        element = left.type.rsplit(" ", 1)[1].rstrip(">")
        lanes = ", ".join(f"i32 {lane}" for lane in mask)
        other = f"{left.type} {right.name if right else 'poison'}"
        return self.emit(
            vector(len(mask), element), f"shufflevector {left.type} {left.name}, {other}, <{len(mask)} x i32> <{lanes}>"
        )

    def splat(self, scalar: Value, type_: str) -> Value:
        one = self.emit(type_, f"insertelement {type_} poison, {scalar.type} {scalar.name}, i64 0")
        shape = type_[1:].rsplit(" x ", 1)[0]
        return self.emit(type_, f"shufflevector {type_} {one.name}, {type_} poison, <{shape} x i32> zeroinitializer")

    def call(self, name: str, returns: str, *arguments: Value) -> Value:
        """Calls an intrinsic or an external function by its full name; declares it once."""
        types = ", ".join(a.type for a in arguments)
        self._declarations[name] = f"declare {returns} @{name}({types})"
        text = f"call {returns} @{name}({', '.join(f'{a.type} {a.name}' for a in arguments)})"
        if returns == VOID:
            self._lines.append(f"  {text}")
            return Value(self, VOID, "")
        return self.emit(returns, text)

    def divide(self, left: Value, right: Value) -> Value:
        return self.emit(left.type, f"fdiv {left.type} {left.name}, {right.name}")

    def fma(self, left: Value, right: Value, addend: Value) -> Value:
        """left * right + addend, rounded once."""
        return self.call(f"llvm.fma.{mangled(left.type)}", left.type, left, right, addend)

    def clamp(self, value: Value, lo: Value, hi: Value) -> Value:
        """min(max(value, lo), hi) lane by lane; lo and hi are scalars. A NaN stays."""
        low, high = self.splat(lo, value.type), self.splat(hi, value.type)
        value = self.select(self.compare("olt", value, low), low, value)
        return self.select(self.compare("ogt", value, high), high, value)

    def both(self, left: Value, right: Value) -> Value:
        return self.emit(left.type, f"and {left.type} {left.name}, {right.name}")

    def exclusive_or(self, left: Value, right: Value) -> Value:
        return self.emit(left.type, f"xor {left.type} {left.name}, {right.name}")

    def pinned(self, value: Value, register_class: str) -> Value:
        """The value itself, made opaque: LLVM keeps pinned instructions in the order written, and no tree of sums."""
        constraint = f'"", "={register_class},0"'
        return self.emit(value.type, f"call {value.type} asm sideeffect {constraint}({value.type} {value.name})")

    def divide_up(self, value: Value, divisor: Operand) -> Value:
        """Unsigned, rounded up."""
        if isinstance(divisor, int):
            divisor = self.const(value.type, divisor)
        above = value + (divisor - 1)
        return self.emit(value.type, f"udiv {value.type} {above.name}, {divisor.name}")

    def divide_exactly(self, value: Value, divisor: int) -> Value:
        """`value` is a multiple of `divisor`."""
        return value if divisor == 1 else self.emit(value.type, f"udiv exact {value.type} {value.name}, {divisor}")

    def remainder(self, left: Value, right: int) -> Value:
        """Unsigned."""
        return self.emit(left.type, f"urem {left.type} {left.name}, {right}")

    def extract(self, value: Value, lane: int) -> Value:
        element = value.type.rsplit(" ", 1)[1].rstrip(">")
        return self.emit(element, f"extractelement {value.type} {value.name}, i64 {lane}")

    # -- memory: offsets are in bytes

    def offset(self, pointer: Value, num_bytes: Operand) -> Value:
        if isinstance(num_bytes, int):
            num_bytes = self.const(I64, num_bytes)
        return self.emit(PTR, f"getelementptr i8, ptr {pointer.name}, i64 {num_bytes.name}")

    def load(self, type_: str, pointer: Value, offset: Operand = 0, align: int = 1) -> Value:
        if not (isinstance(offset, int) and offset == 0):
            pointer = self.offset(pointer, offset)
        return self.emit(type_, f"load {type_}, ptr {pointer.name}, align {align}")

    def store(self, value: Value, pointer: Value, offset: Operand = 0, align: int = 1) -> None:
        if not (isinstance(offset, int) and offset == 0):
            pointer = self.offset(pointer, offset)
        self._lines.append(f"  store {value.type} {value.name}, ptr {pointer.name}, align {align}")

    def store_columns(self, out: Value, values: Sequence[Value], left: Value) -> None:
        """Writes consecutive f32 vectors at `out`, but no more than `left` elements."""
        lanes = int(values[0].type[1:].split(" ")[0])
        width = lanes * len(values)
        target, beside = self.variable(out), self.stack(4 * width)
        with self.when(self.compare("slt", left, width)):
            target.set(beside)
        for v, value in enumerate(values):
            self.store(value, target.get(), 4 * lanes * v, align=4)
        with self.when(self.compare("slt", left, width)), self.loop(0, left) as c:
            self.store(self.load(F32, beside, c << 2, align=4), out, c << 2, align=4)

    def prefetch(self, pointer: Value, offset: Operand = 0, locality: int = 3) -> None:
        where = self.offset(pointer, offset)
        self.call("llvm.prefetch.p0", VOID, where, *(self.const(I32, v) for v in (0, locality, 1)))

    def prefetch_lines(self, pointer: Value, num_bytes: int, locality: int = 3) -> None:
        """Every cache line of so many bytes."""
        for line in range(0, num_bytes, CACHE_LINE):
            self.prefetch(pointer, line, locality)

    def stack(self, num_bytes: int) -> Value:
        """A buffer on the stack, 64-byte aligned."""
        name = f"%{self._fresh('stack')}"
        self._allocas.append(f"  {name} = alloca [{num_bytes} x i8], align 64")
        return Value(self, PTR, name)

    def variable(self, value: Value) -> Variable:
        name = f"%{self._fresh('var')}"
        self._allocas.append(f"  {name} = alloca {value.type}")
        variable = Variable(Value(self, PTR, name), value.type)
        variable.set(value)
        return variable

    # -- control flow

    @contextmanager
    def loop(self, start: Operand, stop: Value, step: Operand = 1) -> Iterator[Value]:
        """for index in range(start, stop, step): the body may run no times."""
        index = self.variable(self.const(I64, start) if isinstance(start, int) else start)
        head, body, done = self._fresh("head"), self._fresh("body"), self._fresh("done")
        self._label(head)
        here = index.get()
        more = self.compare("slt", here, stop)
        self._lines += [f"  br i1 {more.name}, label %{body}, label %{done}", f"{body}:"]
        yield here
        index.set(here + step)
        self._lines += [f"  br label %{head}", f"{done}:"]

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        yes, done = self._fresh("yes"), self._fresh("done")
        self._lines += [f"  br i1 {condition.name}, label %{yes}, label %{done}", f"{yes}:"]
        yield
        self._label(done)

    def _label(self, name: str) -> None:
        self._lines += [f"  br label %{name}", f"{name}:"]

    def ret(self, value: Value | None = None) -> None:
        self._lines.append(f"  ret {value.type} {value.name}" if value else "  ret void")

    def text(self) -> str:
        """The whole module: declarations, the function, its attributes and CPU features."""
        arguments = ", ".join(f"{v.type} {v.name}" for v in self._arguments.values())
        head = f"define {self.returns} @{self.name}({arguments}) #0 {{\nentry:"
        words = " ".join(["nounwind", *self.attributes])
        attributes = f'attributes #0 = {{ {words} "target-features"="{self.features}" }}'
        return "\n".join([*self._declarations.values(), head, *self._allocas, *self._lines, "}", attributes, ""])
