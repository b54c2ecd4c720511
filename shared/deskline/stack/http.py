"""One HTTP GET over asyncio: the supervisor asks its own services on loopback, and needs no client library for it."""

import asyncio
from urllib.parse import urlsplit

from deskline.settings import ServiceSettings


async def get(url: str, timeout_s: float = 2.0, *, token: str | None = None) -> tuple[int, bytes] | None:
    """(status, body), or None while nobody answers. ``token``: sent as a bearer token."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                request = f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
                if token is not None:
                    request += f"Authorization: Bearer {token}\r\n"
                writer.write(f"{request}\r\n".encode())
                answer = await reader.read(-1)
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), body
    except (OSError, TimeoutError, ValueError, IndexError):
        return None


async def get_metrics(address: str) -> tuple[int, bytes] | None:
    """``/metrics`` of a service at ``http://host:port``, with the token of this environment where it has one."""
    token = ServiceSettings().metrics_token
    return await get(f"{address}/metrics", token=None if token is None else token.get_secret_value())


def metric_sum(text: str, name: str) -> float | None:
    """The sum over all labels of one metric in Prometheus text; None where it is not there."""
    values = [
        float(line.rsplit(None, 1)[1])
        for line in text.splitlines()
        if line.startswith(name) and line[len(name) : len(name) + 1] in ("{", " ")
    ]
    return sum(values) if values else None
