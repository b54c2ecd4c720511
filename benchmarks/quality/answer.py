"""How long an answer takes, its embedding included, over ten thousand phrasings; what compiling them takes; and a desk's search.

The phrasings are CLINC150's examples, three to an entry; the questions are its others, each asked once, so that none is remembered. The
search goes through HTTP as the service serves it, in another thread of this process.
"""

import asyncio
import gzip
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast
from urllib.parse import quote

import numpy as np
import uvicorn
from faststream.asgi import AsgiFastStream
from pydantic import SecretStr

from benchmarks.figures import Figures, Floor
from benchmarks.quality.data import locate
from deskline.config.knowledge_document import Entry, Knowledge
from deskline.settings import ServiceSettings
from deskline.text import fold
from deskline_autoreply.knowledge.desk import routes
from deskline_autoreply.knowledge.index import KnowledgeIndex
from deskline_autoreply.knowledge.lookups import Lookups
from deskline_autoreply.knowledge.preparing import warm
from deskline_autoreply.versions import Versions

_PHRASINGS: Final = 10_000
_OF_ONE: Final = 3
_QUESTIONS: Final = 2_000
_SEARCHES: Final = 300
_TOKEN: Final = "bench"


def run(data: Path | None, figures: Figures) -> None:
    path = locate(data, "clinc150/train_val.json.gz")
    path = min(path.glob("*.json*")) if path.is_dir() else path
    raw = path.read_bytes()
    splits = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    document = _knowledge(splits["train"])
    asked = [text for name, rows in splits.items() if name != "train" for text, _ in rows][:_QUESTIONS]
    warm()
    began = time.process_time()
    KnowledgeIndex.of(document)
    first = time.process_time() - began
    began = time.process_time()
    index = KnowledgeIndex.of(document)
    again = time.process_time() - began
    figures.show("knowledge_compile_first_s", first, "s", phrasings=index.size)
    figures.show("knowledge_compile_again_s", again, "s", phrasings=index.size)
    wall, cpu = [], []
    for text in asked:
        before, spent = time.perf_counter(), time.thread_time()
        index.answer(text, 0)
        wall.append((time.perf_counter() - before) * 1e3)
        cpu.append((time.thread_time() - spent) * 1e3)
    floor = Floor("< 20 ms", lambda value, _: value < 20)
    figures.show("knowledge_answer_p50_ms", float(np.percentile(wall, 50)), "ms", phrasings=index.size)
    figures.show("knowledge_answer_p99_ms", float(np.percentile(wall, 99)), "ms", floor=floor, questions=len(wall))
    figures.show("knowledge_answer_cpu_ms", float(np.mean(cpu)), "ms", p99=f"{np.percentile(cpu, 99):.1f}")
    small = KnowledgeIndex.of(Knowledge(entries=document.entries[:30]))
    spent = time.thread_time()
    for text in asked:
        small.search(text, 1)
    mean = (time.thread_time() - spent) / len(asked) * 1e3
    # These questions' vectors are remembered by now: what is left is everything but the embedding.
    figures.show("knowledge_small_cpu_ms", mean, "ms", phrasings=small.size, embedding="without")
    times = _searched(index, document, asked[-_SEARCHES:])
    floor = Floor("< 30 ms", lambda value, _: value < 30)
    figures.show("knowledge_search_http_p50_ms", float(np.percentile(times, 50)), "ms", phrasings=index.size)
    figures.show(
        "knowledge_search_http_p99_ms", float(np.percentile(times, 99)), "ms", floor=floor, searches=len(times)
    )


def _knowledge(rows: list[list[str]]) -> Knowledge:
    by_intent: dict[str, list[str]] = {}
    for text, intent in {fold(text): (text, intent) for text, intent in rows}.values():
        by_intent.setdefault(intent, []).append(text)
    groups = [texts[at : at + _OF_ONE] for texts in by_intent.values() for at in range(0, len(texts), _OF_ONE)]
    kept = groups[: -(-_PHRASINGS // _OF_ONE)]
    return Knowledge(
        entries=tuple(
            Entry(entry_id=f"e{number}", phrasings=tuple(texts), answer="…") for number, texts in enumerate(kept)
        )
    )


def _searched(index: KnowledgeIndex, document: Knowledge, texts: list[str]) -> list[float]:
    """Ms each, over one connection."""
    rules = SimpleNamespace(document=SimpleNamespace(knowledge=document))
    versions = SimpleNamespace(rules=lambda *_: (1, rules), knowledge=lambda _: index)
    desk = routes(cast("Versions", versions), Lookups(ServiceSettings()), SecretStr(_TOKEN), lambda: True)
    times = []
    with _serving(desk) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for text in texts:
            before = time.perf_counter()
            connection.request("GET", f"/knowledge?q={quote(text)}", headers={"Authorization": f"Bearer {_TOKEN}"})
            answer = connection.getresponse()
            body = answer.read()
            times.append((time.perf_counter() - before) * 1e3)
            if answer.status != 200:
                raise SystemExit(f"the search answered {answer.status}: {body[:200]!r}")
        connection.close()
    return times


@contextmanager
def _serving(desk: list[tuple[str, Any]]) -> Iterator[int]:
    app = AsgiFastStream(asgi_routes=desk, logger=None)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None, access_log=False)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
