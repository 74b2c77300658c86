"""The command line: one command per verb, each a thin call of the library. torch is imported when a command runs."""

import sys
from collections.abc import Callable

import tyro

from . import bench, heads, looking, models, quantizing, training

COMMANDS: dict[str, Callable[..., int | None]] = {
    "train": training.train,
    "runs": training.runs,
    "look": looking.look,
    "roles": heads.roles,
    "list": models.list_,
    "show": models.show,
    "diff": models.diff,
    "generate": models.generate,
    "fill": models.fill,
    "translate": models.translate,
    "embed": models.embed,
    "convert": models.convert,
    "quantize": quantizing.quantize,
    "check": models.check,
    "bench": bench.bench,
}


def main(args: list[str] | None = None) -> int:
    """Run one command. Bad input ends in one line on standard error and exit code 2."""
    words = sys.argv[1:] if args is None else args
    try:
        if words[:1] == ["train"]:  # its options are the fields of a recipe, which the words before them choose
            code: int | None = training.command(words[1:])
        else:
            code = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="cutaway", description=__doc__, args=words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        said: object = error
        if isinstance(error, KeyError) and error.args:
            said = error.args[0]  # str() would put it in quotes
        elif isinstance(error, OSError) and error.strerror:  # without the number
            said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        print(f"cutaway: {said}", file=sys.stderr)
        return 2
    return code or 0
