"""``python -m deploy.monitoring``: write the generated files; with ``--check`` only say which have drifted (exit code 1)."""

import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.monitoring import alerts, dashboards, recording

_ROOT: Final = Path(__file__).parents[1]
_HEAD: Final = "# Written by python -m deploy.monitoring: change deploy/monitoring/*.py and run it again.\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors, and with expressions of several lines as they are read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def files() -> dict[str, str]:
    """Path below ``deploy/`` → content."""
    written = {
        "prometheus/rules/recording.yml": _rules(recording.groups()),
        "prometheus/rules/alerts.yml": _rules(alerts.groups()),
    }
    # Helm reads nothing outside its chart.
    for name in ("recording", "alerts"):
        written[f"helm/deskline/files/{name}.yml"] = written[f"prometheus/rules/{name}.yml"]
    for board in dashboards.DASHBOARDS:
        model = json.dumps(dashboards.render(board), indent=2, ensure_ascii=False)
        written[f"grafana/{board.uid}.json"] = model + "\n"
    return written


def _rules(groups: list[dict[str, Any]]) -> str:
    return _HEAD + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


def drifted(root: Path = _ROOT) -> list[str]:
    """Generated files that are not as the code has them, and dashboards that no code writes."""
    wanted = files()
    found = [path for path, text in wanted.items() if not _same(root / path, text)]
    strays = [f"grafana/{path.name}" for path in (root / "grafana").glob("*.json")]
    return sorted(found + [path for path in strays if path not in wanted])


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        wrong = drifted()
        for path in wrong:
            print(f"deploy/{path} has drifted; run: python -m deploy.monitoring", file=sys.stderr)  # noqa: T201
        return 1 if wrong else 0
    if arguments:
        print("usage: python -m deploy.monitoring [--check]", file=sys.stderr)  # noqa: T201
        return 2
    for path, text in files().items():
        target = _ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
