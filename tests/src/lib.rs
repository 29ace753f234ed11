//! What the suites share.

pub mod bench;
pub mod cage;
pub mod calls;
pub mod compilation;
pub mod decoders;
pub mod figures;
pub mod lengths;
pub mod relu;
pub mod scores;
pub mod small;
pub mod smollm2;
pub mod synth;
pub mod tiny;

use lampyris_bundle::Bundle;
use lampyris_compiler::{KvFormat, Options, Schedule, Tokenization};
use lampyris_import::Model;
use lampyris_import::saved::TextTools;
use lampyris_isa::HwConfig;
use tempfile::TempDir;

/// A compiled directory that is deleted when dropped.
pub struct CompiledDir {
    /// Keeps the directory.
    pub directory: TempDir,
    /// The opened directory.
    pub bundle: Bundle,
}

/// Compiles a model to a temporary directory.
///
/// # Panics
/// If it does not compile.
pub fn compile(model: &Model, config: HwConfig, context: usize) -> CompiledDir {
    let json = TextTools::from_model_file(model.file())
        .and_then(|t| t.to_json())
        .expect("tokenizer");
    compile_with(model, &Options::new(config, context), json)
}

/// The same where text plays no part: the directory just carries an empty document.
///
/// # Panics
/// If it does not compile.
pub fn compile_without_text(model: &Model, config: HwConfig, context: usize) -> CompiledDir {
    compile_scheduled(model, config, context, Schedule::Fused)
}

/// The same with a schedule of choice.
///
/// # Panics
/// If it does not compile.
pub fn compile_scheduled(
    model: &Model,
    config: HwConfig,
    context: usize,
    schedule: Schedule,
) -> CompiledDir {
    let options = Options {
        schedule,
        ..Options::new(config, context)
    };
    compile_with(model, &options, "{}".into())
}

/// The same with a form of the KV cache of choice.
///
/// # Panics
/// If it does not compile.
pub fn compile_cached(
    model: &Model,
    config: HwConfig,
    context: usize,
    kv: KvFormat,
) -> CompiledDir {
    let options = Options {
        kv,
        ..Options::new(config, context)
    };
    compile_with(model, &options, "{}".into())
}

/// The same with options of choice and a serialised tokenizer.
///
/// # Panics
/// If it does not compile.
pub fn compile_with(model: &Model, options: &Options, json: String) -> CompiledDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let target = directory.path().join("compiled");
    lampyris_compiler::compile(
        model,
        &Tokenization { json },
        options,
        &target,
        &mut |_, _| {},
    )
    .expect("compiles");
    let bundle = Bundle::open(&target).expect("opens");
    CompiledDir { directory, bundle }
}
