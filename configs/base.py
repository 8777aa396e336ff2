"""What every config starts from: each field, its default and where the default comes from.

Not run by itself. A config file mutates what it needs and leaves the rest; a key that is not here is an error.
"""

from ml_collections import ConfigDict

from data.catalogue import entry
from dataseg_jax.io.images import LIMITS

# InSPyReNet's augmentation, MQ-Former's of foreground sets (its supplement C): dataset("duts_train", **INSPYRENET).
INSPYRENET = dict(
    stretch=True, min_scale=0.75, max_scale=1.25, scale_chance=0.5, flip=0.5, rotate=10.0, colour_jitter=1.0,
    colour_mode="enhance",
)  # fmt: skip


NEVER = 1_000_000_000  # Steps: more than any run has. As `merge_warmup_steps`, training has no MERGE.


def dataset(catalogue: str = "", **fields) -> ConfigDict:
    """One dataset, for training or for evaluation.

    catalogue: a name of `python -m data.catalogue`, whose task, format, vocabulary and paths are taken.
    task: panoptic, semantic, instance, boxes, foreground, referring (phrases with masks), regions (phrases with boxes),
    prompts (masks of anything, scored by clicks on them) or video (objects that are tracked). format: a key of
    `data.formats.FORMATS`.
    images, annotations, masks, split: paths below root where they differ from the format's own names; "a|b" is a, or
    else b. split lists the names to use, or is the split of formats tfds and referring. Format array_record takes the
    root alone.
    label_offset: value in label PNGs minus id in the vocabulary.
    vocabulary: a bundled name, the path of a names file, or "soil:stuff,crop"; "" = the dataset's own names.
    words: other names for the same categories, to be used in their place: a vocabulary with the same ids.
    limit: the first images by id; 0 = all. exclude: a file of image ids or names of image files to leave out, one a
    line, below root or elsewhere; `python -m data.exclusions` writes such.
    part: "held_out" is a tenth of the images by a fixed rule, "kept" the rest; "held_out:5" a fifth, "kept:5" its rest.
    ratio: how often an iteration draws this dataset, relative to the others; with ratio_of_size, which is then set for
    all of them, a multiple of its number of images. truth: for mask AP of boxes, a COCO instances JSON with masks.
    score_threshold, overlap_threshold: what is scored, -1 = as in eval.
    min_scale, max_scale: range of the large-scale jitter; scale_chance: probability that it is used, else the image is
    as large as fits. stretch: it first fills the input, whatever its aspect ratio. flip: probability of a horizontal
    flip. rotate: half of the images are turned by up to so many degrees either way; for masks.
    colour_jitter: 0 = none, 1 = all of colour_mode: jitter, MaskFormer's for semantic sets, or enhance, InSPyReNet's.
    min_area: area in pixels of the input below which a target is dropped. stuff_boxes: the boxes of stuff are
    supervised too, in models that have boxes. negatives: of the tasks referring and regions, how many phrases
    of other images an image is shown beside its own (ours). move: in runs on videos, images of this dataset become
    clips of all frames along a smooth path, 1 = as far as data.pipeline.clips.augmentation.Path says, 0 = they stay
    clips of one frame (ours: SAM 2's do).
    """
    config = ConfigDict(
        dict(task="panoptic", format="coco_panoptic", root="", images="", annotations="", masks="", split="",
             label_offset=0, vocabulary="", words="", limit=0, part="", ratio=1.0, truth="", score_threshold=-1.0,
             overlap_threshold=-1.0, min_scale=0.8, max_scale=1.25, flip=0.5, colour_jitter=0.0, min_area=8.0,
             stuff_boxes=True, rotate=0.0, scale_chance=1.0, stretch=False, colour_mode="jitter",
             ratio_of_size=False, negatives=8, exclude="", move=0.0)
    )  # fmt: skip
    config.update(entry(catalogue).fields() if catalogue else {})
    config.update(fields)
    return config


def get_config() -> ConfigDict:
    """Defaults at the paper's sizes for a ResNet-50."""
    c = ConfigDict()
    c.seed = 0
    c.steps = 160_000  # ours: MaskFormer's ADE20K schedule; the paper's appendix H is not public.
    c.epochs = 0.0  # Passes over as many images as all training sets have together; if set, it decides `steps`.
    c.batch_size = 16  # ours: MaskFormer. 0: the largest that fits into the devices' memory, measured at a fresh start.
    c.image_size = 512  # ours: MaskFormer. Side of the square every image is cropped or padded to.
    c.max_targets = 100  # ours: targets per image; more are dropped by area and counted.
    c.max_words = 32  # ours: phrases per image, negatives included, of tasks whose images have words of their own.
    c.matcher = "hungarian"  # or sinkhorn, hungarian_jit
    c.merge_warmup_steps = 0  # First steps with nothing merged.
    c.layers_at_once = 0  # Decoder layers whose dense masks exist together; 0 = all.
    c.loss_points = 0  # Stride-4 cells per image that costs and mask losses are computed on; 0 = all.
    c.fsdp = 1  # Devices that share each copy of the parameters.
    c.accumulate = 1  # Parts that a batch is computed in, in sequence: the same loss, less memory, more time.
    # On a CPU, if twice the first step's memory is available, freed memory is kept for the next step. A ResNet-50's
    # step at 512x512 then took 7.5 s instead of 13 s, and its 12 GB stayed resident between steps.
    c.keep_memory = True
    # Or a file: FILE.npz of experiments.embed_text, or FILE.npy@NAMES, rows by the names of a file or vocabulary.
    c.text_space = "all-MiniLM-L6-v2"  # ours: needs no download; the paper's is clip-vit-large-patch14.
    c.text_encoder = ""  # File, folder or hub name: CLIP's weights, or for names the bundled embeddings lack.
    # Names that are not bundled, where no encoder is given: "error", or "learn" them as classes of their own.
    c.unknown_words = "error"
    c.init_from = ""  # Take the weights of this checkpoint, and nothing else.
    # Weights of the backbone for a fresh start: a file, a hub name such as timm/resnet50.tv_in1k, or efficientnet_lite0
    # of the extra `pretrained` ("": from scratch, which frozen batch norms refuse; "random": they too).
    # text: of a text encoder that is trained, which then starts from these weights of a CLIP: a file, a folder or a hub
    # name ("": the hub's of the text space; "random": from scratch).
    c.pretrained = ConfigDict(dict(backbone="", text=""))

    c.model = ConfigDict()
    c.model.backbone = ConfigDict(
        dict(name="resnet", stage_sizes=(3, 4, 6, 3), width=64, bottleneck=True, norm="frozen_batch", stem="imagenet")
    )
    c.model.pixel_decoder = ConfigDict(dict(name="transformer_fpn", width=256, layers=6, heads=8, ffn=2048))
    c.model.mask_decoder = ConfigDict(
        dict(queries=100, width=256, layers=9, heads=8, ffn=2048, memory_levels=3, remat=False, scan=False,
             remat_keeps="inputs", conditional=0, denoising=0, boxes=False, fusion="none", box_bias=False,
             deformable=False, masked=True)
    )  # fmt: skip
    c.model.classifier = ConfigDict(dict(initial_scale=5.0, loss="softmax"))  # ours; loss: softmax or focal
    # Of the pixels, RGB, 0..255: ImageNet's. EfficientNet-Lite's weights want 127 and 128.
    c.model.mean, c.model.std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    c.model.fill = (0, 0, 0)  # Colour of the padding; the mean of the pixels is worth 2 points of CamVid's mIoU.
    c.model.dtype = "float32"
    c.model.dataset_specific = False  # Each dataset has its own queries, heads and prompt (Table 5).
    # frozen, or clip: the text tower of the config's text space, one of CLIP's, is a part of the model and is trained,
    # as MQ-Former does. remat: less memory for it, more time.
    c.model.text = ConfigDict(dict(name="frozen", remat=False))

    # ours: MaskFormer's [10]; the paper's main text has no weights. Background is its weight in cross-entropy.
    # class_focal is of models whose classifier has that loss, l1 and giou of models with boxes, iou of models that
    # answer prompts, iou_l1 the same unsquared (SAM 2); object of models that say whether an object is there.
    c.weights = ConfigDict(
        dict(
            ce=1.0,
            focal=20.0,
            dice=1.0,
            proj=2.0,
            class_focal=0.0,
            l1=0.0,
            giou=0.0,
            iou=0.0,
            iou_l1=0.0,
            object=0.0,
            background=0.1,
        )
    )
    # ours: MaskFormer's and Mask2Former's. average: decay of the moving average of the weights, 0 = none; it is what
    # evaluations and predictors use.
    c.optim = ConfigDict(
        dict(learning_rate=1e-4, weight_decay=0.05, backbone_multiplier=0.1, text_multiplier=0.1, layer_decay=1.0,
             schedule="poly", milestones=(0.9, 0.95), warmup_steps=0, warmup_start=0.0, clip=0.01, eps=1e-8,
             average=0.0)
    )  # fmt: skip
    # workers: processes that read, 0 = threads only; threads: of each; prefetch: batches held ready; check: images
    # checked before the run, 0 = all. ours: max_unreadable, images replaced within a run before it stops; max_pixels,
    # max_bytes: what an image or mask may have to be decoded (dataseg_jax.io.images.Limits).
    c.input = ConfigDict(
        dict(workers=0, threads=2, prefetch=8, mix_in_batch=False, check=2000, max_unreadable=10,
             max_pixels=LIMITS.pixels, max_bytes=LIMITS.bytes)
    )  # fmt: skip
    # trackers: of experiments.trackers: tensorboard, wandb, mlflow.
    c.log = ConfigDict(
        dict(every=50, seconds=10.0, checkpoint_every=1000, keep=2, max_skipped=20, trackers=("tensorboard",))
    )
    # ours: MaskFormer's thresholds. batch_size: images a forward pass of each device. images: of each dataset on a
    # sheet of overlays, spread over it; extremes: of its best and of its worst in the report, 0 = none.
    # ignore_skipped: mask AP does not count predictions in the box of an object that has no mask, as raters left some
    # in Objects365 (appendix B of the paper, which does not say whether its scores are of this kind); else such an
    # object is treated as absent.
    # interactive: after the last step, videos are also scored with clicks on 1, 2, ... so many frames, 8 in SAM 2's
    # protocols, see experiments/track/interactive.py; 0: without clicks alone.
    # in_span: words that were not trained on are taken in the span of those that were, see dataseg_jax/text/span.py.
    c.eval = ConfigDict(
        dict(every=0, batch_size=16, score_threshold=0.8, overlap_threshold=0.8, ignore_skipped=False,
             upper_bound=False, baselines=False, interactive=0, images=4, extremes=4, write_predictions=False,
             in_span=False)
    )  # fmt: skip

    # Side of the square of images that are scored and predicted, where it is another than that of training crops.
    c.eval.image_size = 0
    # Training ends when so many evaluations in a row were no better than the best; 0: never.
    c.eval.patience = 0
    # Of every eval.every: the checkpoint that scored best by this "dataset/metric" stays in WORKDIR/best; "" = by pq of
    # the panoptic dataset, or without one by miou of the semantic one, or else by mask_ap.
    c.eval.best = ""

    # Of runs with a dataset of task video, which train on clips of up to max_targets objects; images become clips of
    # one frame. frames: of a clip; max_stride: of annotated frames all are taken, or every second, ... or one in so
    # many; reverse: probability that time runs backward. mask, box: shares of first prompts, the latter of those that
    # are no masks. most_prompted, most_corrected: frames with prompts and with clicks; clicks: on each of these;
    # from_truth: share of clicks that fall anywhere in the object. shear: in degrees, of datasets that rotate; grey:
    # probability, of those with colour_jitter. ours, all: the released fine-tuning config, as are a dataset's rotate=25
    # and colour_jitter=1.
    c.clips = ConfigDict(
        dict(frames=8, max_stride=1, reverse=0.5, mask=0.5, box=0.5, most_prompted=2, most_corrected=2, clicks=7,
             from_truth=0.1, shear=20.0, grey=0.05)
    )  # fmt: skip
    # The embedded world, written to root ("" = WORKDIR/world) when a dataset's root is below {world}.
    c.world = ConfigDict(dict(root=""))
    c.datasets = ConfigDict()  # Name -> dataset().
    c.validation = ConfigDict()  # Name -> dataset(); scored at the end and every eval.every steps.
    return c
