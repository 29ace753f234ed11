//! Boards with a Zynq UltraScale+: a block design around the processors, and what Linux needs to load it.

use super::{Design, KERNEL, fill, provenance};
use lampyris_boards::vendor::{ZYNQ_PORTS, Zynq};

type Files = (Vec<(String, String)>, Vec<String>, Vec<String>);

/// Where the host's registers lie: the first address behind port HPM0 of the processors.
const REGISTERS: u64 = 0xa000_0000;

/// Ports to the processors' memory that the accelerator's ports go to: number in the settings of the
/// processors, name. The first two have ways of their own to the memory's controller (UG1085).
const MEMORY_PORTS: [(&str, &str); ZYNQ_PORTS as usize] =
    [("2", "HP0"), ("4", "HP2"), ("3", "HP1"), ("5", "HP3")];

pub(super) fn files(design: &Design<'_>, zynq: &Zynq) -> Files {
    let memory = &design.vendor.memory;
    let provenance = provenance(design);
    let cells = |address: u64| format!("{:#x} {:#x}", address >> 32, address & 0xffff_ffff);
    let (base, size) = (cells(memory.base), cells(memory.bytes()));
    let overlay = fill(
        include_str!("templates/overlay.dts"),
        &[
            ("provenance", &provenance),
            (
                "hertz",
                &(u64::from(design.board.config.clock_khz) * 1000).to_string(),
            ),
            ("registers", &format!("{REGISTERS:x}")),
            ("unit", &format!("{:x}", memory.base)),
            ("base", &base),
            ("size", &size),
        ],
    );
    let reserved = fill(
        include_str!("templates/reserved-memory.dtsi"),
        &[
            ("provenance", &provenance),
            ("unit", &format!("{:x}", memory.base)),
            ("base", &base),
            ("size", &size),
        ],
    );
    let shell = fill(
        include_str!("templates/zynq.sh"),
        &[
            ("provenance", &provenance),
            ("range", &design.vendor.tools.range()),
        ],
    );
    let files = vec![
        ("build.tcl".into(), block_design(design, zynq, &provenance)),
        (
            "lampyris.bif".into(),
            "all:\n{\n    [destination_device = pl] build/lampyris.bit\n}\n".into(),
        ),
        ("overlay.dts".into(), overlay),
        ("reserved-memory.dtsi".into(), reserved),
        (
            "shell.json".into(),
            "{\n    \"shell_type\": \"XRT_FLAT\",\n    \"num_slots\": \"1\"\n}\n".into(),
        ),
        ("build.sh".into(), shell),
    ];
    let load = vec![
        "copy fpga/build/lampyris.bit.bin, fpga/build/lampyris.dtbo and fpga/shell.json to /lib/firmware/xilinx/lampyris on the board".into(),
        "sudo xmutil unloadapp".into(),
        "sudo xmutil loadapp lampyris".into(),
    ];
    (files, vec!["sh fpga/build.sh".into()], load)
}

fn block_design(design: &Design<'_>, zynq: &Zynq, provenance: &str) -> String {
    let config = &design.board.config;
    let used = &MEMORY_PORTS[..config.axi_ports as usize];
    let settings: Vec<_> = used
        .iter()
        .map(|(number, _)| {
            format!(
                "    CONFIG.PSU__USE__S_AXI_GP{number} {{1}} \\\n    CONFIG.PSU__SAXIGP{number}__DATA_WIDTH {{128}} \\"
            )
        })
        .collect();
    let paths: Vec<_> = design
        .memory_ports()
        .zip(used)
        .map(|(port, (number, name))| {
            format!(
                "    {port} {name} saxi{}_fpd_aclk SAXIGP{number}",
                name.to_lowercase()
            )
        })
        .collect();
    let connections = match &zynq.board_connections {
        Some(name) => format!("set_property board_connections {{{name}}} [current_project]"),
        None => "# no carrier card".to_owned(),
    };
    fill(
        include_str!("templates/zynq.tcl"),
        &[
            ("provenance", provenance),
            ("device", &design.vendor.part.device),
            ("board_part", &zynq.board_part),
            ("connections", &connections),
            ("settings", &settings.join("\n")),
            ("mhz", &format!("{}", design.clock_mhz())),
            ("paths", &paths.join("\n")),
            ("kernel", KERNEL),
            ("registers", &format!("{REGISTERS:#x}")),
        ],
    )
}
