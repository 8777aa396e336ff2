"""The seven foreground sets that MQ-Former trains on (its 4), in the folders of their archives.

The root is the folder that an archive unpacks to, or the one above.
"""

from data.catalogue.entries import Entry, Origin

DUTS = Origin(
    "DUTS",
    "none stated; images of ImageNet and SUN under their terms",
    "http://saliencydetection.net/duts",
    "the archives' `DUTS-TR` and `DUTS-TE`, side by side",
)
HRSOD = Origin(
    "HRSOD",
    "none stated; images of Flickr under their own licences",
    "https://github.com/yi94code/HRSOD",
    "`HRSOD_train`, `HRSOD_train_mask` and the same of `test`, side by side",
)
UHRSD = Origin(
    "UHRSD", "none stated", "https://github.com/iCVTEAM/PGNet", "`UHRSD_TR_2K` and `UHRSD_TE_2K`, side by side"
)
DIS5K = Origin(
    "DIS5K, v1.0",
    "terms of use at the home page; images of Flickr under their own licences",
    "https://xuebinqin.github.io/dis/index.html",
    "the folder `DIS5K`",
)
MSRA10K = Origin(
    "MSRA10K, also THUS10000",
    "none stated",
    "https://mmcheng.net/msra10k",
    "the folder `MSRA10K_Imgs_GT`; it has no parts",
)
THIN = "https://github.com/liewjunhao/thin-object-selection"
THINOBJECT5K = Origin(
    "ThinObject-5K",
    "none stated; objects of pngimg.com, on images of HRSOD, COCO, DIV2K and PASCAL under their terms",
    THIN,
    "the folder `ThinObject5K`, with its lists",
)
COIFT = Origin("COIFT", "none stated", THIN, "the folder `COIFT`; it has no parts")


def _entry(origin: Origin, images: str, masks: str, split: str = "") -> Entry:
    return Entry(origin, "foreground", "foreground_png", "foreground", images=images, masks=masks, split=split)


def _thin(part: str) -> Entry:
    images, masks, split = (f"{p}|ThinObject5K/{p}" for p in ("images", "masks", f"list/{part}.txt"))
    return _entry(THINOBJECT5K, images, masks, split)


def _dis(part: str) -> Entry:
    return _entry(DIS5K, *(f"DIS-{part}/{p}|DIS5K/DIS-{part}/{p}" for p in ("im", "gt")))


FOREGROUND = {
    "duts_train": _entry(DUTS, "DUTS-TR/DUTS-TR-Image|DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask|DUTS-TR-Mask"),
    "duts_test": _entry(DUTS, "DUTS-TE/DUTS-TE-Image|DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask|DUTS-TE-Mask"),
    "hrsod_train": _entry(
        HRSOD, "HRSOD_train|HRSOD_release/HRSOD_train", "HRSOD_train_mask|HRSOD_release/HRSOD_train_mask"),
    "hrsod_test": _entry(
        HRSOD, "HRSOD_test|HRSOD_release/HRSOD_test", "HRSOD_test_mask|HRSOD_release/HRSOD_test_mask"),
    "uhrsd_train": _entry(UHRSD, "UHRSD_TR_2K/image", "UHRSD_TR_2K/mask"),
    "uhrsd_test": _entry(UHRSD, "UHRSD_TE_2K/image", "UHRSD_TE_2K/mask"),
    "dis5k_train": _dis("TR"),
    "dis5k_val": _dis("VD"),
    "dis5k_test1": _dis("TE1"),
    "dis5k_test2": _dis("TE2"),
    "dis5k_test3": _dis("TE3"),
    "dis5k_test4": _dis("TE4"),
    # Images and masks lie in one folder, and differ in their endings.
    "msra10k_train": _entry(
        MSRA10K, "Imgs/*.jpg|MSRA10K_Imgs_GT/Imgs/*.jpg", "Imgs/*.png|MSRA10K_Imgs_GT/Imgs/*.png"),
    "thinobject5k_train": _thin("train"),
    "thinobject5k_val": _thin("val"),
    "thinobject5k_test": _thin("test"),
    "coift": _entry(COIFT, "images|COIFT/images", "masks|COIFT/masks"),
}  # fmt: skip
