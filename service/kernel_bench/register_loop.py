"""A hot loop of x86 assembly with its loads taken out: the same operations on values that registers hold already.

Registers are assigned anew. The compiler reuses the register of a loaded operand for a result; without the load, the
next turn would wait for that result, which the kernel never does. What was loaded, conversions from memory included,
becomes one register of zeros; copies go; what was spilled stays in a register, or is as good as loaded where registers
do not suffice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

DOT = re.compile(r"(vpdpbusd|vpmaddubsw|vpmaddwd|vfmadd\w+ps)")
MEMORY = r"(?:[-\w.$]*\((?:%\w+)?(?:,%\w+)*(?:,\d)?\))(?:\{1to\d+\})?"
OPERAND = re.compile(rf"{MEMORY}|%\w+|\$-?\w+")
BRANCH = re.compile(r"j\w+$")
MOVE = re.compile(r"vp?broadcast\w+$|vmov[adqu]\w*$|vlddqu$")
CONVERTS = re.compile(r"vcvtph2ps$|vpmov[sz]x\w\w$")  # from memory they are loads; they read half of what they write
QUARTERS = re.compile(r"vpmov[sz]x(bd|wq)$")  # or a quarter
ZEROES = re.compile(r"vp?xor\w*$")  # a register with itself: no pipe takes part, and what was loaded is zeros too
READS_ITS_RESULT = re.compile(r"vfn?m|vpdp")
FUSED = re.compile(r"(vfn?m\w+?)(132|213|231)(ps)$")
SUM_LAST = {"231": (0, 1, 2), "213": (1, 2, 0), "132": (0, 2, 1)}
LOADED = -1  # the value of everything that comes from memory
NARROWER = {"z": "y", "y": "x", "x": "x"}


@dataclass(frozen=True, slots=True)
class _Operation:
    """`sources`: values, in the order of the text; `tied`: that the result replaces one of them, the last."""

    name: str
    immediates: tuple[str, ...]
    sources: tuple[int, ...]
    result: int
    width: str
    tied: bool


@dataclass(slots=True)
class _Reader:
    """Values of registers and of stack slots while the loop is read once. Unwritten ones come from the turn before."""

    keeps_spills: bool
    count: int = 0
    now: dict[str, int] = field(default_factory=dict)
    entering: dict[str, int] = field(default_factory=dict)
    operations: list[_Operation] = field(default_factory=list)

    def fresh(self) -> int:
        self.count += 1
        return self.count - 1

    def value(self, place: str) -> int:
        if place not in self.now:
            self.now[place] = self.entering[place] = self.fresh()
        return self.now[place]

    def read(self, name: str, operands: list[str]) -> None:
        places = [_place(operand) for operand in operands]
        if not places or places[-1] is None:
            return
        if places[-1].startswith("("):  # a store
            if self._is_kept(places[-1]) and places[0] is not None:
                self.now[places[-1]] = self._operand(places[0])
            return
        from_memory = places[0] is not None and places[0].startswith("(")
        if MOVE.match(name) or (from_memory and CONVERTS.match(name)):
            if places[0] is not None:
                self.now[places[-1]] = self._operand(places[0])
            return
        if ZEROES.match(name) and len(places) == 3 and places[0] == places[1]:
            self.now[places[-1]] = LOADED
            return
        tied = bool(READS_ITS_RESULT.match(name))
        read = [place for place in (places if tied else places[:-1]) if place is not None]
        order = FUSED.match(name)
        if order:  # the sum is what stays in its register, whichever operand the compiler let it replace
            read = [read[index] for index in SUM_LAST[order[2]]]
            name = f"{order[1]}231{order[3]}"
        immediates = tuple(operand for operand in operands if operand.startswith("$"))
        sources = tuple(self._operand(place) for place in read)
        result = self.now[places[-1]] = self.fresh()
        self.operations.append(_Operation(name, immediates, sources, result, operands[-1][1], tied))

    def _operand(self, place: str) -> int:
        return LOADED if place.startswith("(") and not self._is_kept(place) else self.value(place)

    def _is_kept(self, place: str) -> bool:
        return self.keeps_spills and ("(%rsp)" in place or "(%rbp)" in place)


class _TooManyValues(Exception):
    """More live values than registers."""


def register_loop(assembly: str) -> list[str]:
    """The loop's vector instructions; its label, its counting and its branch are the caller's."""
    blocks = re.split(r"(?m)^(?=\.LBB)", assembly)
    loops = [text for text in blocks if re.search(rf"\tj\w+\t{re.escape(text.split(':')[0])}$", text, re.MULTILINE)]
    block = max(loops or blocks, key=lambda text: len(DOT.findall(text)))
    lines = block.splitlines()[1:]
    try:
        return _assigned(_read(lines, keeps_spills=True))
    except _TooManyValues:
        return _assigned(_read(lines, keeps_spills=False))


def _read(lines: list[str], keeps_spills: bool) -> _Reader:
    reader = _Reader(keeps_spills)
    for line in lines:
        words = line.split("#")[0].replace("{vex}", "").split(None, 1)
        if not words or words[0].startswith("."):
            continue
        if BRANCH.match(words[0]):
            break
        if words[0].startswith("v") and len(words) == 2:
            reader.read(words[0], OPERAND.findall(words[1]))
    return reader


def _place(operand: str) -> str | None:
    """A vector register by its number, memory by its text, None for anything else."""
    register = re.fullmatch(r"%[xyz]mm(\d+)", operand)
    if register:
        return register[1]
    return f"({operand}" if "(" in operand else None


def _assigned(reader: _Reader) -> list[str]:
    """Text with registers of its own; register 0 holds what was loaded."""
    carried = {first: reader.now[place] for place, first in reader.entering.items() if reader.now[place] != first}
    constants = {first for place, first in reader.entering.items() if reader.now[place] == first} | {LOADED}
    carried = {first: last for first, last in carried.items() if last not in constants}
    constants |= set(reader.entering.values()) - set(carried)
    last_use: dict[int, int] = {}
    for index, operation in enumerate(reader.operations):
        last_use.update(dict.fromkeys(operation.sources, index))
    last_use.update(dict.fromkeys(carried.values(), len(reader.operations)))
    free = list(range(31 if any(o.width == "z" for o in reader.operations) else 15, 0, -1))
    if len(carried) >= len(free):
        raise _TooManyValues
    home = {first: free.pop() for first in carried}
    homes = set(home.values())
    ends_at = {last: home[first] for first, last in carried.items()}
    at = {**dict.fromkeys(constants, 0), **home}
    text = []
    for index, operation in enumerate(reader.operations):
        operands = [at[value] for value in operation.sources]
        dying = {value for value in operation.sources if last_use[value] == index and value not in constants}
        for value in dying:
            free.append(at.pop(value))
        if not free:
            raise _TooManyValues
        wanted = [operands[-1]] if operation.tied else [ends_at.get(operation.result, 0), *operands]
        kept = [number for number in wanted if number in free and (number in homes or operation.tied)]
        others = [number for number in free if number not in homes]
        result = (kept or others or free)[-1 if not kept else 0]
        if operation.tied and result != operands[-1]:
            text.append(f"\tvmovaps %{operation.width}mm{operands[-1]}, %{operation.width}mm{result}")
        free.remove(result)
        at[operation.result] = result
        if operation.result not in last_use:
            free.append(at.pop(operation.result))
        reads = operands[:-1] if operation.tied else operands
        text.append(_text(operation, reads, result))
    for first, last in carried.items():
        if at[last] != home[first]:
            text.append(f"\tvmovaps %ymm{at[last]}, %ymm{home[first]}")
    return text


def _text(operation: _Operation, reads: list[int], result: int) -> str:
    width = operation.width
    source_width = NARROWER[width] if CONVERTS.match(operation.name) else width
    if QUARTERS.match(operation.name):
        source_width = NARROWER[source_width]
    registers = [f"%{source_width}mm{number}" for number in reads]
    return f"\t{operation.name} {', '.join([*operation.immediates, *registers, f'%{width}mm{result}'])}"
