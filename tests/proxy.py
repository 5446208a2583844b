"""A network that can be cut: a TCP port of this machine in front of a server's unix socket."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from tests.running import Running

_CHUNK_BYTES = 65_536


class Proxy(Running):
    """Passes on what comes, on a thread of its own, until `cut` and again from `heal` on.

    While it is cut nothing comes through and no connection breaks: as when packets vanish. New
    connections are taken, and lead nowhere.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._passes.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def start(self) -> None:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._passes.clear)

    def heal(self) -> None:
        self._loop.call_soon_threadsafe(self._passes.set)

    async def _listen(self) -> int:
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def _close(self) -> None:
        self._listener.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connected(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        await self._passes.wait()
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._server)
        except OSError:
            # The server is down: its clients get a reset, as from the kernel.
            to_client.transport.abort()
            return
        for reader, writer in ((from_client, to_server), (from_server, to_client)):
            pump = asyncio.create_task(self._pump(reader, writer))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK_BYTES):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
            await self._passes.wait()
        except OSError:
            pass
        finally:
            writer.close()
