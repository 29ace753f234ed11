"""Text and tokenizer: writes tokenizer.json, train.npy, valid.npy and samples.npy (uint16).

The tokenizer is trained on the five novels. With --samples, the text that SmolLM2 wrote for its
own distillation (tests/models/relu-smollm2) is spelled out and cut anew; it needs SmolLM2's file.
"""

import argparse
import json
import os
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import shape

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent.parent / "tiny"))


def train_tokenizer(chapters: list[str]) -> Tokenizer:
    """Byte-level BPE with GPT-2's splitting rule (`pre = "gpt-2"` in GGUF's words)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.VOCABULARY,
        special_tokens=[shape.BOUNDARY],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chapters, trainer)
    if tokenizer.get_vocab_size() != shape.VOCABULARY:
        raise SystemExit(f"tokenizer has {tokenizer.get_vocab_size()} tokens, not {shape.VOCABULARY}")
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """Every text stands between two boundary tokens."""
    ids = [shape.BOUNDARY_ID]
    for encoding in tokenizer.encode_batch(texts):
        ids += encoding.ids
        ids.append(shape.BOUNDARY_ID)
    return np.array(ids, dtype=np.uint16)


def novels(work: Path) -> None:
    import text

    novels = text.novels(text.fetch(work))
    held_out = text.chapters(novels.pop(text.HELD_OUT))
    training = [chapter for name in sorted(novels) for chapter in text.chapters(novels[name])]
    tokenizer = train_tokenizer(training)
    tokenizer.save(str(work / "tokenizer.json"))
    for name, chapters in (("train", training), ("valid", held_out)):
        tokens = encode(tokenizer, chapters)
        np.save(work / f"{name}.npy", tokens)
        print(f"{name}: {sum(len(c.encode()) for c in chapters)} bytes, {len(tokens)} tokens")


def respell(job) -> np.ndarray:
    rows, original, work = job
    sys.path.append(str(HERE.parent / "relu-smollm2"))
    import vocabulary

    theirs = vocabulary.tokenizer(original)
    ours = Tokenizer.from_file(str(work / "tokenizer.json"))
    # Only prose: the marks of chats would be spelled out letter by letter.
    return encode(ours, theirs.decode_batch([row.tolist() for row in rows], skip_special_tokens=True))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("--samples", type=Path, nargs="*", default=[], help="samples*.npy of SmolLM2")
    arguments.add_argument("--original", type=Path, help="SmolLM2's GGUF file")
    option = arguments.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    option.work.mkdir(parents=True, exist_ok=True)
    if not (option.work / "tokenizer.json").exists():
        novels(option.work)
    if option.samples:
        rows = np.concatenate([np.load(path) for path in option.samples])
        jobs = [(part, option.original, option.work) for part in np.array_split(rows, max(1, len(rows) // 500))]
        with Pool() as pool:
            tokens = np.concatenate(pool.map(respell, jobs, chunksize=1))
        np.save(option.work / "samples.npy", tokens)
        print(f"samples: {len(tokens)} tokens")


if __name__ == "__main__":
    main()
