"""A run of two ranks of which the second dies, the first two times that it is started."""

import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from cutaway.train.ranks.world import World

folder, deaths = Path(sys.argv[1]), int(sys.argv[2])
world = World.from_environment(timeout=60)
attempt = len(list(folder.glob("attempt_*")))
world.wait()
if world.rank == 1:
    (folder / f"attempt_{attempt}").touch()
    if attempt < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
total = torch.ones(1)
dist.all_reduce(total)
if world.first:
    (folder / "total").write_text(str(int(total)))
world.close()
