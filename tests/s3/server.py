"""OpenStack Swift as an S3 server: its proxy, account, container and object server in one process.

    .venv-s3/bin/python tests/s3/server.py FOLDER PORT ACCESS_KEY SECRET_KEY

Runs in an environment of its own (scripts/setup-s3). Files lie in FOLDER, which needs extended attributes. Prints a
line when it answers, and ends with SIGTERM.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import eventlet  # type: ignore[import-not-found]

eventlet.monkey_patch()

import eventlet.wsgi  # type: ignore[import-not-found]  # noqa: E402
from swift.common import utils  # type: ignore[import-not-found]  # noqa: E402

NULL_LOG = open(os.devnull, "w")  # noqa: SIM115
BACKENDS = ("account", "container", "object")
PARTS_POWER = 2
"""2² partitions: one disk needs no more."""

BACKEND = """
[DEFAULT]
devices = {folder}
mount_check = false
swift_dir = {folder}
log_facility =
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
container_update_timeout = 60
conn_timeout = 30
node_timeout = 60
"""
# Listings are to be true at once: the object server waits for the container server rather than tell it later.

PROXY = """
[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats bulk s3api tempauth copy slo symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 30
node_timeout = 60
recoverable_node_timeout = 60
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
cors_preflight_allow_origin = *
[filter:tempauth]
use = egg:swift#tempauth
user_{account} = {secret} .admin
{filters}
"""
FILTERS = ("catch_errors", "gatekeeper", "listing_formats", "bulk", "copy", "slo", "symlink")


def main(folder: Path, port: int, access_key: str, secret: str) -> None:
    utils.HASH_PATH_SUFFIX = b"test"
    from swift.common.ring import RingData  # type: ignore[import-not-found]
    from swift.common.wsgi import loadapp  # type: ignore[import-not-found]

    (folder / "disk").mkdir(parents=True, exist_ok=True)
    sockets = {name: eventlet.listen(("127.0.0.1", 0)) for name in BACKENDS}
    for name, socket in sockets.items():
        device = {"id": 0, "zone": 0, "region": 1, "device": "disk", "weight": 1, "ip": "127.0.0.1"}
        device["port"] = device["replication_port"] = socket.getsockname()[1]
        device["replication_ip"] = "127.0.0.1"
        rows = [[0] * 2**PARTS_POWER]
        RingData(rows, [device], 32 - PARTS_POWER).save(str(folder / f"{name}.ring.gz"))
    for name, socket in sockets.items():
        _serve(socket, loadapp(_write(folder / f"{name}.conf", BACKEND, name=name, folder=folder)))
    account = access_key.replace(":", "_")
    filters = "\n".join(f"[filter:{name}]\nuse = egg:swift#{name}" for name in FILTERS)
    conf = _write(folder / "proxy.conf", PROXY, folder=folder, account=account, secret=secret, filters=filters)
    proxy = _serve(eventlet.listen(("127.0.0.1", port)), loadapp(conf))
    print("ready", flush=True)
    proxy.wait()


def _serve(socket: object, app: object) -> eventlet.greenthread.GreenThread:
    pool = eventlet.GreenPool(1000)
    return eventlet.spawn(
        eventlet.wsgi.server, socket, app, NULL_LOG, custom_pool=pool, capitalize_response_headers=False
    )


def _write(file: Path, text: str, **values: object) -> str:
    file.write_text(text.format(**values), "utf-8")
    return str(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3], sys.argv[4])
