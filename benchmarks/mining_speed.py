"""Selection alone, ours against the paper's algorithm transcribed literally, in one run on one core.

    python benchmarks/mining_speed.py [--frames 180] [--masks 15] [--candidates 10] [--literal-frames 1] [--scene loose]

Cues are given: proposals, background probability, flow costs. Both sides get the same arrays and must give the same
combinations and the same path. The literal side (App. B) builds the tree of masks, runs Dijkstra's algorithm from its
root, forbids each edge of each path in U in turn, and decides the video with Dijkstra on the layered graph. Read word
for word its loop gives earlier answers again and misses others; the repair is that the last edge of every path already
given stays forbidden. Beside it stands the same tree with the loop that does least (Lawler's: a path found after
leaving another at some level keeps to it before that level). Stage 1 is timed on ``--literal-frames`` frames and
stage 2 on 20, and multiplied up.
"""

import argparse
import heapq
import itertools
import time

import numpy as np

from fewmask.mining.atoms import cut_into_atoms
from fewmask.mining.background_loss import pixel_evidence
from fewmask.mining.combinations import best_combinations
from fewmask.mining.consistency_loss import consistency_loss, negative_iou, unions
from fewmask.mining.overlap import pack
from fewmask.mining.path import best_path

HEIGHT, WIDTH = 480, 854


LARGEST = {"crowded": 110, "loose": 45}  # largest half axis of a mask, in pixels


def scene(t: int, count: int, largest: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ellipses that drift, some of them real objects with duplicates and parts, over a noisy background map."""
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    layout = np.random.default_rng(3)
    masks = np.zeros((count, HEIGHT, WIDTH), dtype=bool)
    background = np.full((HEIGHT, WIDTH), 0.85)
    for i in range(count):
        y, x = layout.uniform(60, HEIGHT - 60), layout.uniform(60, WIDTH - 60)
        a, b = layout.uniform(20, largest, 2)
        jitter = rng.normal(0, 3, 4)
        masks[i] = ((rows - y - jitter[0]) / (a + jitter[2])) ** 2 + (
            (columns - x - 0.4 * t - jitter[1]) / (b + jitter[3])
        ) ** 2 < 1
        if i % 3 == 0:
            background[masks[i]] = 0.3
    background = background + rng.normal(0, 0.08, (HEIGHT // 8, WIDTH // 7)).repeat(8, 0).repeat(7, 1)
    return masks, np.clip(background, 0.01, 0.99).astype(np.float32)


def ours(frames, flows, candidates):
    found = [best_combinations(masks, background, candidates) for masks, background in frames]
    joined = [unions(pack(masks), [c for _, c in top]) for (masks, _), top in zip(frames, found, strict=True)]
    pairwise = [flow + 0.5 * negative_iou(a, b) for flow, (a, b) in zip(flows, itertools.pairwise(joined), strict=True)]
    cost, path = best_path([[cost for cost, _ in top] for top in found], pairwise)
    return found, cost, path


class LiteralTree:
    """App. B.1: level i decides mask i; an edge costs what its mask adds, given what became of its atoms before."""

    def __init__(self, masks: np.ndarray, background: np.ndarray) -> None:
        evidence = pixel_evidence(background)
        atoms = cut_into_atoms(masks, evidence.gains)
        self.parts = [list(np.flatnonzero(row)) for row in atoms.members]
        self.gain = [int(gain) for gain in atoms.gains]
        self.constant = evidence.empty_cost
        self.scale, self.size = 1 << evidence.shift, background.size

    def edge(self, states: dict[int, int], level: int, bit: int) -> tuple[int, dict[int, int]] | None:
        """Cost of deciding ``level`` and the new states of the atoms; None where masks would overlap.

        An atom that is not selected costs 0 here, one that is costs minus its gain; the rest is ``constant``.
        """
        cost, after = 0, dict(states)
        for atom in self.parts[level]:
            before = states.get(atom)
            if bit and before == 1:
                return None
            if bit:
                cost -= self.gain[atom]
                after[atom] = 1
            elif before is None:
                after[atom] = 0
        return cost, after

    def shortest(self, forbidden: set[tuple[tuple[int, ...], int]]) -> tuple[int, tuple[int, ...]] | None:
        """Dijkstra from the root to the nearest leaf. Edges may be negative: each is raised by one constant a level."""
        lift = max(sum(max(self.gain[a], 0) for a in parts) for parts in self.parts)
        queue: list[tuple[int, tuple[int, ...]]] = [(0, ())]
        states: dict[tuple[int, ...], dict[int, int]] = {(): {}}
        while queue:
            cost, node = heapq.heappop(queue)
            level = len(node)
            if level == len(self.parts):
                return cost - lift * level, node
            for bit in (0, 1):
                if (node, bit) in forbidden:
                    continue
                step = self.edge(states[node], level, bit)
                if step is not None:
                    child = (*node, bit)
                    states[child] = step[1]
                    heapq.heappush(queue, (cost + step[0] + lift, child))
            del states[node]
        return None

    def best_as_printed(self, count: int) -> list[tuple[float, tuple[int, ...]]]:
        """The K shortest paths: forbid each edge of each path in U, add what is found to U, take the best of U."""
        first = self.shortest(set())
        paths = {first}
        given: list[tuple[int, tuple[int, ...]]] = []
        last_edges: set = set()
        while paths and len(given) < count:
            best = min(paths, key=_order)
            given.append(best)
            last_edges.add((best[1][:-1], best[1][-1]))
            found = {
                self.shortest(last_edges | {(bits[:level], bits[level])})
                for _, bits in paths
                for level in range(len(bits))
                if len(given) < count
            }
            paths = (paths | found) - {None, *given}
        return self._answers(given)

    def best_with_least_work(self, count: int) -> list[tuple[float, tuple[int, ...]]]:
        """The K shortest paths, each deviation looked for once and below its own node."""
        waiting = [(self.shortest(set()), 0, frozenset())]  # path, level from which it may be left, forbidden edges
        given = []
        while waiting and len(given) < count:
            waiting.sort(key=lambda item: _order(item[0]))
            (cost, bits), start, barred = waiting.pop(0)
            given.append((cost, bits))
            for level in range(start, len(bits)):
                edges = barred | {(bits[:level], bits[level])}
                prefix = {(bits[:i], 1 - bits[i]) for i in range(level)}
                found = self.shortest(edges | prefix)
                if found is not None:
                    waiting.append((found, level, edges))
        return self._answers(given)

    def _answers(self, given):
        return [
            ((self.constant + cost / self.scale) / self.size, tuple(i for i, bit in enumerate(bits) if bit))
            for cost, bits in given
        ]


def _order(path):
    """Cost, then fewer masks, then smaller indices."""
    cost, bits = path
    return cost, sum(bits), tuple(-bit for bit in bits)


def literal_path(frames, found, flows):
    """App. B.2: every edge's weight computed from the masks, then Dijkstra; costs raised to be non-negative."""
    selected = [
        [masks[list(c)].any(axis=0) if c else np.zeros((HEIGHT, WIDTH), bool) for _, c in top]
        for (masks, _), top in zip(frames, found, strict=True)
    ]
    queue = [(cost, (0, k)) for k, (cost, _) in enumerate(found[0])]
    heapq.heapify(queue)
    before: dict[tuple[int, int], tuple[int, int]] = {}
    done: set[tuple[int, int]] = set()
    reached = {(0, k): cost for k, (cost, _) in enumerate(found[0])}
    while queue:
        cost, (t, k) = heapq.heappop(queue)
        if (t, k) in done:
            continue
        done.add((t, k))
        if t == len(found) - 1:
            path = [k]
            while (t, k) in before:
                t, k = before[t, k]
                path.append(k)
            return cost - 0.5 * (len(found) - 1), path[::-1]
        for following, (unary, _) in enumerate(found[t + 1]):
            edge = (
                flows[t][k, following]
                + 0.5 * (1 + consistency_loss(selected[t][k], selected[t + 1][following]))
                + unary
            )
            if cost + edge < reached.get((t + 1, following), np.inf):
                reached[t + 1, following] = cost + edge
                before[t + 1, following] = (t, k)
                heapq.heappush(queue, (cost + edge, (t + 1, following)))
    raise AssertionError("no path")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=180)
    parser.add_argument("--masks", type=int, default=15)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--literal-frames", type=int, default=2)
    parser.add_argument("--scene", choices=LARGEST, default="crowded", help="large masks that mostly overlap, or small")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    frames = [scene(t, arguments.masks, LARGEST[arguments.scene], rng) for t in range(arguments.frames)]
    shapes = [len(best_combinations(m, b, arguments.candidates)) for m, b in frames]
    flows = [rng.uniform(0.05, 0.3, (a, b)) for a, b in itertools.pairwise(shapes)]

    seconds = []
    for _ in range(arguments.repeats):
        started = time.process_time()
        found, _, _ = ours(frames, flows, arguments.candidates)
        seconds.append(time.process_time() - started)
    fast = min(seconds)
    feasible = len(best_combinations(*frames[0], 1 << arguments.masks))
    print(f"{arguments.scene}: {feasible} of {1 << arguments.masks} sets of masks are feasible in the first frame")
    print(f"ours: {arguments.frames} frames, N={arguments.masks}, K={arguments.candidates}: {fast:.2f} s of CPU")

    few = arguments.literal_frames
    stage_one = {}
    for name in ("best_as_printed", "best_with_least_work"):
        started = time.process_time()
        literal = [getattr(LiteralTree(*frame), name)(arguments.candidates) for frame in frames[:few]]
        stage_one[name] = (time.process_time() - started) / few * arguments.frames
        for t, (slow, quick) in enumerate(zip(literal, found, strict=False)):
            assert [c for _, c in slow] == [c for _, c in quick], f"{name}, frame {t}: other combinations"
            assert np.allclose([c for c, _ in slow], [c for c, _ in quick], atol=1e-9), (
                f"{name}, frame {t}: other costs"
            )
    span = min(20, arguments.frames)
    started = time.process_time()
    slow_cost, slow_path = literal_path(frames[:span], found[:span], flows)
    video = (time.process_time() - started) / span * arguments.frames
    _, quick_cost, quick_path = ours(frames[:span], flows[: span - 1], arguments.candidates)
    assert slow_path == quick_path, "another path"
    assert abs(slow_cost - quick_cost) < 1e-9, "another cost"
    for name, seconds_one in stage_one.items():
        ratio = (seconds_one + video) / fast
        print(f"{name}: {seconds_one:.1f} s, and {video:.1f} s for the path; same answers; ratio {ratio:.0f} x")


if __name__ == "__main__":
    main()
