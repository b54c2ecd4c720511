"""Options that many commands have, each said once. Where a deployment is: ``deskline.targets``."""

from pathlib import Path
from typing import Annotated

import typer

Shop = Annotated[str, typer.Option("--shop", help="The shop's id: the name of its folder; _default is one, too.")]
Config = Annotated[Path, typer.Option("--config", help="Directory of the configuration: one folder per shop.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value on standard output instead of text.")]
NoApply = Annotated[bool, typer.Option("--no-apply", help="Only change the file; the next apply puts it in force.")]
