//! One module for each subcommand.

pub(crate) mod bench;
pub(crate) mod board;
pub(crate) mod bundle;
pub(crate) mod calibrate;
pub(crate) mod compile;
pub(crate) mod compress;
pub(crate) mod doctor;
mod engine;
pub(crate) mod explore;
pub(crate) mod flash;
pub(crate) mod forecast;
mod generation;
pub(crate) mod inspect;
mod memory;
pub(crate) mod pack;
pub(crate) mod probe;
pub(crate) mod relufy;
mod report;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod sim;
mod sparse;
mod trace;
pub(crate) mod train_predictor;

/// Version of the layout of everything that `--json` prints.
pub(crate) const JSON_SCHEMA: u32 = 1;

/// Hardware and context, as several commands take them.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// Hardware: base, small, wide; ulx3s-85f, kv260, alveo-u55c, alveo-u280, vhk158; or a board's
    /// file
    #[arg(long, visible_alias = "board", default_value = "base")]
    pub(crate) config: String,
    /// Positions of the KV cache [default: the model's context length, at most 2048]
    #[arg(long)]
    pub(crate) context: Option<usize>,
    /// Bits of a code in the KV cache: 8, or 4, for which heads are rotated
    #[arg(long, value_parser = kv_format, default_value = "8", value_name = "8|4")]
    pub(crate) kv_bits: lampyris_compiler::KvFormat,
}

fn kv_format(text: &str) -> Result<lampyris_compiler::KvFormat, String> {
    let bits = text.parse().ok();
    bits.and_then(lampyris_compiler::KvFormat::from_bits)
        .ok_or_else(|| "allowed: 8 or 4".to_owned())
}

/// Positions when the user does not say.
const CONTEXT_DEFAULT_MAX: usize = 2048;

impl Target {
    /// The board or configuration.
    pub(crate) fn board(&self) -> anyhow::Result<lampyris_boards::Board> {
        Ok(lampyris_boards::Board::open(&self.config)?)
    }

    /// Options for a model.
    pub(crate) fn options(
        &self,
        model: &lampyris_import::Model,
    ) -> anyhow::Result<lampyris_compiler::Options> {
        let board = self.board()?;
        let most = model.spec().context_length.min(CONTEXT_DEFAULT_MAX);
        let context = self.context.unwrap_or(most);
        Ok(lampyris_compiler::Options {
            kv: self.kv_bits,
            ..lampyris_compiler::Options::new(board.config, context)
        })
    }
}
