"""Writes delta.json beside the trained files. The result's hash comes from the command line:

    lampyris relufy ORIGINAL --delta DIR -o OUT    # names the hash that it finds
"""

import argparse
import hashlib
import json
from pathlib import Path

import model

SHAPES = {"gate": (model.FFN, model.WIDTH), "up": (model.FFN, model.WIDTH), "down": (model.WIDTH, model.FFN)}


def identity(path: Path) -> dict:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("original", type=Path, help="SmolLM2's GGUF file")
    arguments.add_argument("delta", type=Path, help="folder with ffn_gate.delta, ffn_up.delta, ffn_down.delta")
    arguments.add_argument("--result", default="0" * 64, help="SHA-256 of what `lampyris relufy` builds")
    option = arguments.parse_args()
    parts = []
    for name, (rows, columns) in SHAPES.items():
        found = identity(option.delta / f"ffn_{name}.delta")
        parts.append({
            "tensor": f"ffn_{name}", "layers": model.LAYERS, "rows": rows, "columns": columns,
            "file": found["file"], "sha256": found["sha256"],
        })
    manifest = {
        "schema_version": 1,
        "name": "SmolLM2 135M Instruct ReLU",
        "architecture": "relu-llama",
        "license": "apache-2.0",
        "original": identity(option.original),
        "result": {"file": "SmolLM2-135M-ReLU.gguf", "bytes": 133_198_976, "sha256": option.result},
        "parts": parts,
    }
    (option.delta / "delta.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
