"""Which program can be killed in place of a node? One that runs a node with one pod and waits.

node_program.py FOLDER      prints `ready` when the pod and a process that it forked are there
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import pods


async def main() -> None:
    async with pods.local_node(Path(sys.argv[1])) as node:
        spec = pods.pod_spec(pods.container(readinessProbe=pods.http_probe()))
        await pods.apply(node, pods.deployment("a", spec))
        (pod,) = await pods.until_ready(node)
        await pods.get(pod, "/fork")
        print("ready", flush=True)  # noqa: T201  # its parent waits for it
        await asyncio.Event().wait()


asyncio.run(main())
