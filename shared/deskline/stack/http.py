"""One HTTP GET over asyncio: the supervisor asks its own services on loopback, and needs no client library for it."""

import asyncio
from urllib.parse import urlsplit


async def get(url: str, timeout_s: float = 2.0) -> tuple[int, bytes] | None:
    """(status, body), or None while nobody answers."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                request = f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                answer = await reader.read(-1)
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), body
    except (OSError, TimeoutError, ValueError, IndexError):
        return None
