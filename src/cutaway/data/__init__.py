"""Data: from files to records, from records to shards of tokens, from shards to batches."""

from .batches import Bucketed, Packed, Windows
from .dates import Dates
from .faults import Fault, Faults
from .shards import Shards
from .sources import Files, Hub, Parallel, Source, source
from .stdlib import Stdlib
from .tokens import Encode, Encoder, Ragged
from .writing import index, write, write_part, write_shard

__all__ = [
    "Bucketed", "Dates", "Encode", "Encoder", "Fault", "Faults", "Files", "Hub", "Packed", "Parallel", "Ragged",
    "Shards", "Source", "Stdlib", "Windows", "index", "source", "write", "write_part", "write_shard",
]  # fmt: skip
