"""What the catalogue says about a dataset: who publishes it, and where the files of its parts are."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Origin:
    """Who publishes a dataset: title, licence in one line (no legal advice), home page, steps after the download."""

    title: str
    licence: str
    home: str
    steps: str = ""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One part of a dataset. Fields are those of `data.formats.open_source`; paths are below the root of the dataset.

    In a path, "a|b" is a, or else b: as published, or else in the plain names of the format. `task` is the usual one;
    panoptic masks can be used for semantic and instance too. `truth` is a COCO instances JSON for scoring mask AP.
    """

    origin: Origin
    task: str
    format: str
    vocabulary: str
    images: str = ""
    annotations: str = ""
    masks: str = ""
    split: str = ""
    label_offset: int = 0
    truth: str = ""

    def fields(self) -> dict[str, str | int]:
        """What the entry states, without its origin and what it leaves at the format's default."""
        stated = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: value for key, value in stated.items() if key != "origin" and value}
