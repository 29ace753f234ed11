use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

use super::pipeline::byte_symbol;
use super::*;

/// A byte-level vocabulary: `<|end|>`, all bytes, then the results of `merges`.
fn byte_level(pre: &str, merges: &[&str]) -> Vocabulary {
    let mut tokens = vec!["<|end|>".to_owned()];
    tokens.extend((0..=u8::MAX).map(|b| byte_symbol(b).to_string()));
    tokens.extend(merges.iter().map(|m| m.replace(' ', "")));
    let mut kinds = vec![TokenKind::Normal; tokens.len()];
    kinds[0] = TokenKind::Control;
    Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some(pre.to_owned()),
        tokens,
        kinds,
        merges: merges.iter().map(|&m| m.to_owned()).collect(),
        bos: Some(0),
        eos: Some(0),
        ..Vocabulary::default()
    }
}

/// A SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, all bytes, then `pieces`, best first.
fn sentence_piece(pieces: &[&str]) -> Vocabulary {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
    tokens.extend((0..=u8::MAX).map(|b| format!("<0x{b:02X}>")));
    kinds.resize(tokens.len(), TokenKind::Byte);
    tokens.extend(pieces.iter().map(|&p| p.to_owned()));
    kinds.resize(tokens.len(), TokenKind::Normal);
    Vocabulary {
        model: "llama".to_owned(),
        scores: (0..tokens.len()).map(|i| -(i as f32)).collect(),
        tokens,
        kinds,
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        ..Vocabulary::default()
    }
}

fn build(vocabulary: &Vocabulary) -> Tokenizer {
    Tokenizer::from_vocabulary(vocabulary).unwrap()
}

/// The pieces that the rule `pre` cuts `text` into.
fn cuts(pre: &str, text: &str) -> Vec<String> {
    let tokenizer = build(&byte_level(pre, &[]));
    let mut pieces = PreTokenizedString::from(text);
    let rule = tokenizer.inner.get_pre_tokenizer().unwrap();
    rule.pre_tokenize(&mut pieces).unwrap();
    pieces
        .get_splits(OffsetReferential::Original, OffsetType::Byte)
        .into_iter()
        .map(|(_, (start, end), _)| text[start..end].to_owned())
        .collect()
}

#[test]
fn pre_tokenizers_cut_where_their_rules_say() {
    assert_eq!(cuts("gpt-2", "ab 12 c"), ["ab", " 12", " c"]);
    assert_eq!(cuts("smollm", "ab 12 c"), ["ab", " ", "1", "2", " c"]);
    assert_eq!(cuts("llama-bpe", "ab 1234"), ["ab", " ", "123", "4"]);
    assert_eq!(cuts("qwen2", "ab 12"), ["ab", " ", "1", "2"]);
    assert_eq!(cuts("default", "a=1"), ["a", "=", "1"]);
    assert_eq!(cuts("default", "12345"), ["123", "45"]);
    assert_eq!(cuts("gpt-2", "I'm"), ["I", "'m"]);
    assert_eq!(cuts("gpt-2", "I'M"), ["I", "'", "M"]);
    assert_eq!(cuts("llama-bpe", "I'M"), ["I", "'M"]);
    assert_eq!(cuts("gpt-2", "a  b"), ["a", " ", " b"]);
    assert_eq!(cuts("llama-bpe", "a!\n\nb"), ["a", "!\n\n", "b"]);
    assert_eq!(cuts("gpt-2", "a!\nb"), ["a", "!", "\n", "b"]);
}

#[test]
fn merges_apply_in_rank_order() {
    let tokenizer = build(&byte_level("gpt-2", &["b c", "a b", "a bc"]));
    let ids = tokenizer.encode("abc", false).unwrap();
    assert_eq!(
        ids.iter()
            .map(|&i| tokenizer.token(i).unwrap())
            .collect::<Vec<_>>(),
        ["abc"]
    );
    let tokenizer = build(&byte_level("gpt-2", &["a b", "b c", "a bc"]));
    assert_eq!(
        tokenizer
            .decode(&tokenizer.encode("abc", false).unwrap())
            .unwrap(),
        "abc"
    );
    assert_eq!(tokenizer.encode("abc", false).unwrap().len(), 2);
}

#[test]
fn whole_words_skip_merging_only_for_llama_3() {
    // "xyz" is a token that no merge reaches.
    for (pre, expected) in [("llama-bpe", 1), ("qwen2", 3)] {
        let mut vocabulary = byte_level(pre, &[]);
        vocabulary.tokens.push("xyz".to_owned());
        vocabulary.kinds.push(TokenKind::Normal);
        vocabulary.add_bos = Some(false);
        let ids = build(&vocabulary).encode("xyz", false).unwrap();
        assert_eq!(ids.len(), expected, "{pre}");
    }
}

#[test]
fn qwen2_composes_unicode() {
    let tokenizer = build(&byte_level("qwen2", &[]));
    let ids = tokenizer.encode("e\u{301}", false).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "é");
    let tokenizer = build(&byte_level("gpt-2", &[]));
    let ids = tokenizer.encode("e\u{301}", false).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "e\u{301}");
}

#[test]
fn control_tokens_are_found_in_text_and_hidden_in_output() {
    let tokenizer = build(&byte_level("gpt-2", &[]));
    let ids = tokenizer.encode("a<|end|>b", false).unwrap();
    assert_eq!((ids.len(), ids[1]), (3, 0));
    assert_eq!(tokenizer.decode(&ids).unwrap(), "ab");
    assert!(tokenizer.is_eos(0) && !tokenizer.is_eos(ids[0]));
}

#[test]
fn sequences_are_framed_as_the_file_says() {
    let mut vocabulary = byte_level("gpt-2", &[]);
    let framed = |v: &Vocabulary| build(v).encode("a", true).unwrap();
    let a = framed(&vocabulary)[0];
    assert_eq!(framed(&vocabulary), [a]);
    vocabulary.add_bos = Some(true);
    vocabulary.add_eos = Some(true);
    assert_eq!(framed(&vocabulary), [0, a, 0]);
    assert_eq!(build(&vocabulary).encode("a", false).unwrap(), [a]);
    // Older files do not say; Llama 3 and SentencePiece begin with BOS.
    assert_eq!(framed(&byte_level("llama-bpe", &[]))[0], 0);
    assert_eq!(framed(&sentence_piece(&["▁"]))[0], 1);
    vocabulary.bos = None;
    let error = Tokenizer::from_vocabulary(&vocabulary)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("bos_token_id") && error.contains("hint: "),
        "{error}"
    );
}

#[test]
fn sentence_piece_merges_by_score() {
    let tokenizer = build(&sentence_piece(&["▁ab", "ab", "bc", "▁", "a", "b", "c"]));
    let pieces = |text: &str| -> Vec<String> {
        let ids = tokenizer.encode(text, false).unwrap();
        ids.iter().map(|&id| tokenizer.token(id).unwrap()).collect()
    };
    assert_eq!(pieces("abc"), ["▁ab", "c"]);
    assert_eq!(pieces("a bc"), ["▁", "a", "▁", "bc"]);
    assert_eq!(pieces("é"), ["▁", "<0xC3>", "<0xA9>"]);
    let text = "abc é  a\nb";
    let ids = tokenizer.encode(text, false).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    let ids = tokenizer.encode("a</s>b", false).unwrap();
    assert!(ids.contains(&2));
}

#[test]
fn sentence_piece_without_space_prefix() {
    let mut vocabulary = sentence_piece(&["▁", "a"]);
    vocabulary.add_space_prefix = Some(false);
    let tokenizer = build(&vocabulary);
    assert_eq!(tokenizer.encode("a", false).unwrap().len(), 1);
    let ids = tokenizer.encode(" a", false).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), " a");
}

#[test]
fn sentence_piece_without_bytes_uses_the_unknown_token() {
    let mut vocabulary = sentence_piece(&["▁", "a"]);
    vocabulary.tokens.drain(3..259);
    vocabulary.kinds.drain(3..259);
    vocabulary.scores.drain(3..259);
    let ids = build(&vocabulary).encode("é", false).unwrap();
    assert_eq!(ids, [3, 0]);
}

#[test]
fn streams_show_text_when_it_is_certain() {
    let tokenizer = build(&byte_level("gpt-2", &[]));
    let text = "aé🦀b";
    let mut stream = tokenizer.decode_stream();
    let mut parts = Vec::new();
    for id in tokenizer.encode(text, false).unwrap() {
        parts.push(stream.push(id).unwrap());
    }
    assert_eq!(parts, ["a", "", "é", "", "", "", "🦀", "b"]);
    assert_eq!(stream.finish().unwrap(), "");
}

#[test]
fn streams_end_with_what_is_left_and_survive_bad_bytes() {
    let tokenizer = build(&byte_level("gpt-2", &[]));
    let byte = |b: u8| 1 + u32::from(b);
    let mut stream = tokenizer.decode_stream();
    assert_eq!(stream.push(byte(0xc3)).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
    let mut stream = tokenizer.decode_stream();
    let shown: String = [byte(0xff); 9].map(|b| stream.push(b).unwrap()).concat();
    assert_eq!(shown, "\u{fffd}".repeat(8));
    assert_eq!(stream.push(byte(b'x')).unwrap(), "\u{fffd}x");
    assert!(stream.push(9999).is_err());
    assert_eq!(stream.push(byte(b'y')).unwrap(), "y");
}

#[test]
fn streams_keep_the_spaces_of_sentence_piece() {
    let tokenizer = build(&sentence_piece(&["▁a", "▁", "a", "b"]));
    let text = "a a b ab";
    let mut stream = tokenizer.decode_stream();
    let ids = tokenizer.encode(text, true).unwrap();
    let shown: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(shown + &stream.finish().unwrap(), text);
}

fn refused(vocabulary: &Vocabulary) -> String {
    let error = Tokenizer::from_vocabulary(vocabulary).expect_err("must be refused");
    let message = error.to_string();
    assert!(message.contains("hint: "), "{message}");
    message
}

#[test]
fn unknown_kinds_are_named() {
    let mut vocabulary = byte_level("gpt-2", &[]);
    vocabulary.model = "rwkv".to_owned();
    assert!(refused(&vocabulary).contains("\"rwkv\""));
    assert!(refused(&byte_level("tekken", &[])).contains("\"tekken\""));
    let mut vocabulary = byte_level("gpt-2", &[]);
    vocabulary.pre = None;
    assert!(refused(&vocabulary).contains("tokenizer.ggml.pre"));
}

#[test]
fn hostile_metadata_is_refused() {
    let check = |change: &dyn Fn(&mut Vocabulary), expected: &str| {
        let mut vocabulary = byte_level("gpt-2", &["a b", "b c"]);
        change(&mut vocabulary);
        let message = refused(&vocabulary);
        assert!(message.contains(expected), "{message}");
    };
    check(&|v| v.merges[1] = "a zz".to_owned(), "merges[1]");
    check(&|v| v.merges[1] = "a c".to_owned(), "\"ac\"");
    check(&|v| v.merges[0] = "ab".to_owned(), "merges[0]");
    check(&|v| v.merges[0] = "a b c".to_owned(), "merges[0]");
    check(&|v| v.merges[0] = " b".to_owned(), "merges[0]");
    check(&|v| v.merges[1] = "a b".to_owned(), "listed twice");
    check(&|v| v.tokens[5] = v.tokens[4].clone(), "tokens[5]");
    check(&|v| v.tokens.clear(), "tokenizer.ggml.tokens");
    check(&|v| v.kinds.truncate(3), "token_type");
    check(&|v| v.scores = vec![0.0], "scores");
    check(&|v| v.eos = Some(9999), "eos_token_id");
    check(&|v| v.add_space_prefix = Some(true), "add_space_prefix");
    let check = |change: &dyn Fn(&mut Vocabulary), expected: &str| {
        let mut vocabulary = sentence_piece(&["▁", "a"]);
        change(&mut vocabulary);
        let message = refused(&vocabulary);
        assert!(message.contains(expected), "{message}");
    };
    check(&|v| v.scores.clear(), "scores");
    check(&|v| v.scores[3] = f32::NAN, "scores[3]");
    check(&|v| v.unknown = None, "unknown_token_id");
    check(&|v| v.tokens[259] = "x".repeat(5000), "tokens[259]");
    check(
        &|v| v.remove_extra_whitespaces = Some(true),
        "remove_extra_whitespaces",
    );
}

#[test]
fn text_that_the_vocabulary_cannot_spell_is_refused() {
    let mut vocabulary = byte_level("gpt-2", &[]);
    vocabulary.tokens[1 + 4] = "other".to_owned();
    let tokenizer = build(&vocabulary);
    assert!(tokenizer.encode("ok", false).is_ok());
    let error = tokenizer.encode("ok\u{4}", false).unwrap_err().to_string();
    assert!(error.contains("0x04 at offset 2"), "{error}");
}

#[test]
fn ids_outside_the_vocabulary_are_refused() {
    let tokenizer = build(&byte_level("gpt-2", &[]));
    let error = tokenizer.decode(&[3, 257]).unwrap_err().to_string();
    assert!(error.contains("257"), "{error}");
}

const JSON: &str = r#"{"version": "1.0", "added_tokens": [{"id": 4, "content": "<eos>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<eos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {"<eos>": {"id": "<eos>", "ids": [4], "tokens": ["<eos>"]}}}, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}, "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"]]}}"#;

#[test]
fn tokenizer_json() {
    let load = |json: &str, config: Option<&str>, generation: Option<&str>| {
        let bytes = |text: Option<&str>| text.map(|t| t.as_bytes().to_vec());
        Tokenizer::from_json(
            json.as_bytes(),
            bytes(config).as_deref(),
            bytes(generation).as_deref(),
        )
    };
    let config = r#"{"bos_token": "<eos>", "eos_token": {"content": "<eos>"}}"#;
    let tokenizer = load(JSON, Some(config), Some(r#"{"eos_token_id": [3, 4]}"#)).unwrap();
    assert_eq!(tokenizer.encode("ab a", true).unwrap(), [4, 2, 3, 0]);
    assert_eq!(tokenizer.encode("ab a", false).unwrap(), [2, 3, 0]);
    assert_eq!(tokenizer.decode(&[4, 2, 3, 0]).unwrap(), "ab a");
    assert_eq!(
        (tokenizer.bos_id(), tokenizer.eos_ids()),
        (Some(4), &[3, 4][..])
    );
    assert_eq!(tokenizer.vocab_size(), 5);
    // Unspellable text is refused here too.
    assert!(tokenizer.encode("abc", false).is_err());

    let refused = |result: Result<Tokenizer, TokenizerError>, expected: &str| {
        let message = result.expect_err("must be refused").to_string();
        assert!(message.contains(expected), "{message}");
    };
    refused(load("{", None, None), "not JSON");
    refused(load("{}", None, None), "model.type");
    refused(
        load(&JSON.replace("\"BPE\"", "\"WordPiece\""), None, None),
        "WordPiece",
    );
    let prefix = JSON.replace(
        "\"continuing_subword_prefix\": null",
        "\"continuing_subword_prefix\": \"##\"",
    );
    refused(load(&prefix, None, None), "continuing_subword_prefix");
    refused(
        load(JSON, Some(r#"{"eos_token": "<none>"}"#), None),
        "<none>",
    );
    refused(
        load(JSON, None, Some(r#"{"eos_token_id": 5}"#)),
        "eos_token_id",
    );
    refused(
        load(JSON, None, Some(r#"{"eos_token_id": -1}"#)),
        "eos_token_id",
    );
}
