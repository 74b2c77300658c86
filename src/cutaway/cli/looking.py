"""Commands that look inside."""

import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from .models import DType, Group, Quantize, open_model

if TYPE_CHECKING:
    from ..looking.server import Server


def look(
    model: Annotated[Positional[str], arg(metavar="MODEL", help="a run, a checkpoint folder or a hub name")] = "",
    text: Annotated[Positional[str], arg(metavar="TEXT", help="what the model is to see")] = "",
    /,
    *,
    target: Annotated[
        str | None, arg(help="what an encoder-decoder is to write; nothing: what it writes itself")
    ] = None,
    port: Annotated[int, arg(help="0: any that is free")] = 0,
    browser: Annotated[bool, arg(help="open the page in the browser")] = True,
    export: Annotated[Path | None, arg(help="write the page to one HTML file, and do nothing else")] = None,
    heads: Annotated[str | None, arg(help="of an export, as in 5.1,5.3 or decoder.0.2; nothing: all")] = None,
    dtype: DType | None = None,
    device: str | None = None,
    quantize: Quantize = None,
    group: Group = None,
) -> None:
    """See what a model does with a text, in a page on this machine: cutaway look MODEL "The animal ..." """
    from ..looking.answers.opening import at_hand, examples
    from ..looking.desk import Desk
    from ..looking.export import write
    from ..looking.server import Server

    if export is None and heads is not None:
        raise ValueError("--heads chooses what is written: give --export FILE, too")
    if export is not None and not export.absolute().parent.is_dir():
        raise FileNotFoundError(f"{export} cannot be written: there is no folder {export.absolute().parent}")
    source, words = (Path(model), model) if model else at_hand()
    if not model:
        print(f"no model was named: this is {words}", flush=True)
    near = source.resolve()
    name = near.parent.name if near.name == "model" else near.name
    desk = Desk(open_model(model or source, dtype, device, quantize, group), name, source)
    shown = text or examples(desk.bench)[0]
    if not text:
        print(f"no text was given: this is {shown!r}", flush=True)
    desk.look(shown, target)
    if export is None:
        serve(Server(desk, port), browser)
    else:
        print(write(desk, export, heads))


def serve(server: "Server", browser: bool) -> None:
    """Serve until Ctrl-C. Who opens the page before the server answers waits for it."""
    print(f"{server.url}\npress Ctrl-C to stop", flush=True)
    if browser:
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    server.run()
