"""Writes what sampling and training read: novels.npy, held_out.npy, beginnings.npz, chats.json."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import vocabulary

sys.path.append(str(Path(__file__).parent.parent.parent / "tiny"))
import text  # noqa: E402

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
# Parts texts; the model was trained with it in front of free text.
END_OF_TEXT = 0
OPENINGS = [
    "", "What is", "How can I", "How do I", "Write a", "Explain", "Can you", "Why", "Give me", "Please",
    "Tell me about", "List", "Summarize", "I am", "Describe", "Create a", "What are the", "Is it", "Compare",
    "Translate", "Write a short story about", "Write a Python function that", "What is the difference between",
]
FREE = [
    "", "The", "In", "It was", "A", "Once upon a time", "When", "I", "This", "What", "Many people", "There is",
    "She", "He", "On", "After", "The history of", "Chapter 1", "Introduction", "def", "How", "As", "Mr.",
    '"', "London", "Dear", "Science", "One day", "The first", "Question:", "Today", "If", "According to",
]
CHATS = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain why the sky is blue.",
    "Give me three tips for sleeping better.",
    "How do I boil an egg?",
    "Who wrote Pride and Prejudice?",
    "What is 7 plus 5?",
    "Tell me a story about a brave mouse.",
    "What is photosynthesis?",
    "Write an email to my teacher saying that I am ill today.",
]


def chat(question: str, answer: str = "") -> str:
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}{answer}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("original", type=Path, help="SmolLM2's GGUF file")
    option = arguments.parse_args()
    option.work.mkdir(parents=True, exist_ok=True)
    tokenizer = vocabulary.tokenizer(option.original)

    def ids(string: str) -> list[int]:
        return tokenizer.encode(string, add_special_tokens=False).ids

    novels = text.novels(text.fetch(option.work))
    held_out = text.chapters(novels.pop(text.HELD_OUT))
    training = [chapter for name in sorted(novels) for chapter in text.chapters(novels[name])]
    for name, chapters in (("novels", training), ("held_out", held_out)):
        tokens = [END_OF_TEXT]
        for chapter in chapters:
            tokens += [*ids(chapter), END_OF_TEXT]
        np.save(option.work / f"{name}.npy", np.array(tokens, np.uint16))
        print(name, len(tokens))
    starts = {f"chat{i}": ids(chat(opening)) for i, opening in enumerate(OPENINGS)}
    starts |= {f"free{i}": [END_OF_TEXT, *ids(opening)] for i, opening in enumerate(FREE)}
    np.savez(option.work / "beginnings.npz", **{name: np.array(row, np.uint16) for name, row in starts.items()})
    answer = "<|im_end|>\n<|im_start|>assistant\n"
    chats = [{"question": question, "tokens": ids(chat(question, answer))} for question in CHATS]
    (option.work / "chats.json").write_text(json.dumps(chats))


if __name__ == "__main__":
    main()
