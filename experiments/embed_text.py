"""Makes the bundled text embeddings: every spoken name and synonym of the vocabularies, through a sentence encoder.

  python -m experiments.embed_text --model=NAME_OR_FOLDER --output=FILE.npz [--vocabularies=coco_panoptic,my_names.json]

Needs the extra `text` (sentence-transformers). The file in the package was made with the model all-MiniLM-L6-v2:
--output=dataseg_jax/text/embeddings/all-MiniLM-L6-v2.npz, all bundled vocabularies and the phrases of the embedded
world. Running it again gives the same bytes on the same machine and library versions.

The file holds `texts` str[T] in lower case and sorted, `vectors` int8[T, E] (each embedding scaled to the full
range; the reader restores the unit norm), `prompt` (what a text is put into), `model` and `sha256` of its weights.
"""

import argparse
import hashlib
import pathlib
import sys

import numpy as np

from data.shapes.phrases import all_phrases
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import whole_file
from dataseg_jax.text import bundled_vocabularies, vocabulary_words
from dataseg_jax.text.sentences import dequantize, encode, quantize

# Sentence encoders are trained on plain text; a template such as "a photo of a" only adds what all names share.
PROMPT = "{}"


def collect_texts(vocabularies, phrases=()) -> list[str]:
    """Sorted, unique, lower-case words of the vocabularies, and the phrases."""
    words = [word for name in vocabularies for word in vocabulary_words(name)]
    return sorted({" ".join(text.lower().split()) for text in (*words, *phrases)})


def bundled_content() -> list[str]:
    """The texts of the file in the package: the bundled vocabularies, and the phrases of the embedded world."""
    return collect_texts(bundled_vocabularies(), all_phrases())


def weights_sha256(model: str) -> str:
    """SHA-256 of model.safetensors where `model` is a folder that has one, else ''."""
    weights = pathlib.Path(model) / "model.safetensors"
    if not weights.is_file():
        return ""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="Model name or folder that sentence-transformers can open.")
    parser.add_argument("--output", required=True, help="The .npz file to write.")
    parser.add_argument("--vocabularies", help="Vocabularies or names files, by commas; default: as in the package.")
    options = parser.parse_args(argv)
    try:
        require_local({"--model": options.model, "--output": options.output})
        texts = collect_texts(options.vocabularies.split(",")) if options.vocabularies else bundled_content()
        exact = encode([PROMPT.format(text) for text in texts], options.model)
    except InputError as error:
        sys.exit(str(error))
    vectors = quantize(exact)
    output = pathlib.Path(options.output)  # Here: a path would make gs:/ of gs://.
    output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(output) as file:
        np.savez_compressed(
            file,
            texts=np.array(texts),
            vectors=vectors,
            prompt=np.array(PROMPT),
            model=np.array(pathlib.PurePath(options.model).name),
            sha256=np.array(weights_sha256(options.model)),
        )
    size = output.stat().st_size / 1e6
    worst = (exact * dequantize(vectors)).sum(-1).min()
    print(f"{output}: {len(texts)} texts, {exact.shape[1]}-d, {size:.2f} MB; cosine after 8 bits >= {worst:.6f}")


if __name__ == "__main__":
    main()
