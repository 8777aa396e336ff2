"""What a run leaves behind: tables of scores and parameters, a sheet of overlays, predictions in COCO's files."""

import json
from pathlib import Path

import cv2
import numpy as np
from clu import parameter_overview
from pycocotools import mask as rle

from data.example import Example
from dataseg_jax import coco, palette, visualise
from dataseg_jax.optim import ParameterRow
from dataseg_jax.segmentation import Segmentation
from experiments.build import Dataset

COLUMNS = {
    "panoptic": ("pq", "pq_things", "pq_stuff", "sq", "rq", "ceiling_pq"),
    "semantic": ("miou", "pixel_accuracy", "colour_classifier_miou", "majority_class_miou", "ceiling_miou"),
    "boxes": ("mask_ap", "mask_ap50"),
    "instance": ("mask_ap", "mask_ap50"),
}
NAMES = {
    "pq": "PQ", "pq_things": "PQ things", "pq_stuff": "PQ stuff", "sq": "SQ", "rq": "RQ", "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy", "mask_ap": "mask AP", "mask_ap50": "mask AP50",
    "colour_classifier_miou": "mIoU of a per-pixel colour classifier",
    "majority_class_miou": "mIoU of the majority class",
    "ceiling_pq": "PQ ceiling of stride-4 masks", "ceiling_miou": "mIoU ceiling of stride-4 masks",
}  # fmt: skip


def table(scores: dict, settings, validation: list[Dataset]) -> str:
    """A Markdown table: one row a metric, grouped by dataset."""
    lines = ["| dataset | trained on | pictures | metric | score |", "|---|---|---|---|---|"]
    for dataset in validation:
        kind, values = dataset.task.kind, scores[dataset.name]
        for key in COLUMNS[kind]:
            if key in values:
                row = dataset.name, "boxes only" if kind == "boxes" else f"{kind} masks", len(dataset.source)
                lines.append(f"| {row[0]} | {row[1]} | {row[2]} | {NAMES[key]} | {100 * values[key]:.1f} |")
    thresholds = settings.eval.score_threshold, settings.eval.overlap_threshold
    lines.append("")
    lines.append(
        "Percent, on held-out pictures unless a config says otherwise. "
        f"PQ: score > {thresholds[0]}, overlap >= {thresholds[1]}."
    )
    return "\n".join(lines)


def write_report(workdir: Path, step: int, scores: dict, sheets: dict, settings, validation: list[Dataset]) -> None:
    """Prints the table; writes results.md, results.json and one sheet of overlays a dataset."""
    text = table(scores, settings, validation)
    (workdir / "results.md").write_text(text + "\n")
    (workdir / "results.json").write_text(json.dumps({"step": step, "scores": scores}, indent=1) + "\n")
    written = []
    for name, sheet in sheets.items():
        if sheet is not None:
            path = workdir / "overlays" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
            written.append(str(path))
    print(f"\nresults at step {step}\n\n{text}\n", flush=True)
    print(f"written: {workdir / 'results.md'}, {workdir / 'results.json'}, {', '.join(written)}", flush=True)


def sheet_row(example: Example, result: Segmentation, truth: dict) -> tuple[np.ndarray, ...]:
    """Picture, prediction and ground truth of one example."""
    spoken = result.vocabulary.spoken
    colours = palette.palette(spoken)
    names = [spoken[int(k)] for k in truth["labels"]]
    if "segments" in truth:
        labels = {i + 1: name for i, name in enumerate(names)}
        drawn = visualise.overlay(example.image, truth["segments"], labels, colours=colours)
    else:
        masks = [_decoded(record["mask"], example.image.shape[:2]) for record in truth["records"]]
        masks = np.array(masks, bool).reshape(-1, *example.image.shape[:2])
        drawn = visualise.instance_overlay(example.image, masks, names, colours=colours)
    return example.image, result.overlay(), drawn


def sheet(rows: list) -> np.ndarray:
    """Rows of `sheet_row` as one picture."""
    return visualise.grid(rows, ("picture", "prediction", "ground truth"))


def _decoded(mask, size):
    if isinstance(mask, np.ndarray):
        return mask
    if isinstance(mask, list):
        mask = rle.merge(rle.frPyObjects(mask, *size))
    elif isinstance(mask["counts"], list):
        mask = rle.frPyObjects(mask, *size)
    return rle.decode(mask).astype(bool)


class PredictionWriter:
    """Writes predictions, and the ground truth of the same pictures, as files `experiments.evaluate` scores.

    Panoptic: COCO panoptic JSON with a folder of PNGs; semantic: folders of label PNGs; instance: COCO results JSON.
    """

    def __init__(self, workdir: Path, dataset: Dataset):
        self._folder = workdir / "predictions" / dataset.name
        self._dataset = dataset
        self._kind = "instance" if dataset.task.kind == "boxes" else dataset.task.kind
        self._records = {"predictions": [], "ground_truth": []}
        self._results, self._images = [], []
        if self._kind != "instance":
            for side in self._records:
                (self._folder / side).mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)

    def add(self, example: Example, result: Segmentation) -> None:
        """Adds one picture."""
        height, width = example.image.shape[:2]
        self._images.append(
            {"id": example.image_id, "height": height, "width": width, "file_name": Path(example.file).name}
        )
        ids = self._dataset.vocabulary.ids
        if self._kind == "panoptic":
            guesses = {s.id: s.category for s in result.segments}
            self._panoptic("predictions", example, result.ids, guesses)
            truth = {i + 1: int(k) for i, k in enumerate(example.labels)}
            self._panoptic("ground_truth", example, np.maximum(example.segments + 1, 0), truth)
        elif self._kind == "semantic":
            table = np.append(np.array(ids), 0)
            void = max(self._dataset.vocabulary.ignore, default=0 if 0 not in ids else 255)
            for side, categories in (("predictions", result.categories), ("ground_truth", example.categories)):
                values = np.where(categories >= 0, table[categories], void)
                kind = np.uint8 if values.max() < 256 else np.uint16
                cv2.imwrite(str(self._folder / side / f"{Path(example.file).stem}.png"), values.astype(kind))
        else:
            self._results += result.to_coco(example.image_id)

    def close(self) -> None:
        """Writes the JSON files."""
        if self._kind == "panoptic":
            categories = coco.categories(self._dataset.vocabulary)
            for side, annotations in self._records.items():
                content = {"images": self._images, "annotations": annotations, "categories": categories}
                (self._folder / f"{side}.json").write_text(json.dumps(content))
        elif self._kind == "instance":
            (self._folder / "predictions.json").write_text(json.dumps(self._results))

    def _panoptic(self, side, example, id_map, categories):
        name = f"{Path(example.file).stem}.png"
        cv2.imwrite(str(self._folder / side / name), cv2.cvtColor(coco.id_colours(id_map), cv2.COLOR_RGB2BGR))
        present, areas = np.unique(id_map, return_counts=True)
        segments = [
            {
                "id": int(i),
                "category_id": self._dataset.vocabulary.ids[categories[int(i)]],
                "iscrowd": 0,
                "area": int(a),
            }
            for i, a in zip(present, areas, strict=True)
            if i
        ]
        self._records[side].append({"image_id": example.image_id, "file_name": name, "segments_info": segments})


def parameter_table(rows: list[ParameterRow]) -> str:
    """One line a parameter, and the total."""

    def cell(value) -> str:
        if isinstance(value, tuple):
            return "x".join(map(str, value)) or "scalar"
        return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"

    total = sum(row.size for row in rows)
    return f"{parameter_overview.make_table(rows, value_formatter=cell)}\ntotal: {total:,}\n"
