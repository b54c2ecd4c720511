"""Envelopes decoded and validated a second, on one core: ``spine_decode``.

Beside it, in the same run and over the same bytes, pydantic's ``validate_json`` on the same models: the baseline that the
ratio is against. The two take turns, so that whatever else the machine does hits both. The values are 400 bytes long,
Chinese, ``message.received.v1`` in CloudEvents structured form, each different from the others.
The value is the median of the rounds, in envelopes a second of CPU time.
"""

import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks.figures import Figures
from deskline.clock import parse_rfc3339, rfc3339
from deskline.events.models import ANY_EVENT
from deskline.events.wire import decode
from deskline.records import CONVERSATIONS, Event, Record

START = parse_rfc3339("2026-11-25T03:30:00.123456Z")
SENTENCES = (
    "请问我的订单什么时候发货？已经等了三天了",
    "这件外套有没有大一码的，我身高一米八",
    "收到的杯子碎了\\n要退款还是补发一个？",
    "双十一的优惠券还能用吗，显示已经过期了",
)


def envelope(n: int, size: int) -> bytes:
    """One customer's message, of exactly ``size`` bytes."""
    moment, subject = rfc3339(START + n * 1_357), f"c-{n % 5_000:06}"
    head = (
        f'{{"specversion":"1.0","id":"e-{n:08}","source":"/gateway/taobao","type":"message.received.v1",'
        f'"subject":"{subject}","time":"{moment}","data":{{"shop_id":"shop-{n % 20:02}","message_id":"m-{n:08}",'
        f'"channel":"app","text":"{SENTENCES[n % len(SENTENCES)]}",'
        f'"customer":{{"customer_id":"u-{n % 3_000:05}","tier":"vip","order_count":{n % 40}}},"product_id":"'
    ).encode()
    return head + b"p" * (size - len(head) - 3) + b'"}}'


def records(count: int, size: int) -> list[Record]:
    return [
        Record(CONVERSATIONS, 0, n, START + n * 1_357, f"c-{n % 5_000:06}".encode(), envelope(n, size), ())
        for n in range(count)
    ]


def rate(work: Callable[[Sequence[Record]], None], batch: Sequence[Record]) -> float:
    """Records a second of CPU time: other processes on the core do not count."""
    started = time.process_time()
    work(batch)
    return len(batch) / (time.process_time() - started)


def with_wire(batch: Sequence[Record]) -> None:
    for record in batch:
        decode(record)


def with_pydantic(batch: Sequence[Record]) -> None:
    for record in batch:
        ANY_EVENT.validate_json(record.value or b"")


def measure(figures: Figures, *, envelopes: int = 20_000, rounds: int = 5, size: int = 400) -> None:
    """Show ``spine_decode``; ``size`` is the bytes of one envelope, at least 380."""
    batch = records(envelopes, size)
    if not all(len(record.value or b"") == size and isinstance(decode(record), Event) for record in batch):
        raise SystemExit("the envelopes are not what this benchmark is about")
    ours, baseline = [], []
    for _ in range(rounds):
        ours.append(rate(with_wire, batch))
        baseline.append(rate(with_pydantic, batch))
    figures.show(
        "spine_decode", ours, "envelopes/s", baseline=statistics.median(baseline), envelopes=envelopes, bytes=size
    )
