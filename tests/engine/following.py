"""Rank 1 of two: ``python -m tests.engine.following``, then a line ``PORT DTYPE FOLDER`` for each model."""

from __future__ import annotations

import os
import sys

import torch.distributed as dist

from tandem.engine.hosting import follow_model
from tandem.engine.place import Place


def main() -> None:
    for line in sys.stdin:
        port, dtype, folder = line.rstrip("\n").split(" ", 2)
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": "1", "WORLD_SIZE": "2"}
        place = Place.told(2, os.environ)
        assert place is not None
        follow_model(folder, dtype=dtype, device="cpu", num_threads=1, num_kv_blocks=64, place=place)
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
