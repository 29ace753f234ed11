//! Projects for boards of other vendors' tools, without those tools: scripts parse and run against
//! stand-ins for their commands, files that they name are there, ports and registers are those of the
//! RTL and of the instruction set. And the registers that the RTL adds for these boards.

mod base;
mod files;
mod scripts;
mod top;

use lampyris_boards::Board;
use lampyris_flow::vendor::{Project, project};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The boards.
const BOARDS: [&str; 4] = ["kv260", "alveo-u55c", "alveo-u280", "vhk158"];

fn board(name: &str) -> Board {
    Board::open(name).expect("a shipped board")
}

fn emitted(name: &str) -> Project {
    let rtl = lampyris_sim::rtl::default_rtl_root();
    project(&board(name), &rtl).expect("a project")
}

/// Text of a file of a project.
fn text<'a>(project: &'a Project, name: &str) -> &'a str {
    let found = project.files.iter().find(|(n, _)| n == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

/// Names of everything in a project's folder.
fn names(project: &Project) -> BTreeSet<String> {
    let rtl = lampyris_sim::rtl::default_rtl_root();
    let below = |path: &Path| {
        let rest = path.strip_prefix(&rtl).expect("below the RTL");
        format!("rtl/{}", rest.display())
    };
    let sources = project.sources.iter().map(|path| below(path));
    let files = project.files.iter().map(|(name, _)| name.clone());
    sources.chain(files).collect()
}

/// Writes a project as a bundle has it.
fn write(project: &Project, folder: &Path) {
    let rtl = lampyris_sim::rtl::default_rtl_root();
    for source in &project.sources {
        let rest = source.strip_prefix(&rtl).expect("below the RTL");
        let target = folder.join("rtl").join(rest);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(source, target).expect("copies");
    }
    for (name, text) in &project.files {
        fs::write(folder.join(name), text).expect("writes");
    }
}
