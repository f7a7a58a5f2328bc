"""Compiles every native function of `kernels` for the CPU that numba was told, into the cache. Runs none of them.

`python -m tools.image.functions [LEVEL]` is run on each architecture while the image is built, so that no start
compiles: on Arm once, for what numba compiles there is the same for every core; on x86 once for each level of the ABI.
"""

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels.jit.function import NativeFunction


def native_functions() -> Iterator["NativeFunction"]:
    """Each one that a module of `kernels` defines, once."""
    import kernels
    from kernels.jit.function import NativeFunction

    for found in pkgutil.walk_packages(kernels.__path__, "kernels."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if isinstance(value, NativeFunction) and value.name.startswith(f"{found.name}."):
                yield value


def main() -> None:
    """numba reads its target when it is imported, so a level is set before anything of ours is."""
    if len(sys.argv) > 1:
        from kernels.jit.levels import level_target

        os.environ["NUMBA_CPU_NAME"], os.environ["NUMBA_CPU_FEATURES"] = level_target(sys.argv[1])
    functions = list(native_functions())
    for number, function in enumerate(functions, 1):
        print(f"{number}/{len(functions)} {function.name}", flush=True)
        assert function.address
    num_compiled = sum(not function.was_cached for function in functions)
    print(f"{len(functions)} functions, {num_compiled} of them compiled now")


if __name__ == "__main__":
    main()
