"""The tokens of a sequence that were fed but not yet judged: a tree, or a chain, below the settled positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tandem.errors import InvalidArgument

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class UnsettledTree:
    """Nodes numbered in the order in which they were fed; a node comes after its parent.

    A prompt is a chain of thousands of nodes, so a chain is not given a matrix: `ancestors` is None for it.
    """

    parents: Ints  # [nodes], -1 = the last settled position
    depths: Ints  # [nodes], 0 for children of the last settled position
    ancestors: Bools | None  # [nodes, nodes], row i marks node i and its ancestors; None = node i follows node i-1

    def __len__(self) -> int:
        return len(self.parents)

    def extended(self, parents: Ints) -> UnsettledTree:
        """This tree with one node more for each of `parents`, `[n]`.

        Raises: InvalidArgument if a parent is neither -1 nor an earlier node.
        """
        num_old, num_new = len(self), len(parents)
        num_all = num_old + num_new
        own = np.arange(num_old, num_all)
        if self.ancestors is None and np.array_equal(parents, own - 1):
            return UnsettledTree(np.arange(-1, num_all - 1), np.arange(num_all), None)
        wrong = np.flatnonzero((parents < -1) | (parents >= own))
        if len(wrong):
            at = int(wrong[0])
            raise InvalidArgument(
                f"node {num_old + at} has parent {int(parents[at])}; a parent is -1 or an earlier unsettled node"
            )
        ancestors = np.zeros((num_all, num_all), dtype=np.bool_)
        ancestors[:num_old, :num_old] = self.ancestor_rows(0)
        ancestors[own, own] = True
        # Runs in which each node follows the one before it are filled at once, so that a long prompt costs one step.
        starts = np.flatnonzero(np.concatenate(([True], parents[1:] != own[:-1])))
        for start, stop, parent in zip(
            (starts + num_old).tolist(),
            np.append(starts[1:] + num_old, num_all).tolist(),
            parents[starts].tolist(),
            strict=True,
        ):
            if parent >= 0:
                ancestors[start:stop, :start] = ancestors[parent, :start]
            if stop - start > 1:
                ancestors[start:stop, start:stop] = np.tri(stop - start, dtype=np.bool_)
        depths = np.concatenate((self.depths, np.count_nonzero(ancestors[num_old:], axis=1) - 1))
        return UnsettledTree(np.concatenate((self.parents, parents)), depths, ancestors)

    def ancestor_rows(self, first: int) -> Bools:
        """Which nodes are ancestors-or-self of nodes `first` and on, `[nodes - first, nodes]`."""
        if self.ancestors is None:
            return np.tri(len(self) - first, len(self), first, dtype=np.bool_)
        return self.ancestors[first:]

    def check_path(self, path: Ints) -> None:
        """Raises: InvalidArgument unless `path`, `[n]`, leads from a child of the settled positions downwards."""
        if len(path) == 0:
            return
        if path.min() < 0 or path.max() >= len(self):
            raise InvalidArgument(f"path {path.tolist()} leaves the {len(self)} unsettled nodes")
        expected = np.concatenate(([-1], path[:-1]))
        if not np.array_equal(self.parents[path], expected):
            raise InvalidArgument(
                f"path {path.tolist()} is no root-to-node path: its nodes have parents {self.parents[path].tolist()}"
            )


EMPTY_TREE = UnsettledTree(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), None)
