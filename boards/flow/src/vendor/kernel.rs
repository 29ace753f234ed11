//! What all these projects share: the module with a board's parameters, its packaging as IP and as a
//! kernel, its clock constraint, and notes for whoever writes the host's program.

use super::{Design, KERNEL, LEVEL, MEM_BASE, REGISTER_BYTES, TOP, fill, provenance};
use lampyris_boards::vendor::Host;
use lampyris_isa::csr::{Access, CSRS};
use std::fmt::Write as _;

/// A register of 32 bits.
struct Register {
    name: String,
    offset: u32,
    access: &'static str,
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Ro => "read-only",
        Access::Rw => "read-write",
        Access::Wo => "write-only",
    }
}

/// Registers of the accelerator; those of a run are numbered.
fn registers() -> Vec<Register> {
    let each = CSRS.iter().flat_map(|csr| {
        (0..csr.count).map(move |index| Register {
            name: match csr.count {
                1 => csr.name.to_owned(),
                _ => format!("{}_{index}", csr.name),
            },
            offset: csr.offset + 4 * index,
            access: access(csr.access),
        })
    });
    each.collect()
}

pub(super) fn files(design: &Design<'_>) -> Vec<(String, String)> {
    vec![
        (format!("{KERNEL}.v"), verilog(design)),
        ("kernel.xml".into(), xml(design)),
        ("clock_ooc.xdc".into(), constraint(design)),
        ("package.tcl".into(), package(design)),
        ("ooc.tcl".into(), out_of_context(design)),
        ("HOST.md".into(), notes(design)),
    ]
}

/// Plain Verilog, since block designs take no SystemVerilog module as their own.
fn verilog(design: &Design<'_>) -> String {
    let config = &design.board.config;
    let mut text = format!(
        "// {}\n`default_nettype none\n\nmodule {KERNEL} (\n",
        provenance(design)
    );
    let range = |width: u32| match width {
        1 => String::new(),
        _ => format!("[{}:0]", width - 1),
    };
    let declared: Vec<_> = design
        .ports
        .iter()
        .map(|port| {
            let direction = if port.input { "input " } else { "output" };
            format!(
                "    {direction} wire {:<8} {}",
                range(port.width),
                port.name
            )
        })
        .collect();
    text.push_str(&declared.join(",\n"));
    let _ = write!(
        text,
        "\n);\n  /* verilator lint_off PINCONNECTEMPTY */\n  {TOP} #(\n      .MemBase(64'h{:x})",
        design.vendor.memory.base
    );
    for (name, value) in config.parameters() {
        let _ = write!(text, ",\n      .{name}({value})");
    }
    let _ = write!(
        text,
        ",\n      .ConfigHash(32'h{:08x})\n  ) u_top (\n",
        config.hash()
    );
    let mut connected: Vec<_> = design
        .ports
        .iter()
        .map(|port| format!("      .{0}({0})", port.name))
        .collect();
    connected.extend(idle(design));
    text.push_str(&connected.join(",\n"));
    text.push_str(
        "\n  );\n  /* verilator lint_on PINCONNECTEMPTY */\nendmodule\n\n`default_nettype wire\n",
    );
    text
}

/// Ports that the configuration does not use: inputs are zero, outputs stay open.
fn idle(design: &Design<'_>) -> impl Iterator<Item = String> {
    design.idle.iter().map(|port| match port.input {
        true => format!("      .{}({}'d0)", port.name, port.width),
        false => format!("      .{}()", port.name),
    })
}

/// The kernel for XRT: it starts and stops by its own registers, and what it reads and writes lies in
/// buffers whose address goes to the base register.
fn xml(design: &Design<'_>) -> String {
    let bits = design.board.config.axi_bits;
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- {} -->\n<root versionMajor=\"1\" versionMinor=\"9\">\n  \
         <kernel name=\"{KERNEL}\" language=\"ip\" vlnv=\"lampyris:kernel:{KERNEL}:1.0\" attributes=\"\" \
         preferredWorkGroupSizeMultiple=\"0\" workGroupSize=\"1\" interrupt=\"false\" \
         hwControlProtocol=\"user_managed\">\n    <ports>\n",
        provenance(design)
    );
    for port in design.memory_ports() {
        let _ = writeln!(
            text,
            "      <port name=\"{port}\" mode=\"master\" range=\"0xFFFFFFFFFFFFFFFF\" dataWidth=\"{bits}\" portType=\"addressable\" base=\"0x0\"/>"
        );
    }
    let _ = write!(
        text,
        "      <port name=\"s_axi_control\" mode=\"slave\" range=\"{REGISTER_BYTES:#x}\" dataWidth=\"32\" portType=\"addressable\" base=\"0x0\"/>\n    </ports>\n    <args>\n"
    );
    let mut id = 0;
    let mut arg = |name: &str, qualifier: u32, port: &str, size: u32, offset: u32, kind: &str| {
        let _ = writeln!(
            text,
            "      <arg name=\"{name}\" addressQualifier=\"{qualifier}\" id=\"{id}\" port=\"{port}\" size=\"{size:#x}\" offset=\"{offset:#x}\" hostOffset=\"0x0\" hostSize=\"{size:#x}\" type=\"{kind}\"/>"
        );
        id += 1;
    };
    // Both ports see the same memory, so the base is the argument of both.
    for (index, port) in design.memory_ports().enumerate() {
        arg(&format!("MEM_BASE_{index}"), 1, &port, 8, MEM_BASE, "void*");
    }
    for register in registers() {
        arg(
            &register.name,
            0,
            "s_axi_control",
            4,
            register.offset,
            "uint",
        );
    }
    text.push_str("    </args>\n  </kernel>\n</root>\n");
    text
}

fn constraint(design: &Design<'_>) -> String {
    format!(
        "# {}\n# The clock of the accelerator alone; in the whole design it comes from around it.\n\
         create_clock -period {:.3} -name ap_clk [get_ports ap_clk]\n",
        provenance(design),
        1000.0 / design.clock_mhz()
    )
}

/// The sources as a Tcl list.
pub(super) fn source_list(design: &Design<'_>) -> String {
    let all = design.sources.iter().map(String::as_str);
    let kernel = format!("{KERNEL}.v");
    let lines: Vec<_> = all
        .chain([kernel.as_str()])
        .map(|source| format!("    {source}"))
        .collect();
    lines.join("\n")
}

/// Refuses versions of Vivado that do not know the board.
fn versions(design: &Design<'_>) -> String {
    let tools = &design.vendor.tools;
    fill(
        include_str!("templates/version.tcl"),
        &[
            ("board", &design.board.name),
            ("first", &tools.first),
            ("last", tools.last.as_deref().unwrap_or("")),
            ("range", &tools.range()),
        ],
    )
}

fn package(design: &Design<'_>) -> String {
    let register = |r: Register| format!("    {} {:#05x} 32 {}", r.name, r.offset, r.access);
    let mut all: Vec<_> = registers().into_iter().map(register).collect();
    all.push(format!("    MEM_BASE {MEM_BASE:#05x} 64 read-write"));
    let ports: Vec<_> = design.memory_ports().collect();
    let xrt = matches!(design.vendor.host, Host::Xrt(_));
    fill(
        include_str!("templates/package.tcl"),
        &[
            ("provenance", &provenance(design)),
            ("versions", versions(design).trim_end()),
            ("device", &design.vendor.part.device),
            ("kernel", KERNEL),
            ("sources", &source_list(design)),
            ("registers", &all.join("\n")),
            ("range", &format!("{REGISTER_BYTES:#x}")),
            ("ports", &ports.join(" ")),
            ("as_kernel", if xrt { "1" } else { "0" }),
        ],
    )
}

fn out_of_context(design: &Design<'_>) -> String {
    fill(
        include_str!("templates/ooc.tcl"),
        &[
            ("provenance", &provenance(design)),
            ("versions", versions(design).trim_end()),
            ("device", &design.vendor.part.device),
            ("kernel", KERNEL),
            ("sources", &source_list(design)),
        ],
    )
}

/// What a program on the host does, with the registers.
fn notes(design: &Design<'_>) -> String {
    let mut table = String::new();
    for csr in CSRS {
        let last = csr.offset + 4 * (csr.count - 1);
        let place = match csr.count {
            1 => format!("{:#05x}", csr.offset),
            _ => format!("{:#05x}-{last:#05x}", csr.offset),
        };
        let _ = writeln!(
            table,
            "| {place} | {} | {} | {} |",
            csr.name,
            access(csr.access),
            csr.doc
        );
    }
    let _ = write!(
        table,
        "| {MEM_BASE:#05x}-{:#05x} | MEM_BASE | read-write | Where address 0 of the manifest's regions lies; bits 11:0 are zero. |",
        MEM_BASE + 4
    );
    let memory = &design.vendor.memory;
    let place = match &design.vendor.host {
        Host::Zynq(_) => format!(
            "The accelerator's memory is {} MiB from {:#x} on, which `overlay.dts` shows as the UIO device \
             `lampyris-memory` and `reserved-memory.dtsi` keeps Linux away from. MEM_BASE holds that address \
             after a reset. The registers are the UIO device `lampyris`, at 0xa0000000.",
            memory.bytes() >> 20,
            memory.base
        ),
        Host::Xrt(_) => format!(
            "Open the kernel as `xrt::ip(device, uuid, \"{KERNEL}\")`, allocate one `xrt::bo` of the manifest's \
             whole memory (the end of its last region) in the bank of argument MEM_BASE_0, and write \
             `bo.address()` to MEM_BASE with two calls of `write_register`. Whether XRT gives out one buffer \
             of that size over several channels of the memory was not tried.",
        ),
    };
    fill(
        include_str!("templates/HOST.md"),
        &[
            ("board", &design.board.name),
            ("level", LEVEL),
            ("place", &place),
            ("registers", &table),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_those_of_the_instruction_set_and_end_before_the_base() {
        let all = registers();
        let count: u32 = CSRS.iter().map(|csr| csr.count).sum();
        assert_eq!(all.len(), count as usize);
        assert!(all.iter().all(|r| r.offset < MEM_BASE));
        assert!(
            all.iter()
                .any(|r| r.name == "COUNTER_47" && r.offset == 0x1bc)
        );
    }
}
