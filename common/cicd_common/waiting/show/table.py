"""Renders the live table as lines of text that fit into the window.

If there is no room for every job, passed jobs and jobs that have not started are counted instead,
first for each stage, then for the pipeline. If even that is too much, each pipeline gets one line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from cicd_common.cleaning import one_line
from cicd_common.waiting.blocked import blocked_pipelines
from cicd_common.waiting.pipelines import in_words
from cicd_common.waiting.show.text import (
    FAILED,
    STYLES,
    age,
    elapsed,
    job_style,
    remaining,
    seconds_of,
    style_of,
    tally,
    urgency,
    why_failed,
)
from cicd_common.waiting.statuses import Phase, is_finished, meaning_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from cicd_common.waiting.pipelines import Estimate, Job, Pipeline
    from cicd_common.waiting.show.progress import Progress, Watched
    from cicd_common.waiting.show.text import Style

# A window smaller than this gets a line for each pipeline.
FEWEST_COLUMNS = 60
FEWEST_ROWS = 9  # plus one for the cursor
WIDE = 100

INDENT = "  "
TIME = len("00:00:00")
SHORTEST_NAME = 12
QUIET = "dim"


@dataclass(frozen=True)
class Canvas:
    """Describes the area to draw on.

    Attributes:
        width: Columns.
        height: Rows.
        ascii: Whether only ASCII can be shown.
    """

    width: int
    height: int
    ascii: bool = False

    def mark(self, style: Style) -> str:
        """Returns the mark that is shown before the text of a style."""
        return style.ascii if self.ascii else style.mark

    def fit(self, text: str, width: int) -> str:
        """Returns a text padded or cut to a width in columns."""
        if cell_len(text) <= width:
            return set_cell_size(text, width)
        more = "~" if self.ascii else "…"
        return set_cell_size(text, max(0, width - 1)) + more[:width]

    def line(self, *parts: tuple[str, str]) -> Text:
        """Returns a line of texts, each with its style, cut at the width of the canvas."""
        line = Text.assemble(*parts, no_wrap=True, end="")
        if line.cell_len > self.width:
            line.truncate(self.width - 1, overflow="crop")
            line.append("~" if self.ascii else "…")
        return line

    def bar(self, part: float, width: int) -> tuple[str, str]:
        """Returns a progress bar as two texts: the done part and the rest."""
        done = round(min(max(part, 0.0), 1.0) * width)
        full, rest = ("#", "-") if self.ascii else ("━", "─")
        return full * done, rest * (width - done)


@dataclass(frozen=True)
class Row:
    """Holds a row of the table: a job or, without a style, a summary of several jobs.

    Attributes:
        depth: How many upstream pipelines are above its own.
        stage: Its stage; only the first row of a stage shows it.
        style: How its status is shown.
        name: Its name.
        seconds: How long it has run.
        detail: More about it, such as why it failed.
    """

    depth: int
    stage: str
    style: Style | None
    name: str
    seconds: float | None = None
    detail: str = ""


def render(progress: Progress, now: datetime, canvas: Canvas) -> list[Text]:
    """Renders the progress of a wait.

    Args:
        progress: The progress to show.
        now: The time, for running jobs.
        canvas: The area to draw on.

    Returns:
        Lines that fit on the canvas.
    """
    watched = list(progress.watched.values())
    around = [
        canvas.line((f"waiting for {one_line(what)} to appear", QUIET))
        for what in progress.searched
    ]
    if progress.left is not None:
        around.append(canvas.line((f"time limit in {in_words(progress.left)}", QUIET)))
    around = around[: canvas.height]
    room = canvas.height - len(around)
    if canvas.width >= FEWEST_COLUMNS and canvas.height >= FEWEST_ROWS and watched:
        each = room // len(watched)
        for blocks in (
            [_all_jobs(one.pipeline, now) for one in watched],
            [_urgent_jobs(one.pipeline, now) for one in watched],
            [_most_urgent_jobs(one.pipeline, now, each - 3) for one in watched],
        ):
            lines = _blocks(watched, [list(rows) for rows in blocks], now, canvas)
            if len(lines) <= room:
                return lines + around
    return _one_line_each(watched, now, canvas, room) + around


def render_final(progress: Progress, now: datetime, canvas: Canvas) -> list[Text]:
    """Renders what stays when the wait is over; if there are several pipelines, a line for each.

    One pipeline keeps its mark alone: the result or the error, which follows, has its status.
    """
    watched = list(progress.watched.values())
    if len(watched) > 1:
        return [_one_line(one, now, canvas) for one in watched]
    rows = [list(_urgent_jobs(one.pipeline, now)) for one in watched]
    return _blocks(watched, rows, now, canvas, final=True)


# The jobs of a pipeline, from all of them to few.


def _all_jobs(pipeline: Pipeline, now: datetime, depth: int = 0) -> Iterator[Row]:
    stage = None
    for job in pipeline.jobs:
        yield _row(job, now, depth, "" if job.stage == stage else job.stage)
        stage = job.stage
        if job.downstream:
            yield from _all_jobs(job.downstream, now, depth + 1)


def _urgent_jobs(pipeline: Pipeline, now: datetime, depth: int = 0) -> Iterator[Row]:
    for stage in dict.fromkeys(job.stage for job in pipeline.jobs):
        jobs = [job for job in pipeline.jobs if job.stage == stage]
        urgent = sorted(filter(_is_urgent, jobs), key=lambda job: urgency(job_style(job)))
        title = stage
        for job in urgent:
            yield _row(job, now, depth, title)
            title = ""
            if job.downstream:
                yield from _urgent_jobs(job.downstream, now, depth + 1)
        others = [job_style(job) for job in jobs if job not in urgent]
        if others:
            yield Row(depth, one_line(title), None, tally(others))


def _most_urgent_jobs(pipeline: Pipeline, now: datetime, most: int) -> Iterator[Row]:
    jobs = sorted(_with_downstream(pipeline), key=lambda job: urgency(job_style(job)))
    named = [job for job in jobs if _is_urgent(job)][: max(0, most)]
    for job in named:
        yield _row(job, now, 0, job.stage)
    others = [job_style(job) for job in jobs if job not in named]
    if others:
        yield Row(0, "", None, f"and {tally(others)}")


def _with_downstream(pipeline: Pipeline) -> Iterator[Job]:
    for job in pipeline.jobs:
        yield job
        if job.downstream:
            yield from _with_downstream(job.downstream)


def _is_urgent(job: Job) -> bool:
    return job_style(job).urgent


def _row(job: Job, now: datetime, depth: int, stage: str) -> Row:
    below = job.downstream
    arrow = f" > {one_line(below.project)} #{below.id}" if below else ""
    blocked = blocked_pipelines(below) if below else ()
    if blocked:
        deeper = [f"#{each.id}" for each in blocked if below and each.id != below.id]
        arrow += f"{', below it ' if deeper else ''}{', '.join(deeper)} waits for a person"
    return Row(
        depth,
        one_line(stage),
        job_style(job),
        one_line(job.name) + arrow,
        seconds_of(job, now),
        why_failed(job),
    )


# From rows to lines.


def _blocks(
    watched: Sequence[Watched],
    rows: Sequence[Sequence[Row]],
    now: datetime,
    canvas: Canvas,
    *,
    final: bool = False,
) -> list[Text]:
    """Returns two lines for each pipeline, with its rows below them."""
    lines: list[Text] = []
    for one, its_rows in zip(watched, rows, strict=True):
        lines += [_heading(one.pipeline, canvas, final=final), _progress(one, now, canvas)]
        lines += _table(its_rows, canvas)
    return lines


def _heading(pipeline: Pipeline, canvas: Canvas, *, final: bool) -> Text:
    style = style_of(pipeline.status)
    over = final and meaning_of(pipeline.status).phase is not Phase.ACTIVE
    status = () if over else ((": ", ""), (style.word, f"bold {style.color}"))
    return canvas.line(
        (
            f"{canvas.mark(style)} {one_line(pipeline.project)} #{pipeline.id}",
            f"bold {style.color}",
        ),
        (f" on {one_line(pipeline.ref)}", ""),
        *status,
    )


def _progress(watched: Watched, now: datetime, canvas: Canvas) -> Text:
    pipeline = watched.pipeline
    seconds = age(pipeline, now)
    parts = [(f"{INDENT}{elapsed(seconds)}", "bold")]
    if watched.estimate and not is_finished(pipeline.status):
        parts += _bar(watched.estimate, seconds, canvas)
    ended = sum(is_finished(job.status) for job in pipeline.jobs)
    if pipeline.jobs:
        parts.append((f"  {ended} of {len(pipeline.jobs)} jobs done", ""))
    return canvas.line(*parts, *_failed(pipeline))


def _bar(estimate: Estimate, seconds: float, canvas: Canvas) -> list[tuple[str, str]]:
    over = seconds > estimate.seconds + estimate.spread
    color = "yellow" if over else "cyan"
    done, rest = canvas.bar(seconds / estimate.seconds, 40 if canvas.width >= WIDE else 20)
    return [
        (f"  {done}", color),
        (rest, QUIET),
        (f"  {remaining(estimate, seconds)}", color),
    ]


def _table(rows: Sequence[Row], canvas: Canvas) -> Iterator[Text]:
    """Yields the rows in columns that are as wide as their content."""
    stage = _widest(INDENT * row.depth + row.stage for row in rows)
    stage = min(stage, canvas.width // 4)
    jobs = [row for row in rows if row.style]
    word = _widest(row.style.word for row in jobs if row.style)
    detail = min(_widest(row.detail for row in jobs), canvas.width // 4)
    taken = sum((2, stage, 2, 2, 2, word, 2, TIME, 2 if detail else 0, detail))
    name = min(
        _widest(INDENT * row.depth + row.name for row in jobs),
        max(SHORTEST_NAME, canvas.width - taken),
    )
    for row in rows:
        indent = INDENT * row.depth
        title = f"{INDENT}{canvas.fit(indent + row.stage, stage)}{INDENT}"
        if row.style is None:
            yield canvas.line((title, "bold"), (f"{indent}{row.name}", QUIET))
            continue
        color = row.style.color or QUIET
        yield canvas.line(
            (title, "bold"),
            (f"{indent}{canvas.mark(row.style)} ", color),
            (f"{canvas.fit(row.name, name - len(indent))}{INDENT}", ""),
            (f"{canvas.fit(row.style.word, word)}{INDENT}", color),
            ("" if row.seconds is None else elapsed(row.seconds), ""),
            (f"{INDENT}{row.detail}" if row.detail else "", color),
        )


def _widest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _one_line_each(
    watched: Sequence[Watched], now: datetime, canvas: Canvas, most: int
) -> list[Text]:
    ordered = sorted(watched, key=lambda one: urgency(style_of(one.pipeline.status)))
    shown = ordered if len(ordered) <= most else ordered[: max(0, most - 1)]
    lines = [_one_line(one, now, canvas) for one in shown]
    rest = [style_of(one.pipeline.status) for one in ordered[len(shown) :]]
    if rest:
        lines.append(canvas.line((f"and {tally(rest)}", QUIET)))
    return lines[:most]


def _one_line(watched: Watched, now: datetime, canvas: Canvas) -> Text:
    """Returns one line, with the most important part first, because the window can cut it."""
    pipeline = watched.pipeline
    style = style_of(pipeline.status)
    seconds = age(pipeline, now)
    left = ""
    if watched.estimate and not is_finished(pipeline.status):
        left = f"  {remaining(watched.estimate, seconds)}"
    others = [style for style in map(job_style, pipeline.jobs) if style is not STYLES[FAILED]]
    return canvas.line(
        (f"{canvas.mark(style)} {style.word}", f"bold {style.color}"),
        (f"  {elapsed(seconds)}", ""),
        *_failed(pipeline),
        (f"  {one_line(pipeline.project)} #{pipeline.id}{left}", ""),
        (f"  {tally(others)}" if others else "", QUIET),
    )


def _failed(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Returns how many jobs failed, which the user should see while the pipeline is active."""
    failed = STYLES[FAILED]
    count = sum(job_style(job) is failed for job in pipeline.jobs)
    return [(f"  {count} {failed.word}", f"bold {failed.color}")] if count else []
