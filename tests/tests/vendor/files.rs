//! What the files of a project name: ports, registers, sources, addresses.

use crate::{BOARDS, board, emitted, names, text, write};
use lampyris_boards::Board;
use lampyris_boards::vendor::Host;
use lampyris_flow::vendor::ports::{Module, of_module};
use lampyris_flow::vendor::{KERNEL, LEVEL, MEM_BASE, TOP, project};
use lampyris_isa::csr::CSRS;
use std::collections::BTreeMap;
use std::fs;
use verilator_sys::Build;

fn header(path: &str, module: &str) -> Module {
    let path = lampyris_sim::rtl::default_rtl_root().join(path);
    let source = fs::read_to_string(path).expect("the RTL lies there");
    of_module(&source, module).expect("a header")
}

#[test]
fn the_top_level_has_the_accelerators_parameters_and_ports() {
    let top = header(&format!("soc/{TOP}.sv"), TOP);
    let core = header("core/lampyris.sv", "lampyris");
    assert_eq!(top.parameters[0], "MemBase");
    assert_eq!(top.parameters[1..], core.parameters);
    let plain = |module: &Module| {
        let ports = module
            .ports
            .iter()
            .filter(|p| !p.name.starts_with("trace_"));
        ports.map(|p| (p.name.clone(), p.input)).collect::<Vec<_>>()
    };
    assert_eq!(plain(&top), plain(&core));
    let config: Vec<_> = board("kv260")
        .config
        .parameters()
        .map(|(name, _)| name)
        .into();
    assert_eq!(core.parameters[..config.len()], config);
}

/// The generated module, its sources and Verilator's strictest warnings: ports, widths and parameters
/// are those of the RTL.
#[test]
fn the_generated_module_elaborates_with_the_projects_own_sources() {
    let text = board("kv260")
        .text
        .replace("axi_ports = 2", "axi_ports = 1");
    let one_port = Board::parse("one.toml", &text, |_| Ok(String::new())).expect("a board");
    assert_eq!(one_port.config.axi_ports, 1);
    let rtl = lampyris_sim::rtl::default_rtl_root();
    for board in BOARDS.map(board).into_iter().chain([one_port]) {
        let project = project(&board, &rtl).expect("a project");
        let folder = tempfile::tempdir().expect("a folder");
        write(&project, folder.path());
        let sources = project.sources.iter().map(|path| {
            let rest = path.strip_prefix(&rtl).expect("below the RTL");
            folder.path().join("rtl").join(rest)
        });
        let kernel = folder.path().join(format!("{KERNEL}.v"));
        let build = Build::new(KERNEL).sources(sources.chain([kernel]));
        build
            .lint()
            .unwrap_or_else(|error| panic!("{}: {error}", board.name));
    }
}

#[test]
fn every_text_says_that_it_was_never_built() {
    for name in BOARDS {
        let project = emitted(name);
        for (file, text) in &project.files {
            let silent = ["lampyris.bif", "shell.json"].contains(&file.as_str());
            let says = text.to_lowercase().contains(LEVEL);
            assert!(says != silent, "{name}: {file}");
            let words = text.split(|c: char| c.is_whitespace() || "\"'{}()".contains(c));
            let mut marks =
                words.filter(|word| word.len() > 2 && word.starts_with('@') && word.ends_with('@'));
            assert_eq!(marks.next(), None, "{name}: {file}");
        }
    }
}

/// The elements of an XML document without text; panics if they do not nest.
fn elements(document: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for part in document.split('<').skip(1) {
        let (tag, after) = part.split_once('>').expect("a tag ends");
        assert_eq!(after.trim(), "", "text between tags");
        if tag.starts_with('?') || tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = BTreeMap::new();
        while let Some((key, more)) = rest.trim().split_once("=\"") {
            let (value, more) = more.split_once('"').expect("a value ends");
            attributes.insert(key.to_owned(), value.to_owned());
            rest = more;
        }
        assert_eq!(rest.trim(), "");
        if !closed {
            open.push(name.to_owned());
        }
        all.push((name.to_owned(), attributes));
    }
    assert!(open.is_empty(), "{open:?}");
    all
}

fn hex(text: &str) -> u32 {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number")
}

#[test]
fn the_kernels_description_has_the_ports_and_registers_of_the_rtl() {
    for name in BOARDS {
        let config = board(name).config;
        let top = header(&format!("soc/{TOP}.sv"), TOP);
        let all = elements(text(&emitted(name), "kernel.xml"));
        let of = |kind: &str| {
            let found = all.iter().filter(|(name, _)| name == kind);
            found.map(|(_, attributes)| attributes).collect::<Vec<_>>()
        };
        let ports = of("port");
        assert_eq!(ports.len() as u32, 1 + config.axi_ports);
        for port in &ports {
            let signal = format!("{}_awvalid", port["name"]);
            let found = top
                .ports
                .iter()
                .find(|p| p.name == signal)
                .expect("in the RTL");
            assert_eq!(found.input, port["mode"] == "slave");
            let width = if found.input { 32 } else { config.axi_bits };
            assert_eq!(port["dataWidth"], width.to_string());
        }
        let args = of("arg");
        for arg in &args {
            assert!(
                ports.iter().any(|port| port["name"] == arg["port"]),
                "{arg:?}"
            );
        }
        let offsets = |qualifier: &str| {
            let found = args
                .iter()
                .filter(|arg| arg["addressQualifier"] == qualifier);
            found.map(|arg| hex(&arg["offset"])).collect::<Vec<_>>()
        };
        let registers = CSRS
            .iter()
            .flat_map(|csr| (0..csr.count).map(|i| csr.offset + 4 * i));
        assert_eq!(offsets("0"), registers.collect::<Vec<_>>());
        assert_eq!(offsets("1"), vec![MEM_BASE; config.axi_ports as usize]);
    }
}

#[test]
fn the_linkers_configuration_connects_each_memory_port() {
    for name in BOARDS {
        let board = board(name);
        let vendor = board.vendor.as_ref().expect("a vendor's board");
        let Host::Xrt(xrt) = &vendor.host else {
            continue;
        };
        let project = emitted(name);
        let lines: Vec<_> = text(&project, "link.cfg").lines().skip(1).collect();
        let mut wanted = vec![
            "[clock]".to_owned(),
            format!(
                "freqHz={}:{KERNEL}_1.ap_clk",
                u64::from(board.config.clock_khz) * 1000
            ),
            String::new(),
            "[connectivity]".to_owned(),
            format!("nk={KERNEL}:1:{KERNEL}_1"),
        ];
        let ports = 0..board.config.axi_ports;
        wanted.extend(ports.map(|i| format!("sp={KERNEL}_1.m_axi_gmem{i}:{}", xrt.memory)));
        assert_eq!(lines, wanted);
    }
}

#[test]
fn shell_scripts_and_boot_files_name_what_is_there_or_is_built() {
    for name in BOARDS {
        let project = emitted(name);
        let there = names(&project);
        let texts = project
            .files
            .iter()
            .filter(|(file, _)| file.ends_with(".sh") || file.ends_with(".bif"));
        for (file, text) in texts {
            let words = text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'));
            let words =
                words.flat_map(|line| line.split(|c: char| c.is_whitespace() || "\"'".contains(c)));
            let named: Vec<_> = words
                .filter(|word| {
                    let ends = [
                        ".tcl", ".cfg", ".dts", ".bif", ".xo", ".bit", ".dtbo", ".xclbin", ".xsa",
                    ];
                    ends.iter().any(|end| word.ends_with(end))
                })
                .collect();
            assert!(!named.is_empty(), "{name}: {file}");
            for word in named {
                assert!(
                    there.contains(word) || word.starts_with("build/"),
                    "{name}: {file}: {word}"
                );
            }
            if file.ends_with(".sh") {
                let shell = std::process::Command::new("sh")
                    .args(["-n", "-c", text])
                    .output()
                    .expect("a shell");
                assert!(
                    shell.status.success(),
                    "{name}: {}",
                    String::from_utf8_lossy(&shell.stderr)
                );
            }
        }
    }
}

#[test]
fn a_board_without_a_platform_asks_for_one() {
    let project = emitted("vhk158");
    let folder = tempfile::tempdir().expect("a folder");
    write(&project, folder.path());
    let shell = std::process::Command::new("sh")
        .arg(folder.path().join("build.sh"))
        .env_remove("PLATFORM")
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&shell.stderr);
    assert!(
        !shell.status.success() && said.contains("name a platform for vhk158"),
        "{said}"
    );
}

/// The device trees as text: what opens closes, and addresses are those of the board's file.
#[test]
fn device_trees_are_whole_and_show_the_boards_memory() {
    let memory = board("kv260").vendor.expect("a vendor's board").memory;
    let project = emitted("kv260");
    let cells = |value: u64| format!("{:#x} {:#x}", value >> 32, value & 0xffff_ffff);
    let range = format!("reg = <{} {}>;", cells(memory.base), cells(memory.bytes()));
    for file in ["overlay.dts", "reserved-memory.dtsi"] {
        let text = text(&project, file);
        let body: String = text
            .split("*/")
            .map(|part| part.split("/*").next().unwrap_or(""))
            .collect();
        for (open, close) in [('{', '}'), ('<', '>')] {
            assert_eq!(
                body.matches(open).count(),
                body.matches(close).count(),
                "{file}"
            );
        }
        assert_eq!(body.matches('"').count() % 2, 0);
        for statement in body.split([';', '{', '}']).map(str::trim) {
            // A statement is a node's name, a property, a flag or a directive: one of each at a time.
            assert!(statement.matches(" = ").count() <= 1, "{file}: {statement}");
        }
        assert!(body.contains(&range), "{file}");
        assert!(body.contains(&format!("@{:x} {{", memory.base)), "{file}");
    }
    let overlay = text(&project, "overlay.dts");
    assert!(overlay.contains("firmware-name = \"lampyris.bit.bin\";"));
    let script = text(&project, "build.tcl");
    assert!(script.contains("-offset 0xa0000000 ") && overlay.contains("lampyris@a0000000 {"));
    // What the device-tree compiler says, where there is one.
    let folder = tempfile::tempdir().expect("a folder");
    write(&project, folder.path());
    let compiler = std::process::Command::new("dtc")
        .args([
            "-@",
            "-I",
            "dts",
            "-O",
            "dtb",
            "-o",
            "x.dtbo",
            "overlay.dts",
        ])
        .current_dir(folder.path())
        .output();
    match compiler {
        Ok(output) => assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(_) => eprintln!("not run: dtc is not installed"),
    }
}
