"""Where a checkpoint is: a folder here, or a name on a hub."""

import re
from pathlib import Path

from .folder import FILES, PICKLES, listing, recover

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def locate(source: str | Path, *, revision: str | None = None) -> Path:
    """The checkpoint folder that ``source`` means: a folder here, or a hub name (``owner/name``, ``name``).

    The folder of a training run means its result. A folder comes before a hub name, and a ``Path`` is never a hub
    name. Hub files are fetched once into the hub library's cache, under its settings (``HF_HOME``, ``HF_ENDPOINT``,
    ``HF_HUB_OFFLINE``); code never is.

    Raises FileNotFoundError (no such folder, hub name, revision, cached copy or config.json),
    NotADirectoryError, PermissionError (gated), ConnectionError (no network), ValueError (no name; a folder
    with a revision)."""
    if not str(source).strip():
        raise ValueError("an empty name: expected a folder or a hub name such as 'gpt2' or 'owner/name'")
    folder = Path(source).expanduser()
    if not folder.exists():
        recover(folder.resolve())
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{folder} is a folder and has no revision {revision!r}; a revision needs a hub name")
    elif folder.exists():
        raise NotADirectoryError(f"{folder} is a file; give the folder that holds it and its config.json")
    elif isinstance(source, str) and HUB_NAME.fullmatch(source):
        folder = _fetch(source, revision)
    else:
        raise FileNotFoundError(f"the folder {folder} does not exist")
    if not (folder / "config.json").is_file() and (result := _of_run(folder)) is not None:
        return result
    if not (folder / "config.json").is_file():
        holds = f"it has no config.json; it holds {listing(folder)}"
        raise FileNotFoundError(f"{source} is no checkpoint: {holds}")
    return folder


def _of_run(folder: Path) -> Path | None:
    """The model of a training run's folder: its result, or the one of its newest checkpoint; None for no run."""
    steps = sorted((path for path in folder.glob("step_*/model")), key=lambda path: int(path.parent.name[5:]))
    found = [path for path in [*steps, folder / "model"] if (path / "config.json").is_file()]
    return found[-1] if found else None


def _fetch(name: str, revision: str | None) -> Path:
    """The files of a hub name in the cache; pickles only where there is no safetensors file."""
    from huggingface_hub import errors, snapshot_download

    def fetch(patterns: tuple[str, ...]) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))

    nowhere = f"{name!r} is no folder here, no complete copy is in the hub cache,"
    try:
        folder = fetch(FILES)
        return folder if any(folder.glob("*.safetensors")) else fetch(FILES + PICKLES)
    except errors.HFValidationError as error:
        raise ValueError(f"{name!r} is neither a folder here nor a valid hub name: {error}") from error
    except errors.GatedRepoError as error:
        raise PermissionError(f"{name!r} is gated: accept its terms on the hub and log in with a token") from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{name!r} has no revision {revision!r} on the hub") from error
    except errors.RepositoryNotFoundError as error:
        missing = f"{name!r} is neither a folder here nor a model on the hub; a private one needs a token"
        raise FileNotFoundError(missing) from error
    except errors.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, errors.OfflineModeIsEnabled):
            raise FileNotFoundError(f"{nowhere} and HF_HUB_OFFLINE forbids to fetch one") from error
        raise ConnectionError(f"{nowhere} and the hub cannot be reached: {error.__cause__ or error}") from error
    # The transport below the hub library has changed twice, and its exceptions with it.
    except Exception as error:
        raise ConnectionError(f"{name!r} could not be fetched from the hub: {error}") from error
