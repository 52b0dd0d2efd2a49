"""A console in a terminal: asks for a URL, connects, passes bytes. Ctrl-] leaves.

pip install websockets
CONSOLED_KEY=... python console.py http://127.0.0.1:8774 SERVER_ID
"""

import asyncio
import json
import os
import sys
import termios
import tty
import urllib.request

import websockets

LEAVE = b"\x1d"


def console_url(api: str, key: str, server_id: str) -> str:
    """A URL for the server's first console."""
    request = urllib.request.Request(  # noqa: S310  # the caller's own API
        f"{api}/v3/servers/{server_id}/get-serial-console",
        method="POST",
        headers={"X-Auth-Token": key},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        url: str = json.load(answer)["serial_console"]["url"]
    return url


async def relay(url: str) -> str:
    """Passes bytes between the console and this terminal; why it ended."""
    # http becomes ws, https wss; the path and the token stay.
    url = "ws" + url.removeprefix("http")
    typed: asyncio.Queue[bytes] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(0, lambda: typed.put_nowait(os.read(0, 4096)))

    async with websockets.connect(url, subprotocols=["binary"]) as console:

        async def send() -> None:
            while (data := await typed.get()) and data != LEAVE:
                await console.send(data)
            await console.close()

        sending = asyncio.create_task(send())
        async for output in console:
            os.write(1, output)
        sending.cancel()
    return f"{console.close_code} {console.close_reason}"


def main() -> None:
    """The command line; the terminal is raw meanwhile."""
    api, server_id = sys.argv[1:]
    url = console_url(api, os.environ["CONSOLED_KEY"], server_id)
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        why = asyncio.run(relay(url))
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    print(f"\nclosed: {why}")


if __name__ == "__main__":
    main()
