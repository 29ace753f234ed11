//! From a checked [`Vocabulary`] to a pipeline of the `tokenizers` crate.

use std::collections::{HashMap, HashSet};

use tokenizers::decoders::{
    DecoderWrapper, byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as Decoders,
    strip::Strip,
};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NFC, NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::{
    PreTokenizerWrapper,
    byte_level::ByteLevel,
    sequence::Sequence as PreTokenizers,
    split::{Split, SplitPattern},
};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::TokenizerError;
use super::vocabulary::{TokenKind, Vocabulary};

/// GPT-2's rule: contractions, then words, numbers and marks, each with the space before it.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's rule: as GPT-2's, but case does not matter, any one mark may lead a word, numbers
/// come in groups of up to three digits and line ends stay with the marks before them.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's rule: Llama 3's with every digit alone.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// SentencePiece's mark for a space.
const SPACE: &str = "\u{2581}";

/// Longest token of a `llama` vocabulary, in bytes: each is tried at every split, so this bounds
/// the work on a hostile file. Real pieces have at most a few dozen.
const MAX_PIECE: usize = 1024;

/// How a named pre-tokenizer cuts text before merging.
struct Rule {
    /// Patterns, each applied to the pieces that the one before it left.
    splits: &'static [&'static str],
    /// A piece that is itself a token is not merged from its parts.
    whole_words: bool,
    /// Text is brought to Unicode NFC first.
    nfc: bool,
}

fn rule(name: &str) -> Option<Rule> {
    let (splits, whole_words, nfc): (&'static [&'static str], bool, bool) = match name {
        "gpt-2" => (&[GPT2], false, false),
        "smollm" => (&[r"\p{N}", GPT2], false, false),
        "llama-bpe" => (&[LLAMA3], true, false),
        "qwen2" => (&[QWEN2], false, true),
        "default" => (
            &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
            false,
            false,
        ),
        _ => return None,
    };
    Some(Rule {
        splits,
        whole_words,
        nfc,
    })
}

/// Builds the pipeline; also returns the bytes for which a byte-level vocabulary has no token.
pub(super) fn build(vocabulary: &Vocabulary) -> Result<(Tokenizer, Vec<u8>), TokenizerError> {
    let mut built = match vocabulary.model.as_str() {
        "gpt2" => byte_level(vocabulary)?,
        "llama" => (sentence_piece(vocabulary)?, Vec::new()),
        "" => return Err(TokenizerError::missing("tokenizer.ggml.model")),
        other => {
            return Err(TokenizerError::UnknownModel {
                name: other.to_owned(),
            });
        }
    };
    add_atoms(&mut built.0, vocabulary);
    Ok(built)
}

/// Tokens that are found in the text before anything else looks at it.
fn add_atoms(tokenizer: &mut Tokenizer, vocabulary: &Vocabulary) {
    let mut special = Vec::new();
    let mut literal = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        match vocabulary.kind(id) {
            TokenKind::Control | TokenKind::Unknown => {
                special.push(AddedToken::from(token.as_str(), true).normalized(false));
            }
            TokenKind::UserDefined => {
                literal.push(AddedToken::from(token.as_str(), false).normalized(false));
            }
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => {}
        }
    }
    tokenizer.add_special_tokens(&special);
    tokenizer.add_tokens(&literal);
}

fn byte_level(vocabulary: &Vocabulary) -> Result<(Tokenizer, Vec<u8>), TokenizerError> {
    let name = vocabulary
        .pre
        .as_deref()
        .ok_or_else(|| TokenizerError::missing("tokenizer.ggml.pre"))?;
    let rule = rule(name).ok_or_else(|| TokenizerError::UnknownPreTokenizer {
        name: name.to_owned(),
    })?;
    if vocabulary.add_space_prefix == Some(true) {
        return Err(TokenizerError::Unsupported {
            key: "tokenizer.ggml.add_space_prefix (of a gpt2 vocabulary)".to_owned(),
            value: "true".to_owned(),
        });
    }
    let index = vocabulary.index()?;
    let merges = listed_merges(&vocabulary.merges, &index)?;
    let missing = missing_bytes(&index);
    let model = BPE::builder()
        .vocab_and_merges(ids(vocabulary), merges)
        .ignore_merges(rule.whole_words)
        .build()
        .map_err(|e| TokenizerError::library("build the vocabulary", e))?;
    let mut tokenizer = Tokenizer::new(model);
    if rule.nfc {
        tokenizer.with_normalizer(Some(NFC));
    }
    let mut steps: Vec<PreTokenizerWrapper> = Vec::with_capacity(rule.splits.len() + 1);
    for pattern in rule.splits {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|e| TokenizerError::library("compile the splitting rule", e))?;
        steps.push(split.into());
    }
    // The prefix space and the built-in pattern are off: the rule above has done the splitting.
    steps.push(ByteLevel::new(false, true, false).into());
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(steps)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, false)));
    Ok((tokenizer, missing))
}

fn ids(vocabulary: &Vocabulary) -> Vocab {
    vocabulary.tokens.iter().cloned().zip(0u32..).collect()
}

/// Splits `"left right"` entries and checks that both sides and their union are tokens.
fn listed_merges(
    merges: &[String],
    index: &HashMap<&str, u32>,
) -> Result<Vec<(String, String)>, TokenizerError> {
    let mut seen = HashSet::with_capacity(merges.len());
    let mut pairs = Vec::with_capacity(merges.len());
    for (i, merge) in merges.iter().enumerate() {
        let bad = |reason: String| {
            TokenizerError::invalid(
                format!("tokenizer.ggml.merges[{i}]"),
                format!("{merge:?} {reason}"),
            )
        };
        let (left, right) = merge
            .split_once(' ')
            .filter(|(l, r)| !l.is_empty() && !r.is_empty() && !r.contains(' '))
            .ok_or_else(|| bad("is not two tokens with a space between".to_owned()))?;
        let union = format!("{left}{right}");
        for part in [left, right, &union] {
            if !index.contains_key(part) {
                return Err(bad(format!(
                    "needs the token {part:?}, which does not exist"
                )));
            }
        }
        if !seen.insert(merge.as_str()) {
            return Err(bad("is listed twice".to_owned()));
        }
        pairs.push((left.to_owned(), right.to_owned()));
    }
    Ok(pairs)
}

/// Bytes without a token of their own, in the printable alphabet of byte-level BPE.
pub(super) fn missing_bytes(index: &HashMap<&str, u32>) -> Vec<u8> {
    (0..=u8::MAX)
        .filter(|&byte| !index.contains_key(byte_symbol(byte).encode_utf8(&mut [0; 4]) as &str))
        .collect()
}

/// The character that stands for `byte` in byte-level BPE: itself where it is printable Latin-1,
/// else the next free one from U+0100.
pub(super) fn byte_symbol(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + rank).expect("below U+0200 every number is a character")
}

fn sentence_piece(vocabulary: &Vocabulary) -> Result<Tokenizer, TokenizerError> {
    if vocabulary.scores.is_empty() {
        return Err(TokenizerError::missing("tokenizer.ggml.scores"));
    }
    if vocabulary.remove_extra_whitespaces == Some(true) {
        return Err(TokenizerError::Unsupported {
            key: "tokenizer.ggml.remove_extra_whitespaces".to_owned(),
            value: "true".to_owned(),
        });
    }
    let unknown = vocabulary
        .unknown
        .ok_or_else(|| TokenizerError::missing("tokenizer.ggml.unknown_token_id"))?;
    let index = vocabulary.index()?;
    let merges = scored_merges(vocabulary, &index)?;
    let bytes = (0..=u8::MAX).all(|b| index.contains_key(format!("<0x{b:02X}>").as_str()));
    let model = BPE::builder()
        .vocab_and_merges(ids(vocabulary), merges)
        .unk_token(vocabulary.tokens[unknown as usize].clone())
        .fuse_unk(true)
        .byte_fallback(bytes)
        .build()
        .map_err(|e| TokenizerError::library("build the vocabulary", e))?;
    let mut tokenizer = Tokenizer::new(model);
    let prefix = vocabulary.add_space_prefix.unwrap_or(true);
    let library = |e| TokenizerError::library("build the space rule", e);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(SPACE, " ").map_err(library)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if prefix {
        normalizers.push(Prepend::new(SPACE.to_owned()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    normalizers.push(Replace::new(" ", SPACE).map_err(library)?.into());
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers)));
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// A scored vocabulary merges any two neighbours whose union is a token, best score first. The
/// library wants the pairs listed: every split of every token, ordered by the token's score.
fn scored_merges(
    vocabulary: &Vocabulary,
    index: &HashMap<&str, u32>,
) -> Result<Vec<(String, String)>, TokenizerError> {
    let mut pairs: Vec<(f32, u32, u32)> = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if !matches!(vocabulary.kind(id), TokenKind::Normal | TokenKind::Unused) {
            continue;
        }
        if token.len() > MAX_PIECE {
            return Err(TokenizerError::invalid(
                format!("tokenizer.ggml.tokens[{id}]"),
                format!("{} bytes long, the limit is {MAX_PIECE}", token.len()),
            ));
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&left), Some(&right)) = (index.get(left), index.get(right)) {
                pairs.push((vocabulary.scores[id], left, right));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let text = |id: u32| vocabulary.tokens[id as usize].clone();
    Ok(pairs.iter().map(|p| (text(p.1), text(p.2))).collect())
}
