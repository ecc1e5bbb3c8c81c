"""Segments a manifest on two Ray nodes of this machine, one of which is killed twice: GIVEN OUT -> JSON."""

import json
import os
import sys
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray.cluster_utils import Cluster

from fewmask.pipelines.segment_many import ManyOptions, read_manifest, segment_many
from fewmask.pipelines.segment_request import EveryObject, RunOptions


def main(given, out):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20})
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    plan = RunOptions(source="", out=Path(), weights=str(given / "weights"), device="cpu", overlay=False, min_score=0.0)
    options = ManyOptions(str(out), EveryObject(precision="fp32"), plan, workers=2, ray=cluster.address)
    killed, names = 0, []
    for video in segment_many(read_manifest(given / "manifest.txt"), options):
        names.append(video.name)
        if killed < 2:
            cluster.remove_node(node, allow_graceful=False)
            node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
            killed += 1
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps({"killed": killed, "names": names}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
