//! Whether a model fits a board's memory, and how fast it can be there at most.

use crate::output::bytes;
use anyhow::{Result, bail};
use lampyris_boards::{Board, Hardware, Vendor};
use lampyris_bundle::Manifest;

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

/// Narrowest codes of weights, bits.
const NARROWEST: f64 = 2.0;

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

/// Refuses a model that the board's memory cannot hold, and says what it could.
pub(super) fn check(manifest: &Manifest, room: &Room<'_>) -> Result<()> {
    let (need, have) = (manifest.dram_bytes(), room.have);
    if need <= have {
        return Ok(());
    }
    bail!(
        "{} needs {} of memory, {} has {}: {} too little\n\nhint: {}",
        manifest.model.name,
        bytes(need),
        room.board,
        room.size(),
        bytes(need - have),
        what_fits(manifest, have),
    )
}

/// A shorter context, or a smaller model and narrower weights.
fn what_fits(manifest: &Manifest, have: u64) -> String {
    let model = &manifest.model;
    let cache = model.kv_bytes_per_token * u64::from(manifest.context);
    let rest = manifest.dram_bytes() - cache;
    let room = have.checked_sub(rest);
    let context = room.map_or(0, |room| room / model.kv_bytes_per_token.max(1));
    if context >= 32 {
        return format!("--context {} fits", context / 32 * 32);
    }
    let bits = 8.0 * model.weight_bytes_per_token as f64 / model.parameters as f64;
    // A tenth is for the cache, constants and the program.
    let room = (have * 8) as f64 * 0.9;
    let largest = (room / bits.max(0.1) / 1e6).floor();
    let narrow = room / model.parameters as f64;
    let this = match narrow >= NARROWEST {
        true => format!("this one at {narrow:.1} bits"),
        false => format!(
            "{:.0} million at {NARROWEST:.0} bits, the narrowest",
            room / NARROWEST / 1e6
        ),
    };
    format!(
        "a model of at most {largest} million parameters fits at {bits:.1} bits each, or {this}"
    )
}

/// What to expect of the board, from its memory's peak alone.
pub(super) fn forecast(manifest: &Manifest, room: &Room<'_>) -> String {
    let load = manifest.model.weight_bytes_per_token;
    format!(
        "forecast for {} (modelled): {} of {} memory; at most {:.1} tokens/s, since a token reads {} of \
         weights at no more than {:.0} MB/s",
        room.board,
        bytes(manifest.dram_bytes()),
        bytes(room.have),
        room.rate as f64 / load.max(1) as f64,
        bytes(load),
        room.rate as f64 / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_boards::Board;
    use lampyris_bundle::RegionKind;
    use lampyris_compiler::{Options, Tokenization};

    /// `tiny` for a board, with a KV cache and weights of these sizes.
    fn manifest(board: &str, cache: u64, weights: u64) -> Manifest {
        let board = Board::open(board).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = lampyris_import::open("tiny").unwrap();
        let options = Options {
            config: board.config,
            context: 64,
            schedule: Default::default(),
        };
        let text = Tokenization { json: "{}".into() };
        let target = folder.path().join("tiny");
        let compiled = lampyris_compiler::compile(&model, &text, &options, &target, &mut |_, _| {});
        let mut manifest = compiled.unwrap().manifest;
        let mut base = 0;
        for region in &mut manifest.regions {
            match region.kind {
                RegionKind::Kv => region.bytes = cache,
                RegionKind::Weights => region.bytes = weights,
                _ => {}
            }
            region.base = base;
            base += region.bytes;
        }
        manifest.context = (cache / manifest.model.kv_bytes_per_token) as u32;
        manifest
    }

    fn message(board: &str, cache: u64, weights: u64) -> Option<String> {
        let manifest = manifest(board, cache, weights);
        let board = Board::open(board).unwrap();
        let room = match (&board.hardware, &board.vendor) {
            (Some(hardware), _) => Room::of(&board, hardware),
            (_, vendor) => Room::of_vendor(&board, vendor.as_ref().unwrap()),
        };
        check(&manifest, &room).err().map(|e| e.to_string())
    }

    #[test]
    fn a_model_that_does_not_fit_is_told_what_would() {
        assert_eq!(message("ulx3s-85f", 1 << 20, 1 << 20), None);
        let cache = message("ulx3s-85f", 32 << 20, 1 << 20).unwrap();
        assert!(
            cache.starts_with(
                "tiny needs 33.0 MiB of memory, ulx3s-85f has 32.0 MiB: 1.0 MiB too little"
            ),
            "{cache}"
        );
        assert!(
            cache.contains("hint: --context ") && cache.ends_with(" fits"),
            "{cache}"
        );
        let weights = message("ulx3s-85f", 1 << 20, 32 << 20).unwrap();
        assert!(weights.contains("hint: a model of at most"), "{weights}");
    }

    #[test]
    fn what_processors_use_is_named_and_no_width_below_the_narrowest_is_advised() {
        assert_eq!(message("kv260", 1 << 20, 1 << 30), None);
        let cache = message("kv260", 3 << 30, 1 << 30).unwrap();
        assert!(
            cache.starts_with(
                "tiny needs 4.0 GiB of memory, kv260 has 2.0 GiB (besides 2.0 GiB that its processors \
                 use): 2.0 GiB too little\n\nhint: --context "
            ),
            "{cache}"
        );
        let manifest = |parameters| {
            let mut manifest = manifest("kv260", 1 << 20, 3 << 30);
            manifest.model.parameters = parameters;
            manifest.model.weight_bytes_per_token = 3 << 30;
            manifest
        };
        let narrow = what_fits(&manifest(5_000_000_000), 2 << 30);
        assert!(narrow.ends_with(", or this one at 3.1 bits"), "{narrow}");
        let none = what_fits(&manifest(13_000_000_000), 2 << 30);
        assert!(
            none.ends_with(", or 7731 million at 2 bits, the narrowest"),
            "{none}"
        );
    }
}
