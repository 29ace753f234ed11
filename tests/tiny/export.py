"""Writes weights.npz and tokenizer.json as one GGUF file.

Matrices become Q4_1, the token embedding (which is also the output matrix) Q8_0; norms stay F32.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

import shape

LIMIT = 2_000_000


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


def write_about(writer: gguf.GGUFWriter) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("tiny")
    writer.add_description(
        "Small Llama-family model for tests and a first look, trained on five novels of Jane Austen"
        " (public domain; Mansfield Park was held out)"
    )
    writer.add_license("MIT OR Apache-2.0")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


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


def type_of(name: str, weight: np.ndarray) -> Type:
    if weight.ndim == 1:
        return Type.F32
    return Type.Q8_0 if name == "token_embd.weight" else Type.Q4_1


def write_tensors(writer: gguf.GGUFWriter, path: Path) -> None:
    with np.load(path) as weights:
        for name in weights.files:
            weight = weights[name]
            if not np.isfinite(weight).all():
                raise SystemExit(f"{path}: {name} holds values that are not finite")
            kind = type_of(name, weight)
            writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with weights.npz and tokenizer.json")
    arguments.add_argument("file", type=Path, help="the GGUF file to write")
    option = arguments.parse_args()
    writer = gguf.GGUFWriter(option.file, "llama")
    write_about(writer)
    write_shape(writer)
    write_tokenizer(writer, option.work / "tokenizer.json")
    write_tensors(writer, option.work / "weights.npz")
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
