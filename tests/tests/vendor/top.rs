//! The whole top level of these boards, in its smallest configuration: registers behind `axi_base`, and
//! the base in the addresses of memory.

use lampyris_flow::vendor::{MEM_BASE, TOP, project};
use lampyris_isa::{HwConfig, csr};
use verilator_sys::{Build, Model, Setup};

const RESET_BASE: u64 = 0x8_0000_0000;

struct Top(Model);

impl Top {
    fn new() -> Top {
        let rtl = lampyris_sim::rtl::default_rtl_root();
        let sources = project(&crate::board("kv260"), &rtl)
            .expect("a project")
            .sources;
        let config = HwConfig::SMALL;
        let mut build = Build::new(TOP).sources(sources).opt(1);
        for (name, value) in config.parameters() {
            build = build.param(name, value);
        }
        build = build.param("ConfigHash", config.hash());
        build = build.param("MemBase", format!("64'h{RESET_BASE:x}"));
        let design = build.build().unwrap_or_else(|error| panic!("{error}"));
        let mut top = Top(design.instantiate(&Setup::default()).expect("a model"));
        for (name, width) in [
            ("ap_clk", 1),
            ("ap_rst_n", 1),
            ("s_axi_control_awvalid", 1),
            ("s_axi_control_wvalid", 1),
            ("s_axi_control_arvalid", 1),
            ("m_axi_gmem0_arready", 1),
            ("m_axi_gmem0_rvalid", 1),
        ] {
            top.set(name, width, 0);
        }
        (0..8).for_each(|_| top.clock());
        top.set("ap_rst_n", 1, 1);
        top.clock();
        top
    }

    fn set(&mut self, name: &str, width: u32, value: u64) {
        let port = self.0.input(name, width).expect("an input");
        self.0.set(port, value);
    }

    fn get(&mut self, name: &str, width: u32) -> u64 {
        self.0.eval().expect("the design runs");
        self.0.get(self.0.output(name, width).expect("an output"))
    }

    fn clock(&mut self) {
        for level in [1, 0] {
            self.set("ap_clk", 1, level);
            self.0.eval().expect("the design runs");
        }
    }

    /// Clocks until `name` is set.
    fn wait(&mut self, name: &str) {
        for _ in 0..100 {
            if self.get(name, 1) == 1 {
                return;
            }
            self.clock();
        }
        panic!("no {name}");
    }

    fn write(&mut self, at: u32, word: u32) {
        self.set("s_axi_control_awaddr", 12, at.into());
        self.set("s_axi_control_wdata", 32, word.into());
        self.set("s_axi_control_wstrb", 4, 15);
        for channel in ["aw", "w"] {
            self.set(&format!("s_axi_control_{channel}valid"), 1, 1);
        }
        // Both are taken in the same clock.
        self.wait("s_axi_control_awready");
        assert_eq!(self.get("s_axi_control_wready", 1), 1);
        self.clock();
        for channel in ["aw", "w"] {
            self.set(&format!("s_axi_control_{channel}valid"), 1, 0);
        }
        self.set("s_axi_control_bready", 1, 1);
        self.wait("s_axi_control_bvalid");
        self.clock();
        self.set("s_axi_control_bready", 1, 0);
    }

    fn read(&mut self, at: u32) -> u32 {
        self.set("s_axi_control_araddr", 12, at.into());
        self.set("s_axi_control_arvalid", 1, 1);
        self.wait("s_axi_control_arready");
        self.clock();
        self.set("s_axi_control_arvalid", 1, 0);
        self.set("s_axi_control_rready", 1, 1);
        self.wait("s_axi_control_rvalid");
        let word = self.get("s_axi_control_rdata", 32) as u32;
        self.clock();
        self.set("s_axi_control_rready", 1, 0);
        word
    }
}

#[test]
fn registers_are_reached_and_the_first_fetch_lies_behind_the_base() {
    let mut top = Top::new();
    assert_eq!(top.read(csr::ID), csr::ID_VALUE);
    assert_eq!(top.read(csr::CONFIG_HASH), HwConfig::SMALL.hash());
    assert_eq!(top.read(MEM_BASE + 4), (RESET_BASE >> 32) as u32);
    top.write(MEM_BASE, 0x0123_4fff);
    let base = RESET_BASE | 0x0123_4000;
    top.write(csr::PROG_BASE, 0x1000);
    assert_eq!(top.read(csr::PROG_BASE), 0x1000);
    top.write(csr::ENTRY, 0);
    top.write(csr::CTRL, 1);
    top.wait("m_axi_gmem0_arvalid");
    assert_eq!(top.get("m_axi_gmem0_araddr", 64), base + 0x1000);
}
