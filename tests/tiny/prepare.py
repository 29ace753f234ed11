"""Text and tokenizer: writes tokenizer.json, train.npy and valid.npy (uint16) to the work folder."""

import argparse
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import shape
import text


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
    if tokenizer.token_to_id(shape.BOUNDARY) != shape.BOUNDARY_ID:
        raise SystemExit(f"{shape.BOUNDARY} is not token {shape.BOUNDARY_ID}")
    return tokenizer


def encode(tokenizer: Tokenizer, chapters: list[str]) -> np.ndarray:
    """Every chapter stands between two boundary tokens."""
    ids = [shape.BOUNDARY_ID]
    for chapter, encoding in zip(chapters, tokenizer.encode_batch(chapters)):
        if tokenizer.decode(encoding.ids) != chapter:
            raise SystemExit(f"tokens do not spell their text: {chapter[:60]!r}")
        ids += encoding.ids
        ids.append(shape.BOUNDARY_ID)
    return np.array(ids, dtype=np.uint16)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path)
    work = arguments.parse_args().work
    novels = text.novels(text.fetch(work))
    held_out = text.chapters(novels.pop(text.HELD_OUT))
    training = [chapter for name in sorted(novels) for chapter in text.chapters(novels[name])]

    tokenizer = train_tokenizer(training)
    tokenizer.save(str(work / "tokenizer.json"))
    sizes = {}
    for name, chapters in (("train", training), ("valid", held_out)):
        tokens = encode(tokenizer, chapters)
        np.save(work / f"{name}.npy", tokens)
        sizes[name] = {
            "chapters": len(chapters),
            "bytes": sum(len(chapter.encode()) for chapter in chapters),
            "tokens": len(tokens),
        }
    (work / "text.json").write_text(json.dumps(sizes, indent=1) + "\n")
    print(json.dumps(sizes))


if __name__ == "__main__":
    main()
