//! Cards with a platform of Vitis: the accelerator as a kernel that v++ links.

use super::{Design, KERNEL, fill, provenance};
use lampyris_boards::vendor::{Family, Xrt};

type Files = (Vec<(String, String)>, Vec<String>, Vec<String>);

pub(super) fn files(design: &Design<'_>, xrt: &Xrt) -> Files {
    let versal = design.vendor.part.family == Family::VersalHbm;
    let platform = match &xrt.platform {
        Some(name) => format!("PLATFORM=\"${{PLATFORM:-{name}}}\""),
        None => format!(
            ": \"${{PLATFORM:?name a platform for {} (.xpfm) in PLATFORM: none comes with Vitis}}\"",
            design.board.name
        ),
    };
    // For Versal the linker's result is a hardware design, from which the platform's image is packaged.
    let (result, rest) = match versal {
        true => ("lampyris.xsa", VERSAL),
        false => ("lampyris.xclbin", ""),
    };
    let shell = fill(
        include_str!("templates/xrt.sh"),
        &[
            ("provenance", &provenance(design)),
            ("range", &design.vendor.tools.range()),
            ("platform", &platform),
            ("result", result),
            ("rest", rest),
        ],
    );
    let files = vec![
        ("link.cfg".into(), link(design, xrt)),
        ("build.sh".into(), shell),
    ];
    let load = match versal {
        true => vec![
            "boot the board with an image that v++ --package makes of build/lampyris.xsa".into(),
        ],
        false => vec![
            "xbutil examine".into(),
            "xbutil program --device BDF --user fpga/build/lampyris.xclbin".into(),
        ],
    };
    let build = match &xrt.platform {
        Some(_) => "sh fpga/build.sh".to_owned(),
        None => "PLATFORM=platform.xpfm sh fpga/build.sh".to_owned(),
    };
    (files, vec![build], load)
}

const VERSAL: &str = "\n# What boots the board depends on the platform's software: see v++ --package of Vitis.\n\
    echo \"build/lampyris.xsa is linked; package it with the platform's boot files (v++ --package)\"\n";

fn link(design: &Design<'_>, xrt: &Xrt) -> String {
    let mut text = format!(
        "# {}\n[clock]\nfreqHz={}:{KERNEL}_1.ap_clk\n\n[connectivity]\nnk={KERNEL}:1:{KERNEL}_1\n",
        provenance(design),
        u64::from(design.board.config.clock_khz) * 1000
    );
    for port in design.memory_ports() {
        text.push_str(&format!("sp={KERNEL}_1.{port}:{}\n", xrt.memory));
    }
    text
}
