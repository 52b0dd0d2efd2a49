"""A port that is far away: ``python -m bench.ssh_far PORT TARGET SECONDS``.

What comes in at the port goes on to the target so many seconds later, and so does what comes
back, however much it is: a delay as of a long line, without a bound on what is on the way.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import StreamReader, StreamWriter

from bench.sockets import HOST

BLOCK = 1 << 18


async def relay(port: int, target: int, delay: float) -> None:
    """Serves for good."""

    async def carry(reader: StreamReader, writer: StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(BLOCK):
            loop.call_later(delay, writer.write, data)
        loop.call_later(delay, writer.close)

    async def accept(reader: StreamReader, writer: StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, target)
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    server = await asyncio.start_server(accept, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(relay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
