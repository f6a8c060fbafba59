"""The tokens of a sequence that were fed but not yet judged: a tree, or a chain, below the settled positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tandem.errors import InvalidArgument

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class UnsettledTree:
    """Nodes numbered in the order in which they were fed; a node comes after its parent.

    Plain numbers and not arrays: a round's trees have a handful of nodes, of which arrays would cost the more.
    """

    parents: list[int]  # [nodes], -1 = the last settled position
    depths: list[int]  # [nodes], 0 for children of the last settled position
    seen: list[int] | None
    """[nodes], bit j of number i marks node j as an ancestor of node i, or i itself; None = node i follows node i-1,
    as in a prompt, which is a chain of thousands."""

    def __len__(self) -> int:
        return len(self.parents)

    def extended(self, parents: Sequence[int]) -> UnsettledTree:
        """This tree with one node more for each of `parents`.

        Raises: InvalidArgument if a parent is neither -1 nor an earlier node.
        """
        num_old, num_all = len(self), len(self) + len(parents)
        if self.seen is None and list(parents) == list(range(num_old - 1, num_all - 1)):
            return UnsettledTree(list(range(-1, num_all - 1)), list(range(num_all)), None)
        depths = self.depths.copy()
        seen = [(2 << node) - 1 for node in range(num_old)] if self.seen is None else self.seen.copy()
        for node, parent in enumerate(parents, start=num_old):
            if not -1 <= parent < node:
                raise InvalidArgument(f"node {node} has parent {parent}; a parent is -1 or an earlier unsettled node")
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
            seen.append((seen[parent] if parent >= 0 else 0) | 1 << node)
        return UnsettledTree([*self.parents, *parents], depths, seen)

    def ancestor_rows(self, first: int) -> Bools:
        """Which nodes are ancestors-or-self of nodes `first` and on, `[nodes - first, nodes]`."""
        if self.seen is None:
            return np.tri(len(self) - first, len(self), first, dtype=np.bool_)
        num_bytes = -(-len(self) // 8)
        packed = b"".join(seen.to_bytes(num_bytes, "little") for seen in self.seen[first:])
        as_bytes = np.frombuffer(packed, np.uint8).reshape(-1, num_bytes)
        return np.unpackbits(as_bytes, axis=1, count=len(self), bitorder="little").view(np.bool_)

    def check_path(self, path: Sequence[int]) -> None:
        """Raises: InvalidArgument unless `path` leads from a child of the settled positions downwards."""
        if path and not (min(path) >= 0 and max(path) < len(self)):
            raise InvalidArgument(f"path {list(path)} leaves the {len(self)} unsettled nodes")
        parents = [self.parents[node] for node in path]
        if parents != [-1, *path][: len(path)]:
            raise InvalidArgument(f"path {list(path)} is no root-to-node path: its nodes have parents {parents}")


EMPTY_TREE = UnsettledTree([], [], None)
