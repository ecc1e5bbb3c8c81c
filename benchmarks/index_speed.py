"""Clip index against a plain NumPy scan and a peer's HNSW graph: build, memory, latency, recall@5.

    python benchmarks/index_speed.py --n 50000                       # minutes, most of them for the peer's graph
    python benchmarks/index_speed.py --n 1000000 --graphs G          # hours; 12 GB of disk, and 6 GB in G
    python benchmarks/index_speed.py --n 1000000 --graphs G          # again: the peer's graphs are read from G

The peer is hnswlib's HNSW; it is no dependency (`pip install hnswlib`). Memory is what the process holds besides mapped
files, now and at most. Vectors have 768 numbers. "clustered" draws them around 1,000 centres (cosine about 0.8 within a
cluster); "unclustered" draws each from a normal distribution, where neighbours hardly differ from the rest and no list
structure can help. Queries are fresh draws, not stored vectors. One thread, one query at a time.
"""

import argparse
import json
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path

import faiss
import numpy as np

from fewmask.retrieval.index import ClipIndex

DIMENSION = 768
K = 5
CHUNK = 50_000
BREADTHS = (128, 1024)


def draw(count, clustered, seed, centres):
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((count, DIMENSION), dtype=np.float32)
    if clustered:
        vectors = 0.5 * vectors + centres[generator.integers(0, len(centres), count)]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def stored_vectors(folder, count, clustered, centres):
    path = folder / "vectors.f32"
    vectors = np.memmap(path, np.float32, "w+", shape=(count, DIMENSION))
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        vectors[start:stop] = draw(stop - start, clustered, 1000 + start, centres)
    return vectors


def latencies(search, queries):
    found, times = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        times.append(1000 * (time.perf_counter() - start))
    return np.array(found), {"p50_ms": float(np.percentile(times, 50)), "p99_ms": float(np.percentile(times, 99))}


def recall(found, truth):
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def memory_gb():
    """What the process holds itself now, mapped files left out."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / 1e9


class PeakMemory:
    """The most that was held in the block, above what was held before it."""

    def __enter__(self):
        self.before = self.peak = memory_gb()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.over.wait(0.1):
            self.peak = max(self.peak, memory_gb())

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.gb = self.peak - self.before


def measure_scan(vectors, queries):
    array = np.asarray(vectors)

    def search(query):
        scores = array @ query
        top = np.argpartition(scores, -K)[-K:]
        return top[np.argsort(-scores[top])]

    return latencies(search, queries)


def measure_clip_index(folder, vectors, queries, kind):
    before = memory_gb()
    start = time.perf_counter()
    index = ClipIndex.create(folder / "index", DIMENSION, kind=kind)
    chunk = max(CHUNK, len(vectors) // 4)
    with PeakMemory() as peak:
        for first in range(0, len(vectors), chunk):
            block = np.array(vectors[first : first + chunk])
            index.add(np.arange(first, first + len(block)), block)
    facts = {"build_s": time.perf_counter() - start, "build_peak_gb": peak.gb, "form": index.form}
    facts["effort"] = index._contents.structure.effort
    start = time.perf_counter()
    del index
    index = ClipIndex.open(folder / "index")
    facts |= {"open_s": time.perf_counter() - start, "memory_gb": memory_gb() - before}
    found, times = latencies(lambda query: index.search(query[None], K)[0][0], queries)
    start = time.perf_counter()
    index.remove(np.arange(1000))
    facts["remove_1000_ms"] = 1000 * (time.perf_counter() - start)
    start = time.perf_counter()
    index.add(np.arange(1000), np.array(vectors[:1000]))
    facts["add_1000_ms"] = 1000 * (time.perf_counter() - start)
    return found, facts | times


def measure_hnsw(vectors, queries, truth, graph):
    """hnswlib with 16 links, built with breadth 128, searched with two; ``graph``: where it is kept, or None."""
    import hnswlib

    before = memory_gb()
    start = time.perf_counter()
    index = hnswlib.Index("cosine", DIMENSION)
    if graph is not None and graph.exists():
        index.load_index(str(graph), len(vectors))
        built = {"read_s": time.perf_counter() - start}
    else:
        index.init_index(len(vectors), M=16, ef_construction=128)
        for first in range(0, len(vectors), CHUNK):
            block = np.array(vectors[first : first + CHUNK])
            index.add_items(block, np.arange(first, first + len(block)), num_threads=1)
        built = {"build_s": time.perf_counter() - start}
        if graph is not None:
            graph.parent.mkdir(parents=True, exist_ok=True)
            index.save_index(str(graph))
    facts = built | {"memory_gb": memory_gb() - before}
    for breadth in BREADTHS:
        index.set_ef(breadth)
        found, times = latencies(lambda query: index.knn_query(query, K, num_threads=1)[0][0], queries)
        facts[f"breadth {breadth}"] = times | {"recall@5": recall(found, truth)}
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kind", choices=["auto", "exact", "clustered", "compressed"], default="auto")
    parser.add_argument("--data", choices=["clustered", "unclustered"], nargs="+", default=["clustered", "unclustered"])
    parser.add_argument("--graphs", type=Path, help="keep the peer's graphs here, and read those that are here already")
    parser.add_argument("--no-peer", action="store_true", help="skip HNSW, whose graph takes long to build")
    parser.add_argument("--folder", type=Path, help="where the vectors and the index lie while it runs")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    centres = np.random.default_rng(0).standard_normal((1000, DIMENSION), dtype=np.float32)
    for data in options.data:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            vectors = stored_vectors(folder, options.n, data == "clustered", centres)
            queries = draw(options.queries, data == "clustered", 7, centres)
            truth, scan = measure_scan(vectors, queries)
            found, index = measure_clip_index(folder, vectors, queries, options.kind)
            index |= {"recall@5": recall(found, truth), "scan_p50 / index_p50": scan["p50_ms"] / index["p50_ms"]}
            result = {"data": data, "n": options.n, "numpy_scan": scan, "clip_index": index}
            if not options.no_peer:
                graph = options.graphs and options.graphs / f"{data}-{options.n}.hnsw"
                try:
                    result["hnswlib"] = measure_hnsw(vectors, queries, truth, graph)
                except ImportError:
                    result["hnswlib"] = "not installed"
            print(json.dumps(result, indent=1))
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
