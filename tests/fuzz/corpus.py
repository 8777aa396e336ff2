"""Small valid inputs of every kind that the programs read; they are what is damaged.

Written with json, Pillow, SciPy, NumPy and TFDS alone, but for prepared data.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as mask_utils

from data.formats import open_source
from data.prepare.packing import describe
from data.prepare.plan import make_plan
from data.prepare.run import prepare
from dataseg_jax.text.vocabulary import Vocabulary
from tests.data.conftest import VOCABULARY, id_colours, noise

HEIGHT, WIDTH = 12, 16
GOLDEN = Path(__file__).parents[1] / "golden"
PASCAL = Vocabulary("few", ("cat", "dog", "grass", "sky"), is_thing=(True, True, False, False), ids=(3, 7, 20, 21))
VALUES = {"cat": 65, "dog": 113, "grass": 187, "sky": 360}  # Places in the list of all 459.
CATEGORIES = [
    {"id": 3, "name": "cat", "isthing": 1},
    {"id": 7, "name": "dog", "isthing": 1},
    {"id": 20, "name": "grass", "isthing": 0},
    {"id": 21, "name": "sky", "isthing": 0},
]
IDS = np.zeros((HEIGHT, WIDTH), np.int64)
IDS[6:], IDS[1:5, 2:7], IDS[3:6, 9:14] = 70000, 300, 5
LABELS = np.where(IDS == 70000, 20, np.where(IDS == 300, 3, np.where(IDS == 5, 7, 0))).astype(np.uint8)
POLYGON = [[2, 1, 7, 1, 7, 5, 2, 5]]
COUNTS = [60, 5, 7, 5, 115]  # Down the columns; the sum is HEIGHT * WIDTH.
CODE = mask_utils.encode(np.asfortranarray(IDS == 300, np.uint8))["counts"].decode()


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def put(path: Path, content: bytes | str | object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)


def images(root: Path, names: tuple[str, ...], folder: str = "images") -> None:
    kinds = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".gif": "GIF"}
    for seed, name in enumerate(names):
        put(root / folder / name, encoded(noise(seed), kinds[Path(name).suffix]))


def segments() -> list[dict]:
    return [{"id": 70000, "category_id": 20}, {"id": 300, "category_id": 3}, {"id": 5, "category_id": 7, "iscrowd": 1}]


def listed(names: tuple[str, ...], key: str = "file_name", prefix: str = "") -> list[dict]:
    return [{"id": n, key: prefix + name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names, 1)]


def targets(count: int) -> list[dict]:
    shapes = [
        POLYGON,
        {"size": [HEIGHT, WIDTH], "counts": COUNTS},
        {"size": [HEIGHT, WIDTH], "counts": CODE},
        [[9, 3, 14, 3, 14, 6]],
    ]
    return [
        {
            "id": 10 * image + k,
            "image_id": image,
            "category_id": (3, 7, 20, 7)[k],
            "bbox": [1 + k, 2, 5, 6.5],
            "area": 20.0,
            "iscrowd": int(k == 1),
            "segmentation": shape,
        }
        for image in range(1, count + 1)
        for k, shape in enumerate(shapes)
    ]


def panoptic(root: Path, text_ids: bool = False, cities: bool = False) -> None:
    names = ("1.png",) * 2 if cities else ("1.png", "2.jpg", "3.webp")
    keys = [f"ulm_00{n}" for n in (1, 2)] if cities else [f"k{n}" for n in (1, 2, 3)] if text_ids else [1, 2, 3]
    entries, annotations = listed(names), []
    for key, entry in zip(keys, entries, strict=True):
        entry["id"] = key
        put(root / f"panoptic/{key}.png", encoded(id_colours(IDS)))
        annotations.append({"image_id": key, "file_name": f"{key}.png", "segments_info": segments()})
    if cities:
        images(root, tuple(f"{key}_leftImg8bit.png" for key in keys), "images/ulm")
    else:
        images(root, names)
    put(root / "panoptic.json", {"images": entries, "annotations": annotations, "categories": CATEGORIES})


def instances(root: Path, file: str = "instances.json", unmasked: bool = False) -> None:
    names = ("a/1.png", "a/2.jpg", "b/3.bmp")
    images(root, names)
    found = targets(3)
    if unmasked:
        found[2].pop("segmentation")
        found[3]["segmentation"] = []
    put(root / file, {"images": listed(names), "annotations": found, "categories": CATEGORIES})


def lvis(root: Path) -> None:
    names = ("train2017/1.png", "val2017/2.jpg")
    images(root, names)
    entries = listed(names, "coco_url", "http://images.cocodataset.org/")
    for entry in entries:
        entry |= {"neg_category_ids": [20], "not_exhaustive_category_ids": [7]}
    put(root / "lvis.json", {"images": entries, "annotations": targets(2), "categories": CATEGORIES})


def boxes(root: Path) -> None:
    names = ("1.png", "2.jpg", "3.tif")
    images(root, names)
    found = [{k: v for k, v in entry.items() if k != "segmentation"} for entry in targets(3)]
    put(root / "boxes.json", {"images": listed(names), "annotations": found, "categories": CATEGORIES})


def labels(root: Path) -> None:
    names = ("a.png", "b.jpg", "c.bmp", "d.png", "spare.png")
    images(root, names)
    palette = Image.fromarray(LABELS, "L").convert("P")
    palette.putdata(LABELS.reshape(-1).tolist())
    for stem, content in {
        "a": encoded(LABELS),
        "b": encoded(LABELS.astype(np.uint16)),
        "d": encoded(np.array(palette)),
        "spare": encoded(LABELS),
    }.items():
        put(root / f"labels/{stem}.png", content)
    put(root / "labels/c.tif", encoded(LABELS, "TIFF"))
    put(root / "split.txt", "a\nb\nc\nd\n")


def foreground(root: Path) -> None:
    images(root, ("a.png", "b.jpg"))
    for stem in "ab":
        put(root / f"masks/{stem}.png", encoded(np.where(LABELS > 3, 255, 0).astype(np.uint8)))


def yolo(root: Path) -> None:
    images(root, ("a.png", "b.jpg", "c.png"))
    put(root / "labels/a.txt", "3 0.1 0.1 0.5 0.1 0.5 0.6\n20 0.2 0.3 0.9 0.3 0.9 0.9 0.2 0.9\n")
    put(root / "labels/b.txt", "7 0 0 1 0 1 1\n\n3 0.4 0.4 0.7 0.4 0.7 0.8\n")


def voc(root: Path) -> None:
    images(root, ("a.png", "b.jpg"))
    for name, words in (("a", ("cat", "dog")), ("b", ("sky",))):
        entries = "".join(
            f"<object><name>{word}</name><difficult>{n}</difficult><bndbox><xmin>{2 + n}</xmin><ymin>1</ymin>"
            f"<xmax>{9 + n}</xmax><ymax>10</ymax></bndbox></object>"
            for n, word in enumerate(words)
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        put(root / f"Annotations/{name}.xml", f"<annotation><filename>{name}</filename>{size}{entries}</annotation>")


def pascal(root: Path) -> None:
    values = np.where(IDS == 70000, VALUES["grass"], np.where(IDS == 300, VALUES["cat"], 7)).astype(np.uint16)
    images(root, ("2008_1.jpg", "2008_2.jpg"))
    (root / "labels").mkdir()
    scipy.io.savemat(root / "labels/2008_1.mat", {"LabelMap": values}, do_compression=True)
    scipy.io.savemat(root / "labels/2008_2.mat", {"LabelMap": values}, do_compression=False)


def prepared(root: Path, write: Callable[[Path], None], format: str, **options) -> None:
    before = root.with_name(f"{root.name}_before")
    before.mkdir()
    write(before)
    source = open_source(format, str(before), VOCABULARY, name="mine", **options)
    plan = make_plan(source, describe(source, format, str(before)), str(before), "train", shard_bytes=1500)
    prepare(source, str(before), str(root), plan, say=lambda line: None)
    shutil.rmtree(before)


def tfds(root: Path) -> None:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    f = tfds.features
    part = {"id": np.int64, "bbox": f.BBoxFeature(), "label": f.ClassLabel(num_classes=4), "is_crowd": np.bool_}
    described = {
        "image": f.Image(),
        "image/filename": f.Text(),
        "image/id": np.int64,
        "panoptic_image": f.Image(),
        "panoptic_objects": f.Sequence(part),
    }

    class Mine(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None  # There are no checksums beside this file to look for.

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=f.FeaturesDict(described))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            box = f.BBox(0.0, 0.0, 1.0, 1.0)
            for n in range(2):
                yield (
                    n,
                    {
                        "image": encoded(noise(n)),
                        "image/filename": f"{n}.png",
                        "image/id": n,
                        "panoptic_image": encoded(id_colours(IDS)),
                        "panoptic_objects": [
                            {"id": key, "bbox": box, "label": label, "is_crowd": False}
                            for key, label in ((70000, 2), (300, 0), (5, 1))
                        ],
                    },
                )

    builder = Mine(data_dir=str(root / "all"), file_format="array_record")
    builder.download_and_prepare()
    for file in Path(builder.data_dir).iterdir():
        file.rename(root / file.name)
    shutil.rmtree(root / "all")


def scored_panoptic(root: Path) -> None:
    for side in ("truth", "guess"):
        annotations = []
        for key in (1, 2):
            put(root / f"{side}/{key}.png", encoded(id_colours(IDS if side == "truth" else np.roll(IDS, key, axis=1))))
            infos = [s | {"area": int((IDS == s["id"]).sum()), "iscrowd": 0} for s in segments()]
            annotations.append({"image_id": key, "file_name": f"{key}.png", "segments_info": infos})
        more = {"categories": CATEGORIES, "images": listed(("1.jpg", "2.jpg"))} if side == "truth" else {}
        put(root / f"{side}.json", {"annotations": annotations, **more})


def scored_labels(root: Path) -> None:
    for stem, shift in (("a", 0), ("b", 2)):
        put(root / f"truth/{stem}.png", encoded(LABELS))
        put(root / f"guess/{stem}.png", encoded(np.roll(LABELS, shift, axis=0)))


def scored_instances(root: Path) -> None:
    truth = {"images": listed(("1.jpg", "2.jpg")), "annotations": targets(2), "categories": CATEGORIES}
    put(root / "truth.json", truth)
    kept = ("image_id", "category_id", "bbox", "segmentation")
    guess = [{key: entry[key] for key in kept} | {"score": 0.9 - 0.1 * n} for n, entry in enumerate(targets(2))]
    put(root / "guess.json", guess)


def words(root: Path) -> None:
    records = [entry | {"text": f"a {entry['name']}", "synonyms": ["x"]} for entry in CATEGORIES]
    put(root / "names.json", [*records, {"id": 90, "name": "void", "ignore": True}])
    put(root / "names.txt", "cat\ndog:thing\n\u00e9glise\nsky:stuff\n")


def embeddings(root: Path) -> None:
    """The two files of vectors: what experiments.embed_text writes, and the cache of an encoder."""
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    names = np.array(["cat", "dog", "sky"])
    root.mkdir(exist_ok=True)
    np.savez(root / "words.npz", texts=names, vectors=np.int8(40 * vectors), prompt=np.array("{}"))
    np.savez(root / "cache.npz", names=names, vectors=vectors)


def sweep(root: Path) -> None:
    """The JSON files of the runs of a sweep, as far as programs read them again."""
    for index, name in enumerate(("one", "two")):
        config = {"steps": 4, "validation": {"a": {"root": "x"}}, "seed": index}
        put(root / name / "variant.json", {"index": index, "overrides": {"seed": index}, "config": config})
        put(root / name / "results.json", {"step": 4, "scores": {"a": {"pq": 0.5, "miou": 0.25}}})


def checkpoint(root: Path) -> None:
    with tarfile.open(GOLDEN / "checkpoint.tar.xz") as archive:
        archive.extractall(root, filter="data")
