"""Segments a manifest on two Ray nodes of this machine, one of which is killed twice: GIVEN OUT -> JSON."""

import json
import os
import sys
import time
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray.cluster_utils import Cluster

from fewmask.pipelines.many.manifest import read_manifest
from fewmask.pipelines.many.once import Crew
from fewmask.pipelines.many.segment import SegmentStep, segment_many
from fewmask.pipelines.segment_request import EveryObject, RunOptions

# A node that is gone is noticed within seconds; Ray's own pace of half a minute is for networks that stutter.
WATCHFUL = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}


def tell(what, start=time.monotonic()):  # noqa: B008 - when the script began
    print(f"{time.monotonic() - start:.1f} s: {what}", file=sys.stderr, flush=True)  # noqa: T201


def main(given, out):
    head = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "_system_config": WATCHFUL}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    tell("two nodes")
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    plan = RunOptions(source="", out=Path(), weights=str(given / "weights"), device="cpu", overlay=False, min_score=0.0)
    step, crew = SegmentStep(EveryObject(precision="fp32"), plan), Crew(str(out), workers=2, ray=cluster.address)
    killed, names = 0, []
    for video in segment_many(read_manifest(given / "manifest.txt"), step, crew):
        names.append(video.unit.name)
        tell(f"{video.unit.name} {video.worked_s:.1f} s")
        if killed < 2:
            cluster.remove_node(node, allow_graceful=False)
            node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
            killed += 1
            tell("killed a node, started another")
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps({"killed": killed, "names": names}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
