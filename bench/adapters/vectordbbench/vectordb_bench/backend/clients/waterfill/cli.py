"""The command ``vectordbbench waterfill``."""

from typing import Annotated, Unpack

import click
from vectordb_bench.backend.clients import DB
from vectordb_bench.cli.cli import (
    CommonTypedDict,
    cli,
    click_parameter_decorators_from_typed_dict,
    run,
)


class WaterfillTypedDict(CommonTypedDict):
    """Options of the command."""

    path: Annotated[
        str,
        click.option("--path", type=str, help="Folder for the index", required=True),
    ]
    target_recall: Annotated[
        float,
        click.option(
            "--target-recall",
            type=float,
            default=0.9,
            show_default=True,
            help="recall@10 that codes alone must reach, in the fewest bytes",
        ),
    ]
    code_bytes: Annotated[
        int | None,
        click.option("--code-bytes", type=int, help="Bytes of a code, instead of a recall"),
    ]
    keep_rows: Annotated[
        str,
        click.option(
            "--keep-rows",
            type=click.Choice(["float16", "int8", "none"]),
            default="float16",
            show_default=True,
            help="Rows on the disk that rank the last candidates",
        ),
    ]


@cli.command()
@click_parameter_decorators_from_typed_dict(WaterfillTypedDict)
def Waterfill(**parameters: Unpack[WaterfillTypedDict]) -> None:  # noqa: N802 - as the others
    """Run a case on waterfill."""
    from .config import WaterfillConfig, WaterfillIndexConfig

    run(
        db=DB.Waterfill,
        db_config=WaterfillConfig(db_label=parameters["db_label"], path=parameters["path"]),
        db_case_config=WaterfillIndexConfig(
            target_recall=parameters["target_recall"],
            code_bytes=parameters["code_bytes"],
            keep_rows=parameters["keep_rows"],
        ),
        **parameters,
    )
