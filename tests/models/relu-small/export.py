"""Writes the trained blocks and tokenizer.json as one GGUF file of architecture `relu-llama`.

Matrices are Q4_0, the token embedding (which is also the output matrix) Q8_0; norms stay F32.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

import shape

LIMIT = 20_000_000


def write_about(writer: gguf.GGUFWriter) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("relu-small")
    writer.add_description(
        "Llama-style model with ReLU in place of SiLU, for sparse offloading; trained on five novels of"
        " Jane Austen (public domain; Mansfield Park was held out) and text written by SmolLM2-135M-Instruct"
    )
    writer.add_license("MIT OR Apache-2.0")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def write_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_vocab_size(shape.VOCABULARY)
    writer.add_context_length(shape.CONTEXT)
    writer.add_embedding_length(shape.WIDTH)
    writer.add_block_count(shape.LAYERS)
    writer.add_feed_forward_length(shape.FFN)
    writer.add_head_count(shape.HEADS)
    writer.add_head_count_kv(shape.KV_HEADS)
    writer.add_rope_dimension_count(shape.HEAD)
    writer.add_rope_freq_base(shape.ROPE_BASE)
    writer.add_layer_norm_rms_eps(shape.NORM_EPS)


def write_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    bpe = json.loads(path.read_text())["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    if [bpe["vocab"][token] for token in tokens] != list(range(shape.VOCABULARY)):
        raise SystemExit(f"{path}: token ids are not 0 to {shape.VOCABULARY - 1}")
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    kinds[shape.BOUNDARY_ID] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(shape.BOUNDARY_ID)
    writer.add_eos_token_id(shape.BOUNDARY_ID)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)


def blocks(name: str, levels: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, Type]:
    """The stored rows of a matrix: uint8 [rows, bytes of a row]."""
    rows, scales = scale.shape[0], scale.reshape(-1, 1).view(np.uint8)
    if name == "token_embd.weight":
        return np.hstack((scales, levels.reshape(-1, 32).view(np.uint8))).reshape(rows, -1), Type.Q8_0
    pairs = levels.reshape(-1, 16)
    unit = np.stack((pairs & 15, pairs >> 4), -1).reshape(-1, 32)
    # Q4_0 keeps values 0 to 15 of a block in the low halves of its bytes.
    packed = (unit[:, :16] | unit[:, 16:] << 4).astype(np.uint8)
    return np.hstack((scales, packed)).reshape(rows, -1), Type.Q4_0


def write_tensors(writer: gguf.GGUFWriter, work: Path) -> None:
    for path in (work / "blocks0.npz", work / "blocks1.npz"):
        with np.load(path) as arrays:
            for key in arrays.files:
                name, _, part = key.partition(":")
                if part == "scale":
                    continue
                if not part:
                    writer.add_tensor(name, arrays[key])
                    continue
                data, kind = blocks(name, arrays[key], arrays[f"{name}:scale"])
                writer.add_tensor(name, data, raw_dtype=kind)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with tokenizer.json")
    arguments.add_argument("trained", type=Path, help="folder with blocks0.npz, blocks1.npz")
    arguments.add_argument("file", type=Path, help="the GGUF file to write")
    option = arguments.parse_args()
    writer = gguf.GGUFWriter(option.file, "relu-llama")
    write_about(writer)
    write_shape(writer)
    write_tokenizer(writer, option.work / "tokenizer.json")
    write_tensors(writer, option.trained)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size = option.file.stat().st_size
    if size > LIMIT:
        raise SystemExit(f"{option.file}: {size} bytes, more than {LIMIT}")
    print(f"{option.file}: {size} bytes")


if __name__ == "__main__":
    main()
