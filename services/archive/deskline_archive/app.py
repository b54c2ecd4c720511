"""The composition root of the archive."""

from functools import partial

from deskline.clock import DAY, now_us
from deskline.events.deadletters import invalid_letter
from deskline.service import Runtime
from deskline_archive.access import Access
from deskline_archive.handler import Archive
from deskline_archive.home import prepare
from deskline_archive.keeper import Keeper
from deskline_archive.metrics import Metrics
from deskline_archive.settings import ArchiveSettings
from deskline_archive.store import Store


def build(runtime: Runtime) -> Archive:
    prefix = runtime.settings.topic_prefix
    metrics = Metrics(runtime.registry)
    own = ArchiveSettings()
    prepare(own)
    archive = Archive(Store(prefix, own.vault_file), partial(invalid_letter, topic_prefix=prefix), metrics)
    metrics.days_ahead.set_function(lambda: archive.days_ahead(now_us() // DAY))
    runtime.background.append(Keeper(runtime, own, metrics, archive.prepared_until).run)
    runtime.routes += Access(runtime.settings, own).routes()
    return archive
