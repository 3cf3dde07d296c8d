"""`trueup reference build`: the reference of a model out of a file of rows.

What lives here: options and the table. What must not: how a reference is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.commands.common import AsJson, console, print_json, print_table, writing
from monitor.commands.compare import task_of, tell_unread
from monitor.commands.progress import rows_read

app = typer.Typer(add_completion=False, no_args_is_help=True, help="References: what later rows are compared with.")


@app.callback()
def _group() -> None:
    pass


@app.command("build")
def build(
    source: Annotated[
        Path, typer.Option("--from", help="A file of rows: CSV, NDJSON, JSON, Parquet or Arrow.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Where to write the reference.", show_default=False)],
    labels: Annotated[Path | None, typer.Option(help="Ground truth of the rows: prediction_id and label.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Name of the model; else that of the file.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression, where it cannot be told.")] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Also tell rows apart by this column's values. May be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build a reference: cells, scales and counts of every column, and performance where there are labels.

    Medians and scales are exact up to a million rows; above, they come from a sample of a million (the rows whose
    number has the smallest hash, so the same each time), counts from all rows.
    """
    from monitor.engines.file_profiles import reference_of_file
    from monitor.engines.plain_files import Unread
    from monitor.profiles.codec import save_reference
    from monitor.records import column_label

    unread = Unread()
    with rows_read(shown=not as_json) as tick:
        reference = reference_of_file(
            source,
            labels=labels,
            name=model,
            task=task_of(task),
            tick=tick,
            unread=unread,
            segments=segment or (),
        )
    tell_unread(source, unread)
    with writing(out):
        save_reference(reference, out)
    kinds = {column_label(spec.name): spec.kind for spec in reference.columns}
    labelled = 0 if reference.outcome is None else reference.outcome.rows
    if as_json:
        schema = reference.schema
        print_json(
            {
                "reference": str(out),
                "identity": reference.identity,
                "model": schema.model,
                "task": schema.task,
                "classes": list(schema.classes),
                "rows": reference.profile.rows,
                "labelled_rows": labelled,
                "sampled_rows": reference.sampled_rows,
                "rows_unread": unread.rows,
                "columns": kinds,
                "segments": {spec.name: list(spec.values) for spec in reference.segments},
            }
        )
        return
    rows = []
    for spec in reference.columns:
        profile = reference.profile.columns.get(spec.name)
        rows.append([column_label(spec.name), spec.kind, *((profile.rows, profile.missing) if profile else (0, 0))])
    title = f"reference {out}: {reference.profile.rows:,} rows, {labelled:,} labelled, {reference.schema.task}"
    print_table(title, ("column", "kind", "rows", "missing"), rows)
    if reference.segments:
        told = [(spec.name, len(spec.values), ", ".join(spec.values)) for spec in reference.segments]
        print_table("segments", ("segment", "values", "told apart"), told)
    if reference.sampled_rows is not None:
        text = f"cells and scales come from a sample of {reference.sampled_rows:,} rows, counts from all"
        console(error=True).print(text)
