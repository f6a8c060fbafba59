"""What kube-proxy does for a Service: new connections go to its ready endpoints by turns."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json

from kubernetes import client

LOOK_SECONDS = 0.1


class ServiceProxy:
    """A port of this machine in front of a Service's port. Connections that stand are left alone."""

    def __init__(self, api: client.ApiClient, namespace: str, service: str, port: str) -> None:
        self.address = ""
        self._api = client.DiscoveryV1Api(api)
        self._where = (namespace, f"kubernetes.io/service-name={service}")
        self._port = port
        self._turn = itertools.count()
        self._endpoints: list[tuple[str, int]] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._keep(asyncio.create_task(self._look()))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        while True:
            self._endpoints = await asyncio.to_thread(self._ready)
            await asyncio.sleep(LOOK_SECONDS)

    def _ready(self) -> list[tuple[str, int]]:
        namespace, selector = self._where
        # Not as the client's models: these refuse a slice without endpoints, which is one all the same.
        answer = self._api.list_namespaced_endpoint_slice(namespace, label_selector=selector, _preload_content=False)
        return [
            (address, port["port"])
            for one in json.loads(answer.data)["items"]
            for port in one["ports"] or ()
            if port["name"] == self._port
            for endpoint in one["endpoints"] or ()
            if endpoint["conditions"].get("ready")
            for address in endpoint["addresses"]
        ]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keep(task)
        try:
            if not self._endpoints:
                return
            address, port = self._endpoints[next(self._turn) % len(self._endpoints)]
            further, onward = await asyncio.open_connection(address, port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, onward))
                    both.create_task(_pump(further, writer))
            finally:
                onward.close()
        except* OSError:
            pass
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
