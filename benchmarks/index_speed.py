"""Clip index against a plain NumPy scan and two peers: build, disk, memory, opening, latency, recall@5, changes.

    python benchmarks/index_speed.py                                 # 100,000 vectors: minutes, most for hnswlib
    python benchmarks/index_speed.py --n 1000000 --no-peer           # a million
    python benchmarks/index_speed.py --n 1000000 --graphs G          # hours, once: hnswlib keeps its graphs in G

The peers are hnswlib's HNSW and LanceDB; neither is a dependency (`pip install hnswlib lancedb`). Each part runs in a
process of its own; memory is what that holds besides mapped files. "clustered" draws vectors around 1,000 centres
(cosine about 0.8 within a cluster); "unclustered" draws each from a normal distribution, where neighbours hardly differ
from the rest and no structure can help. Queries are fresh draws, not stored vectors. One thread, one query at a time.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path

import faiss
import numpy as np

from fewmask.retrieval.index import ClipIndex

DIMENSION = 384
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
    cpu = time.process_time()
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        times.append(1000 * (time.perf_counter() - start))
    cpu = 1000 * (time.process_time() - cpu) / len(queries)  # says what a busy machine hides
    p50, p99 = (float(np.percentile(times, share)) for share in (50, 99))
    return np.array(found), {"p50_ms": p50, "p99_ms": p99, "mean_cpu_ms": cpu}


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
    with PeakMemory() as peak:
        for first in range(0, len(vectors), CHUNK):
            block = np.array(vectors[first : first + CHUNK])
            index.add(np.arange(first, first + len(block)), block)
        index.compact()
    facts = {"build_s": time.perf_counter() - start, "build_peak_gb": peak.gb, "form": index.form}
    if index._view.codes is not None:
        facts["candidates"] = index._view.codes.effort
    facts["disk_gb"] = sum(path.stat().st_size for path in (folder / "index").iterdir()) / 1e9
    del index
    start = time.perf_counter()
    index = ClipIndex.open(folder / "index")
    facts["open_s"] = time.perf_counter() - start
    index.search(queries[:1], K)
    facts |= {"open_and_first_search_s": time.perf_counter() - start, "memory_gb": memory_gb() - before}
    found, times = latencies(lambda query: index.search(query[None], K)[0][0], queries)
    facts |= times
    for what, change in {
        "remove_1000_ms": lambda: index.remove(np.arange(1000)),
        "add_1000_ms": lambda: index.add(np.arange(1000), np.array(vectors[:1000])),
        "add_1_ms": lambda: index.add(["one"], np.array(vectors[:1])),
    }.items():
        start = time.perf_counter()
        change()
        facts[what] = 1000 * (time.perf_counter() - start)
    return found, facts


def measure_lancedb(folder, vectors, queries):
    """IVF_FLAT as LanceDB makes it by default, searched by 20 and by 64 of its lists."""
    import lancedb
    import pyarrow

    before, start = memory_gb(), time.perf_counter()
    schema = pyarrow.schema([("id", pyarrow.int64()), ("vector", pyarrow.list_(pyarrow.float32(), DIMENSION))])
    table = lancedb.connect(str(folder / "lance")).create_table("clips", schema=schema)
    for first in range(0, len(vectors), CHUNK):
        block = np.array(vectors[first : first + CHUNK])
        values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(block.ravel()), DIMENSION)
        table.add(pyarrow.table({"id": np.arange(first, first + len(block)), "vector": values}, schema=schema))
    table.create_index(metric="cosine", index_type="IVF_FLAT")
    facts = {"build_s": time.perf_counter() - start}
    files = (path for path in (folder / "lance").rglob("*") if path.is_file())
    facts["disk_gb"] = sum(path.stat().st_size for path in files) / 1e9
    start = time.perf_counter()
    table = lancedb.connect(str(folder / "lance")).open_table("clips")
    facts |= {"open_s": time.perf_counter() - start, "memory_gb": memory_gb() - before}

    def search(query, lists):
        asked = table.search(query).distance_type("cosine").nprobes(lists).limit(K).select(["id"])
        return asked.to_arrow()["id"].to_numpy()

    found = {}
    for lists in (20, 64):
        found[lists], facts[f"{lists} lists"] = latencies(lambda query, lists=lists: search(query, lists), queries)
    for what, change in {
        "remove_1000_ms": lambda: table.delete("id < 1000"),
        "add_1_ms": lambda: table.add([{"id": -1, "vector": np.array(vectors[0])}]),
    }.items():
        start = time.perf_counter()
        change()
        facts[what] = 1000 * (time.perf_counter() - start)
    return found, facts


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


def in_a_process_of_its_own(part, *arguments):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(part, *arguments).result()


def the_clip_index(folder, n, queries, kind):
    faiss.omp_set_num_threads(1)
    vectors = np.memmap(folder / "vectors.f32", np.float32, "r", shape=(n, DIMENSION))
    return measure_clip_index(folder, vectors, queries, kind)


def the_scan(folder, n, queries):
    return measure_scan(np.memmap(folder / "vectors.f32", np.float32, "r", shape=(n, DIMENSION)), queries)


def the_graph(folder, n, queries, truth, graph):
    try:
        vectors = np.memmap(folder / "vectors.f32", np.float32, "r", shape=(n, DIMENSION))
        return measure_hnsw(vectors, queries, truth, graph)
    except ImportError:
        return "not installed"


def the_lancedb(folder, n, queries, truth):
    try:
        vectors = np.memmap(folder / "vectors.f32", np.float32, "r", shape=(n, DIMENSION))
        found, facts = measure_lancedb(folder, vectors, queries)
    except ImportError:
        return "not installed"
    for lists, rows in found.items():
        facts[f"{lists} lists"]["recall@5"] = recall(rows, truth)
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kind", choices=["auto", "exact", "compressed"], default="auto")
    parser.add_argument("--data", choices=["clustered", "unclustered"], nargs="+", default=["clustered", "unclustered"])
    parser.add_argument("--graphs", type=Path, help="keep the peer's graphs here, and read those that are here already")
    parser.add_argument("--no-peer", action="store_true", help="skip both peers")
    parser.add_argument("--folder", type=Path, help="where the vectors and the index lie while it runs")
    options = parser.parse_args()
    centres = np.random.default_rng(0).standard_normal((1000, DIMENSION), dtype=np.float32)
    for data in options.data:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            stored_vectors(folder, options.n, data == "clustered", centres).flush()
            queries = draw(options.queries, data == "clustered", 7, centres)
            about = (folder, options.n, queries)
            truth, scan = in_a_process_of_its_own(the_scan, *about)
            found, index = in_a_process_of_its_own(the_clip_index, *about, options.kind)
            index |= {"recall@5": recall(found, truth), "scan_p50 / index_p50": scan["p50_ms"] / index["p50_ms"]}
            result = {"data": data, "n": options.n, "numpy_scan": scan, "clip_index": index}
            print(json.dumps(result, indent=1), flush=True)
            if not options.no_peer:
                peers = {"lancedb": in_a_process_of_its_own(the_lancedb, *about, truth)}
                graph = options.graphs and options.graphs / f"{data}-{options.n}.hnsw"
                peers["hnswlib"] = in_a_process_of_its_own(the_graph, *about, truth, graph)
                print(json.dumps(peers, indent=1), flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
