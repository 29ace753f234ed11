//! Tcl: every script parses, names files that are there, and runs to its end against stand-ins for the
//! commands of Vivado, where a Tcl interpreter is installed.

use crate::{BOARDS, board, emitted, names, text, write};
use lampyris_flow::vendor::ports::of_module;
use lampyris_flow::vendor::tcl::{Command, commands, words};
use lampyris_flow::vendor::{KERNEL, MEM_BASE, Project, TOP};
use lampyris_isa::csr::CSRS;
use std::fs;
use std::path::Path;
use std::process::Output;

fn scripts(project: &Project) -> impl Iterator<Item = &(String, String)> {
    let tcl = |name: &str| name.ends_with(".tcl") || name.ends_with(".xdc");
    project.files.iter().filter(move |(name, _)| tcl(name))
}

/// All commands, those in the bodies of others included.
fn all_commands(script: &str, out: &mut Vec<Command>) -> Result<(), String> {
    for command in commands(script)? {
        let bodies: &[usize] = match command[0].as_str() {
            "foreach" | "proc" => &[3],
            "if" => &[2, 4],
            _ => &[],
        };
        for body in bodies.iter().filter_map(|index| command.get(*index)) {
            all_commands(body, out)?;
        }
        out.push(command);
    }
    Ok(())
}

fn list(script: &str, name: &str) -> Vec<String> {
    let all = commands(script).expect("it parses");
    let set = all.iter().find(|c| c[0] == "set" && c[1] == name);
    words(&set.expect("it is set")[2]).expect("a list")
}

#[test]
fn every_script_parses() {
    for name in BOARDS {
        let project = emitted(name);
        let mut count = 0;
        for (file, text) in scripts(&project) {
            let mut all = Vec::new();
            all_commands(text, &mut all).unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
            assert!(!all.is_empty());
            count += 1;
        }
        assert!(count >= 3);
        let spoilt = text(&project, "package.tcl").replacen('}', "", 1);
        assert!(
            commands(&spoilt).is_err(),
            "the reader finds a brace that is missing"
        );
    }
}

#[test]
fn every_file_that_a_script_names_is_in_the_project() {
    for name in BOARDS {
        let project = emitted(name);
        let there = names(&project);
        for script in ["package.tcl", "ooc.tcl"] {
            let sources = list(text(&project, script), "sources");
            let mut wanted: Vec<_> = there
                .iter()
                .filter(|n| n.ends_with(".sv") || n.ends_with(".v"))
                .collect();
            let mut found: Vec<_> = sources.iter().collect();
            wanted.sort();
            found.sort();
            assert_eq!(found, wanted, "{name}: {script}: all sources, once");
            let package = |source: &&String| source.ends_with("_pkg.sv");
            assert!(
                sources
                    .iter()
                    .rev()
                    .skip_while(|s| !package(s))
                    .all(|s| package(&s)),
                "packages first"
            );
        }
        for (file, text) in scripts(&project) {
            for part in text.split("[file join $here ").skip(1) {
                let path = part.split(']').next().unwrap_or_default();
                let built = path == "build" || path == "$source";
                assert!(built || there.contains(path), "{name}: {file}: {path}");
            }
        }
    }
}

#[test]
fn registers_of_the_ip_are_those_of_the_instruction_set() {
    for name in BOARDS {
        let project = emitted(name);
        let registers = list(text(&project, "package.tcl"), "registers");
        let offsets: Vec<_> = registers.chunks(4).map(|r| r[1].clone()).collect();
        let each = CSRS
            .iter()
            .flat_map(|csr| (0..csr.count).map(|i| csr.offset + 4 * i));
        let wanted: Vec<_> = each
            .chain([MEM_BASE])
            .map(|at| format!("{at:#05x}"))
            .collect();
        assert_eq!(offsets, wanted);
        let access = |name: &str| {
            registers
                .chunks(4)
                .find(|r| r[0] == name)
                .map(|r| r[3].as_str())
        };
        assert_eq!(access("CTRL"), Some("write-only"));
        assert_eq!(access("ARG_7"), Some("read-write"));
        assert_eq!(access("STATUS"), Some("read-only"));
    }
}

#[test]
fn pins_and_buses_of_the_block_design_are_those_of_the_rtl() {
    let rtl = lampyris_sim::rtl::default_rtl_root().join(format!("soc/{TOP}.sv"));
    let source = fs::read_to_string(rtl).expect("the RTL lies there");
    let ports = of_module(&source, TOP).expect("a header").ports;
    let project = emitted("kv260");
    let script = text(&project, "build.tcl");
    let paths = list(script, "paths");
    let buses: Vec<_> = paths.chunks(4).map(|path| path[0].clone()).collect();
    let config = board("kv260").config;
    let wanted: Vec<_> = (0..config.axi_ports)
        .map(|i| format!("m_axi_gmem{i}"))
        .collect();
    assert_eq!(buses, wanted);
    let mut seen = 0;
    for part in script.split("accel/").skip(1) {
        let name: String = part
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let bus = format!("{name}_araddr");
        let known = ports.iter().any(|p| p.name == name || p.name == bus);
        // `accel/$port` is one of the paths.
        assert!(known || name.is_empty(), "{name}");
        seen += usize::from(known);
    }
    assert!(seen >= 4);
    assert!(script.contains(&format!("-vlnv lampyris:kernel:{KERNEL}:1.0 ")));
}

/// Stands in for Vivado: knows no command, answers each with its arguments, and says so of files that it
/// is given.
const STAND_IN: &str = r#"
set calls [open [lindex $argv 1] w]
rename unknown tcl_unknown
proc unknown {args} {
    global calls
    puts $calls $args
    return [lindex $args end]
}
proc version {args} { global argv; return [lindex $argv 2] }
proc get_property {name args} {
    global argv
    switch $name {
        PROGRESS { return 100% }
        STATS.WNS { return [lindex $argv 3] }
        DIRECTORY { return [file dirname [lindex $argv 1]] }
        default { return $name }
    }
}
proc add_files {args} { global calls; puts $calls "add_files $args"; if {![file exists [lindex $args end]] && [string match */* [lindex $args end]]} { error "no file [lindex $args end]" } }
proc read_verilog {args} { add_files [lindex $args end] }
proc read_xdc {args} { add_files [lindex $args end] }
source [lindex $argv 0]
close $calls
"#;

/// Runs a script of a project; none where there is no interpreter.
fn run(folder: &Path, script: &str, version: &str, slack: &str) -> Option<Output> {
    let stand_in = folder.join("stand_in.tcl");
    fs::write(&stand_in, STAND_IN).expect("writes");
    fs::write(folder.join("system_wrapper.bit"), "bits").expect("writes");
    let output = std::process::Command::new("tclsh")
        .arg(&stand_in)
        .args([folder.join(script), folder.join("calls")])
        .args([version, slack])
        .output();
    if output.is_err() {
        eprintln!("not run: tclsh is not installed");
    }
    output.ok()
}

#[test]
fn scripts_run_to_their_end_against_stand_ins() {
    for name in BOARDS {
        let project = emitted(name);
        let folder = tempfile::tempdir().expect("a folder");
        write(&project, folder.path());
        let tools = board(name).vendor.expect("a vendor's board").tools;
        let names: Vec<_> = scripts(&project).map(|(file, _)| file.as_str()).collect();
        for script in names.iter().filter(|file| file.ends_with(".tcl")) {
            let Some(output) = run(folder.path(), script, &tools.first, "0.1") else {
                return;
            };
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {script}: {said}");
            let calls = fs::read_to_string(folder.path().join("calls")).expect("calls");
            let device = board(name).vendor.expect("a vendor's board").part.device;
            assert!(
                calls.contains(&format!("-part {device}")),
                "{name}: {script}"
            );
            let kernel = *script == "package.tcl" && name != "kv260";
            assert_eq!(calls.contains("package_xo "), kernel, "{name}: {script}");
        }
    }
}

#[test]
fn scripts_refuse_versions_that_do_not_know_the_board_and_a_clock_that_is_missed() {
    let fails = |name: &str, script: &str, version: &str, slack: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        write(&emitted(name), folder.path());
        let output = run(folder.path(), script, version, slack)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Some(match output.status.success() {
            true => String::new(),
            false => said,
        })
    };
    let cases = [
        (
            "alveo-u280",
            "package.tcl",
            "2024.1",
            "0",
            "Vivado 2024.1 cannot build for alveo-u280: use 2022.1 to 2023.2",
        ),
        (
            "alveo-u280",
            "ooc.tcl",
            "2021.2.1",
            "0",
            "Vivado 2021.2 cannot build",
        ),
        ("kv260", "build.tcl", "2021.1", "0", "use 2022.2 or later"),
        (
            "kv260",
            "build.tcl",
            "2024.2",
            "-0.25",
            "the clock of 200 MHz is missed by 0.25 ns",
        ),
    ];
    for (name, script, version, slack, wanted) in cases {
        let Some(said) = fails(name, script, version, slack) else {
            return;
        };
        assert!(said.contains(wanted), "{name}: {said}");
    }
    assert_eq!(
        fails("alveo-u280", "package.tcl", "2023.2.2", "0").as_deref(),
        Some("")
    );
}
