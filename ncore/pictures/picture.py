"""A picture without a service: made from a spec and what was measured, shown in a notebook, saved as a file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ncore.pictures import curves
from ncore.pictures.comparison import Compared, Lens, comparison
from ncore.pictures.files import KINDS, Form, as_json, rendered
from ncore.pictures.histogram import ends_of
from ncore.pictures.panels import PANELS
from ncore.pictures.points import curves_of, is_chosen
from ncore.pictures.setting import PictureSetting, setting_of
from ncore.pictures.themes import DPI, LayoutName, ThemeName, layout_of
from ncore.presets import spec_of
from ncore.run import Measurement
from ncore.series import Series, as_series
from ncore.spec import AnySpec, NetworkSpec


class Picture:
    """A picture; `vega_lite` is its description, `dpi` the dots per inch of its PNG."""

    def __init__(self, vega_lite: dict[str, Any], dpi: float = DPI) -> None:
        self.vega_lite, self.dpi = vega_lite, dpi

    def save(self, path: str | Path) -> Path:
        """Writes the file: SVG, PNG, PDF or the Vega-Lite as JSON, by its suffix. Raises ValueError for another one."""
        path = Path(path)
        form = path.suffix.removeprefix(".").lower()
        if form not in KINDS:
            raise ValueError(f"path: must end in one of {', '.join(f'.{one}' for one in KINDS)}; got {path.name!r}")
        path.write_bytes(self.as_bytes(form))  # type: ignore[arg-type] # one of KINDS
        return path

    def as_bytes(self, form: Form) -> bytes:
        """The file's content."""
        return rendered(self.vega_lite, form, dpi=self.dpi)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002 (Jupyter's)
        import orjson

        return {
            "application/vnd.vegalite.v6+json": orjson.loads(as_json(self.vega_lite)),
            "image/svg+xml": self.as_bytes("svg").decode(),
            "image/png": base64.b64encode(self.as_bytes("png")).decode(),
        }


def figure(
    spec: AnySpec | Mapping[str, Any] | str,
    measured: Any,
    *,
    panels: Sequence[str] = (),
    layers: Sequence[str] = (),
    seeds: Sequence[int] = (),
    steps: int | None = None,
    theme: ThemeName = "light",
    columns: int = 2,
    style: LayoutName = "screen",
    **sizes: Any,
) -> Picture:
    """The panels of an experiment: median and range over the seeds, predictions as dotted lines.

    Args:
        spec: a spec, its JSON object, or a preset's name.
        measured: measurements as `ncore.train` yields them; series as GET …/metrics answers; or a frame of pandas or
            polars, or records, with the columns metric, layer, seed, step, value.
        panels: names out of `ncore.pictures.panels.PANELS`; the paper's if empty.
        layers, seeds: those that are drawn; all if empty.
        steps: of the whole run of one seed; as far as it was measured if None. Only the epoch axis needs it.
        style: screen, paper or slides; `sizes` are changes of its layout: width, height, fontsize, font, title, legend,
            and dpi, the dots per inch of a PNG.

    Raises ValueError naming a panel or a seed that there is not, TypeError for what is no measurement.
    """
    unknown = [panel for panel in panels if panel not in PANELS]
    if unknown:
        raise ValueError(f"panels: must be out of {', '.join(PANELS)}; got {unknown[0]!r}")
    body = {"preset": spec} if isinstance(spec, str) else spec
    parsed = body if isinstance(body, AnySpec) else spec_of(body)
    foreign = [seed for seed in seeds if seed not in parsed.seeds] if parsed.seeds else []
    if foreign:
        raise ValueError(f"seeds: must be out of {', '.join(map(str, parsed.seeds))}; got {foreign[0]!r}")
    series = [one for one in series_of(measured) if is_chosen(one, layers, seeds)]
    last = steps or max((one["steps"][-1] for one in series if one["steps"]), default=0)
    setting = setting_of(parsed, last * len(parsed.seeds) if isinstance(parsed, NetworkSpec) else last, seeds=seeds)
    layout = layout_of(style, **sizes)
    made = curves.figure(curves_of(series), setting, panels, theme, columns, True, layout, ends_of(series))
    return Picture(made, layout.dpi)


def compare(
    measured: Mapping[str, Any],
    metric: str | Sequence[str] = "nc1",
    *,
    layers: Sequence[str] = (),
    by_share: bool = True,
    x_log: bool | None = None,
    y_log: bool | None = None,
    columns: int = 2,
    theme: ThemeName = "light",
    style: LayoutName = "screen",
    **sizes: Any,
) -> Picture:
    """Metrics of several experiments, or of networks of your own: a colour each, layers dashed from the last.

    Args:
        measured: by name, what `figure` takes: measurements, series, a frame or records.
        metric: one, or several, each in a panel of its own.
        layers: those that are drawn; all if empty.
        by_share: over the share of each run, else over the steps.
        x_log, y_log: logarithmic or linear axes; None for what the metric has elsewhere.
        style: screen, paper or slides; `sizes` are changes of its layout as in `figure`.

    Raises ValueError where nothing has the metric, TypeError for what is no measurement.
    """
    metrics = [metric] if isinstance(metric, str) else list(metric)
    compared = []
    for name, given in measured.items():
        series = [one for one in series_of(given) if one["metric"] in metrics and is_chosen(one, layers, ())]
        last = max((one["steps"][-1] for one in series if one["steps"]), default=0)
        met = tuple(dict.fromkeys(one["layer"] for one in series if one["layer"] is not None))
        compared.append(Compared(PictureSetting(name, layers=met, steps=last), curves_of(series)))
    if not any(one.curves for one in compared):
        raise ValueError(f"metric: nothing that was measured has {', '.join(map(repr, metrics))}")
    layout, lens = layout_of(style, **sizes), Lens(by_share, x_log=x_log, y_log=y_log)
    return Picture(comparison(compared, metrics, lens, theme, True, layout, columns), layout.dpi)


def series_of(measured: Any) -> list[Series]:
    """Series from measurements, series, a frame or records. Raises TypeError for anything else."""
    rows = list(_records(measured))
    if all(isinstance(one, Measurement) for one in rows):
        return as_series(rows)
    if all(isinstance(one, Mapping) and "steps" in one for one in rows):
        return rows
    found: dict[tuple[str, str | None, int], Series] = {}
    for one in rows:
        if not (isinstance(one, Mapping) and {"metric", "layer", "seed", "step", "value"} <= one.keys()):
            raise TypeError(f"measured: must hold measurements, series or records of points; got {type(one).__name__}")
        layer = one["layer"] if isinstance(one["layer"], str) else None  # NaN in a frame of pandas
        blank: Series = {"metric": one["metric"], "layer": layer, "seed": one["seed"], "steps": [], "values": []}
        points = found.setdefault((one["metric"], layer, one["seed"]), blank)
        points["steps"].append(one["step"])
        points["values"].append(one["value"])
    return list(found.values())


def _records(measured: Any) -> Iterable[Any]:
    """The rows of a frame of polars or pandas; anything else as it is."""
    if hasattr(measured, "to_dicts"):
        return measured.to_dicts()
    return measured.to_dict("records") if hasattr(measured, "to_dict") else measured
