//! Whether a model fits a board's memory, and how fast it can be there at most.

use super::{Args, options};
use crate::output::bytes;
use anyhow::{Result, bail};
use lampyris_boards::{Board, Hardware, Vendor};
use lampyris_bundle::RegionKind;
use lampyris_compiler::{Options, Plan};
use lampyris_import::Model;

/// A board's memory.
pub(super) struct Room<'a> {
    board: &'a str,
    /// Bytes for the accelerator.
    have: u64,
    /// Bytes that others use.
    reserved: u64,
    /// Bytes a second at most.
    rate: u64,
}

/// Bits of a weight in the narrowest dense form: codes of 2 bits and their share of a tile's header.
const NARROWEST: f64 = 3.0;

/// What a model needs of a memory.
pub(super) struct Need {
    name: String,
    parameters: u64,
    /// Bytes of everything.
    bytes: u64,
    context: u64,
    kv_bytes_per_token: u64,
    weight_bytes_per_token: u64,
}

impl Need {
    /// Before weights are read or written.
    pub(super) fn planned(model: &Model, options: &Options, plan: &Plan) -> Result<Need> {
        let regions = plan.regions.iter();
        let kv = regions.clone().find(|r| r.kind == RegionKind::Kv);
        let layers = plan.image.runs.iter().map(|r| r.stride * r.count as u64);
        Ok(Need {
            name: model.spec().name.clone(),
            parameters: model.summary()?.parameters,
            bytes: regions.map(|r| r.base + r.bytes).max().unwrap_or(0),
            context: options.context as u64,
            kv_bytes_per_token: kv.map_or(0, |r| r.bytes) / options.context.max(1) as u64,
            weight_bytes_per_token: layers.sum::<u64>() + plan.image.head.bytes(),
        })
    }
}

impl<'a> Room<'a> {
    pub(super) fn of(board: &'a Board, hardware: &Hardware) -> Room<'a> {
        Room {
            board: &board.name,
            have: hardware.memory_bytes(),
            reserved: 0,
            rate: hardware.memory_bytes_per_second(board.config.clock_khz),
        }
    }

    pub(super) fn of_vendor(board: &'a Board, vendor: &Vendor) -> Room<'a> {
        Room {
            board: &board.name,
            have: vendor.memory.bytes(),
            reserved: vendor.memory.reserved_bytes(),
            rate: vendor.memory_bytes_per_second(&board.config),
        }
    }

    fn size(&self) -> String {
        let have = bytes(self.have);
        match self.reserved {
            0 => have,
            reserved => format!(
                "{have} (besides {} that its processors use)",
                bytes(reserved)
            ),
        }
    }
}

/// Plans the model of a command, refuses it if the board's memory cannot hold it and says what it could,
/// and forecasts its speed from the memory's peak alone.
pub(super) fn check(args: &Args, room: &Room<'_>) -> Result<String> {
    let model = lampyris_import::open(&args.model)?;
    let options = options(args, &model)?;
    let plan = lampyris_compiler::plan(&model, &options)?;
    let need = Need::planned(&model, &options, &plan)?;
    refuse(&need, room)?;
    Ok(forecast(&need, room))
}

fn refuse(need: &Need, room: &Room<'_>) -> Result<()> {
    if need.bytes <= room.have {
        return Ok(());
    }
    bail!(
        "{} needs {} of memory, {} has {}: {} too little\n\nhint: {}",
        need.name,
        bytes(need.bytes),
        room.board,
        room.size(),
        bytes(need.bytes - room.have),
        what_fits(need, room.have),
    )
}

/// A shorter context, or a smaller model and narrower weights.
fn what_fits(need: &Need, have: u64) -> String {
    let rest = need.bytes - need.kv_bytes_per_token * need.context;
    let room = have.checked_sub(rest);
    let context = room.map_or(0, |room| room / need.kv_bytes_per_token.max(1));
    if context >= 32 {
        return format!("--context {} fits", context / 32 * 32);
    }
    let bits = 8.0 * need.weight_bytes_per_token as f64 / need.parameters as f64;
    // A tenth is for the cache, constants and the program.
    let room = (have * 8) as f64 * 0.9;
    let largest = (room / bits.max(0.1) / 1e6).floor();
    let narrow = room / need.parameters as f64;
    let this = match narrow >= NARROWEST {
        true => format!("this one at {narrow:.1} bits"),
        false => format!(
            "one of {:.0} million at {NARROWEST:.1} bits, the narrowest dense weights",
            (room / NARROWEST / 1e6).floor()
        ),
    };
    format!(
        "a model of at most {largest} million parameters fits at {bits:.1} bits each, or {this}"
    )
}

fn forecast(need: &Need, room: &Room<'_>) -> String {
    let load = need.weight_bytes_per_token;
    format!(
        "forecast for {} (modelled): {} of {} memory; at most {:.1} tokens/s, since a token reads {} of \
         weights at no more than {:.0} MB/s",
        room.board,
        bytes(need.bytes),
        bytes(room.have),
        room.rate as f64 / load.max(1) as f64,
        bytes(load),
        room.rate as f64 / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A model with a KV cache and weights of these sizes.
    fn need(parameters: u64, cache: u64, weights: u64) -> Need {
        Need {
            name: "m".into(),
            parameters,
            bytes: cache + weights,
            context: 1024,
            kv_bytes_per_token: cache / 1024,
            weight_bytes_per_token: weights,
        }
    }

    fn message(board: &str, need: &Need) -> Option<String> {
        let board = Board::open(board).unwrap();
        let room = match (&board.hardware, &board.vendor) {
            (Some(hardware), _) => Room::of(&board, hardware),
            (_, vendor) => Room::of_vendor(&board, vendor.as_ref().unwrap()),
        };
        refuse(need, &room).err().map(|e| e.to_string())
    }

    #[test]
    fn a_model_that_does_not_fit_is_told_what_would() {
        let parameters = 1_000_000;
        assert_eq!(message("ulx3s-85f", &need(parameters, MIB, MIB)), None);
        let cache = message("ulx3s-85f", &need(parameters, 32 * MIB, MIB)).unwrap();
        assert_eq!(
            cache,
            "m needs 33.0 MiB of memory, ulx3s-85f has 32.0 MiB: 1.0 MiB too little\n\n\
             hint: --context 992 fits"
        );
        let weights = message("ulx3s-85f", &need(60_000_000, MIB, 32 * MIB)).unwrap();
        assert!(
            weights.ends_with(
                "hint: a model of at most 54 million parameters fits at 4.5 bits each, or this one at \
                 4.0 bits"
            ),
            "{weights}"
        );
    }

    #[test]
    fn what_processors_use_is_named_and_no_width_below_the_narrowest_is_advised() {
        let gib = 1024 * MIB;
        assert_eq!(message("kv260", &need(1, MIB, gib)), None);
        let seven = message("kv260", &need(7_000_000_000, gib, 4 * gib)).unwrap();
        assert_eq!(
            seven,
            "m needs 5.0 GiB of memory, kv260 has 2.0 GiB (besides 2.0 GiB that its processors use): \
             3.0 GiB too little\n\nhint: a model of at most 3150 million parameters fits at 4.9 bits each, \
             or one of 5153 million at 3.0 bits, the narrowest dense weights"
        );
    }

    /// What is planned is what the compiled directory then needs.
    #[test]
    fn the_plan_foretells_the_manifest() {
        let model = lampyris_import::open("tiny").unwrap();
        let options = Options::new(Board::open("kv260").unwrap().config, 64);
        let plan = lampyris_compiler::plan(&model, &options).unwrap();
        let need = Need::planned(&model, &options, &plan).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let text = lampyris_compiler::Tokenization { json: "{}".into() };
        let target = folder.path().join("tiny");
        let compiled = lampyris_compiler::compile(&model, &text, &options, &target, &mut |_, _| {});
        let manifest = compiled.unwrap().manifest;
        assert_eq!(need.bytes, manifest.dram_bytes());
        assert_eq!(need.kv_bytes_per_token, manifest.model.kv_bytes_per_token);
        assert_eq!(
            need.weight_bytes_per_token,
            manifest.model.weight_bytes_per_token
        );
        assert_eq!(need.parameters, manifest.model.parameters);
    }
}
