"""SmolLM2's tokenizer out of its GGUF file."""

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

CONTROL = 3


def tokenizer(path) -> Tokenizer:
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    found = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    # `pre = smollm`: every digit alone, then GPT-2's rule.
    digits = pre_tokenizers.Split(Regex(r"\p{N}"), "isolated")
    found.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    found.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds) if kind == CONTROL]
    found.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    return found
