"""How soon a service answers after its start, and what it needs when nothing happens: Python and TypeScript.

PYTHONPATH=benchmarks/support .venv-dev/bin/python benchmarks/studies/start_and_idle.py

From the start of the process to the first reply to `__status`, median of ten; memory (RSS) after ten idle seconds; CPU
in ten seconds idle, and in twenty while Redis is away. `original` is a service of the original's classes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis
from servers import HERE, cpu_seconds, node, python, redis_server

STARTS = 10
IDLE_S, AWAY_S = 10, 20
ORIGINAL = f"""
const {{ AppConfig, AppStatus, Logger, METHOD_STATUS, Meter, RedisFactory, RPCAdapterRedis, RPCAgnostic }} =
  require({json.dumps(str(HERE.parents[1] / "service_src/rock_me_ts"))});
const config = new AppConfig(), log = new Logger(config.log), meter = new Meter(config.meter);
const redisFactory = new RedisFactory({{ log, meter, ...config.redis }});
const options = {{ channels: ["echo", "broadcast"], redisFactory, log, meter, ...config.rpc }};
const rpc = new RPCAgnostic(options);
rpc.setup(new RPCAdapterRedis(options));
rpc.register(METHOD_STATUS, new AppStatus().get);
"""
CONFIG = """
---
rpc: {name: echo, listen_all: true}
redis: {dsn: "redis://127.0.0.1:<%= env.BENCH_PORT %>"}
log: {pino: {level: error}}
metrics: {statsd: {host: 127.0.0.1, port: 9, prefix: krn}}
"""


def start(argv: tuple[str, ...], folder: str, port: int) -> subprocess.Popen[bytes]:
    """Start a service."""
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), "BENCH_PORT": str(port)}
    return subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def first_status(client: redis.Redis, begun: float) -> float:
    """Ask until the service answers; returns the seconds since ``begun``."""
    replies = client.pubsub(ignore_subscribe_messages=True)
    replies.subscribe("lab")
    replies.get_message(timeout=1)
    request = json.dumps({"jsonrpc": "2.0", "method": "echo:__status:lab", "params": {}, "id": "1"})
    while time.monotonic() < begun + 20:
        if not client.publish("echo", request):
            time.sleep(0.002)
        elif replies.get_message(timeout=1):
            replies.close()
            return time.monotonic() - begun
    raise SystemExit("the service did not answer within 20 s")


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def cpu_share(pid: int, seconds: float) -> float:
    """Return the share of a core that a process uses."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / seconds


def study(name: str, argv: tuple[str, ...], folder: str) -> None:
    """Measure one service and print its line."""
    times: list[float] = []
    with redis_server() as (port, server):
        filled = tuple(word.replace("PORT", str(port)) for word in argv)
        client = redis.Redis(port=port)
        for number in range(STARTS):
            begun = time.monotonic()
            service = start(filled, folder, port)
            try:
                times.append(first_status(client, begun))
                if number == STARTS - 1:
                    time.sleep(IDLE_S)
                    memory, idle = rss_mb(service.pid), cpu_share(service.pid, IDLE_S)
                    server.kill()
                    away = cpu_share(service.pid, AWAY_S)
            finally:
                service.terminate()
                service.wait(15)
    print(f"{name:12} {statistics.median(times):9.2f} {max(times):7.2f} {memory:8.0f} {idle:8.1%} {away:8.1%}")


def main() -> None:
    """Print the table."""
    print(f"{'service':12} {'start, s':>9} {'most':>7} {'RSS, MB':>8} {'idle':>8} {'away':>8}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config").mkdir()
        (Path(folder) / "config/02_config.yml").write_text(CONFIG)
        (Path(folder) / "original.cjs").write_text(ORIGINAL)
        study("Python", python("rpc_peers.py", "server", "ours", "PORT"), folder)
        study("TypeScript", node("rpc_node.cjs", "server", "node", "PORT"), folder)
        study("original", (node("rpc_node.cjs")[0], f"{folder}/original.cjs"), folder)


if __name__ == "__main__":
    main()
