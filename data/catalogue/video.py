"""The sets that SAM 2 is trained and scored on: videos, and SA-1B's images.

As a dataset of images, as `data.validate` and a run that trains on images see it, a set of videos is the first
annotated frame of each; `data.pipeline.clips` reads the videos.
"""

from data.catalogue.entries import Entry, Origin

DAVIS_2016 = Origin(
    "DAVIS 2016",
    "none stated with the data; videos of others under their own licences",
    "https://davischallenge.org/davis2016/code.html",
    "the folder `DAVIS`",
)
DAVIS_2017 = Origin(
    "DAVIS 2017",
    "none stated with the data; videos of others under their own licences",
    "https://davischallenge.org/davis2017/code.html",
    "the folder `DAVIS` of trainval, 480p",
)
YOUTUBE_VOS = Origin(
    "YouTube-VOS 2019",
    "annotations CC BY 4.0; for non-commercial research, after registration",
    "https://youtube-vos.org",
    "the folder `train`, with `meta.json`",
)
MOSE = Origin("MOSE", "CC BY-NC-SA 4.0", "https://henghuiding.github.io/MOSE", "the folder `train`")
SA_V = Origin(
    "SA-V",
    "CC BY 4.0",
    "https://ai.meta.com/datasets/segment-anything-video",
    "the folder `sav_train`, whose JSONs lie beside the MP4s; `sav_val` and `sav_test`",
)
SA_1B = Origin(
    "SA-1B",
    "the SA-1B research licence, after registration",
    "https://ai.meta.com/datasets/segment-anything",
    "the archives, unpacked to a folder each; a root of several has them all",
)

VIDEO = {
    **{f"davis_2016_{split}": Entry(DAVIS_2016, "instance", "davis", "object", split=f"ImageSets/480p/{split}.txt")
       for split in ("train", "val")},
    **{f"davis_2017_{split}": Entry(DAVIS_2017, "instance", "davis", "object", split=f"ImageSets/2017/{split}.txt")
       for split in ("train", "val")},
    "youtube_vos_train": Entry(YOUTUBE_VOS, "instance", "youtube_vos", "object"),
    "mose_train": Entry(MOSE, "instance", "youtube_vos", "object"),
    "sa_v_train": Entry(SA_V, "instance", "sa_v", "object"),
    "sa_v_train_auto": Entry(SA_V, "instance", "sa_v", "object", annotations="auto"),
    **{f"sa_v_{split}": Entry(SA_V, "instance", "sa_v_val", "object", split=f"sav_{split}.txt")
       for split in ("val", "test")},
    "sa_1b": Entry(SA_1B, "instance", "sa_1b", "object"),
}  # fmt: skip
