"""Clients in a process of their own: simulated nodes, old workers, submitters."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import quote

import msgspec

from coalition import wire

_orders = msgspec.json.Decoder(wire.Orders)


class Client:
    """One kept connection that speaks just enough HTTP to be cheap."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "json") -> bytes:
        content = "application/x-www-form-urlencoded" if kind == "form" else "application/json"
        self.writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        answer = await self.reader.readexactly(size)
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(answer[:500])
        return answer


async def node(port: int, name: str, stop: float, done: list[int]) -> None:
    """A node of 8 workers whose jobs end at once, each with a line of log."""
    client = Client(port)
    await client.open()
    names = [f"{name}-{number}" for number in range(1, 9)]
    running: list[wire.Start] = []
    number = 0
    while time.time() < stop:
        number += 1
        report = wire.Report(
            node=name,
            session=name,
            number=number,
            workers=[wire.Slot(worker) for worker in names],
            ends=[wire.End(start.run) for start in running],
            logs=[wire.Chunk(start.run, 0, b"PROGRESS:100%\ndone\n") for start in running],
            wait=1,
        )
        body = msgspec.json.encode(report)
        orders = _orders.decode(await client.ask("POST", wire.NODE_PATH, body))
        done[0] += len(running)
        running = orders.start


async def quiet_node(port: int, name: str, stop: float, delays: list[float], offset: float) -> None:
    """A node of 8 working workers that reports every 2 s and is held in between."""
    names = [f"{name}-{number}" for number in range(1, 9)]
    clients = [Client(port), Client(port)]
    for client in clients:
        await client.open()
    held: set[asyncio.Task[Any]] = set()
    number = 0
    await asyncio.sleep(offset)
    while time.time() < stop:
        number += 1
        load = wire.Load([12.5, 80.0], 4000, 16000)
        slots = [wire.Slot(worker) for worker in names]
        report = wire.Report(name, slots, load=load, session=name, number=number, wait=20)
        client = clients[number % 2]
        held.add(asyncio.create_task(timed(client, msgspec.json.encode(report), delays)))
        await asyncio.sleep(2.0)
        held = {task for task in held if not task.done()}
    for task in held:
        task.cancel()


async def timed(client: Client, body: bytes, delays: list[float]) -> None:
    began = time.perf_counter()
    await client.ask("POST", wire.NODE_PATH, body)
    delays.append(time.perf_counter() - began)


async def old_worker(port: int, name: str, stop: float, done: list[int]) -> None:
    """A worker of protocol 1: pick, one heartbeat with the log, end."""
    client = Client(port)
    await client.open()
    who = f"hostname={name}&load=%5B12%5D&free_memory=1000&total_memory=2000"
    while time.time() < stop:
        answer = await client.ask("POST", "/workers/pickjob", who.encode(), "form")
        job = int(answer[1:].split(b",")[0])
        if job < 0:
            await asyncio.sleep(0.05)
            continue
        log = f"{who}&jobId={job}&log={quote('ZG9uZQo=')}"
        await client.ask("POST", "/workers/heartbeat", log.encode(), "form")
        await client.ask(
            "POST", "/workers/endjob", f"hostname={name}&jobId={job}&errorCode=0".encode(), "form"
        )
        done[0] += 1


async def submitter(port: int, count: int, start: asyncio.Event, delays: list[float]) -> None:
    """A client that submits jobs, one at a time."""
    client = Client(port)
    job = json.dumps({"title": "frame", "command": "render frame", "user": "somebody"}).encode()
    await start.wait()
    await client.open()
    for _ in range(count):
        began = time.perf_counter()
        await client.ask("PUT", "/api/jobs", job)
        delays.append(time.perf_counter() - began)


async def nodes(port: int, count: int, seconds: float) -> dict[str, Any]:
    done = [0]
    stop = time.time() + seconds
    began = time.time()
    await asyncio.gather(*(node(port, f"node{n}", stop, done) for n in range(count)))
    return {"done": done[0], "seconds": time.time() - began}


async def quiet_nodes(port: int, count: int, seconds: float) -> dict[str, Any]:
    delays: list[float] = []
    stop = time.time() + seconds
    tasks = [quiet_node(port, f"node{n}", stop, delays, 2.0 * n / count) for n in range(count)]
    await asyncio.gather(*tasks)
    return {"reports": len(delays)}


async def old_workers(port: int, count: int, seconds: float) -> dict[str, Any]:
    done = [0]
    stop = time.time() + seconds
    began = time.time()
    await asyncio.gather(*(old_worker(port, f"old{n}", stop, done) for n in range(count)))
    return {"done": done[0], "seconds": time.time() - began}


async def submitters(port: int, count: int, each: float) -> dict[str, Any]:
    delays: list[float] = []
    start = asyncio.Event()
    tasks = [asyncio.create_task(submitter(port, int(each), start, delays)) for _ in range(count)]
    await asyncio.sleep(0)
    start.set()
    began = time.time()
    await asyncio.gather(*tasks)
    return {"done": len(delays), "seconds": time.time() - began}


async def bulk(port: int, count: int, _: float) -> dict[str, Any]:
    """One request of `count` jobs, while another client submits and reads."""
    tree = {
        "title": "film",
        "children": [
            {"title": f"frame {n}", "command": f"render scene -frame {n}", "user": "somebody"}
            for n in range(count)
        ],
    }
    body = json.dumps(tree).encode()
    one, other = Client(port), Client(port)
    await one.open()
    await other.open()
    delays: list[float] = []
    began = time.perf_counter()
    large = asyncio.create_task(one.ask("PUT", "/api/jobs", body))
    job = b'{"command": "true"}'
    while not large.done():
        # An answer may wait here while the large request is being sent: a turn of this process.
        for method, path, small in (("PUT", "/api/jobs", job), ("GET", "/api/jobs/1", b"")):
            asked = time.perf_counter()
            await other.ask(method, path, small)
            delays.append(time.perf_counter() - asked)
        await asyncio.sleep(0.005)
    await large
    return {"seconds": time.perf_counter() - began, "slowest": max(delays), "asked": len(delays)}


if __name__ == "__main__":
    what, port, count, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(globals()[what](int(port), int(count), float(seconds)))))
