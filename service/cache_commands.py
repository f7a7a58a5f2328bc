"""`gemmule cache ...`: arguments in, lines out. Knows no work itself; everything heavy is imported inside."""

from typing import Annotated

import typer

from service.flags import Cache, settings_from

cache_app = typer.Typer(help="Packed weights that are kept in the cache folder.", no_args_is_help=True)


@cache_app.command("list")
def list_packed(cache: Cache = None) -> None:
    """What is kept: size, age since the last use, model, layouts. The last line is the sum and the limit."""
    settings = settings_from({"cache": cache})

    from service.cache_list import list_lines

    for line in list_lines(settings.packed_cache):
        print(line)


@cache_app.command()
def verify(cache: Cache = None) -> int:
    """Read every file whole and compare it with its checksums. Status 1 if one is damaged."""
    settings_from({"cache": cache})

    from service.cache_list import verified

    num_damaged = 0
    for line, is_whole in verified():
        print(line, flush=True)
        num_damaged += not is_whole
    return 1 if num_damaged else 0


@cache_app.command()
def prune(
    limit: Annotated[
        str | None, typer.Option(help="Bytes that may stay, e.g. 20GiB (default: the setting packed_cache).")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Remove everything that is kept.")] = False,
    cache: Cache = None,
) -> None:
    """Remove what is damaged or half written, then the least recently used until the rest fits."""
    settings = settings_from({"cache": cache, "packed_cache": limit})

    from service.cache_list import prune_lines

    for line in prune_lines(0 if all_ else settings.packed_cache):
        print(line)
