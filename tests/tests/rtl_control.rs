//! The generated control blocks: what rust-hdl simulates against what Verilator makes of the
//! checked-in Verilog, and against plain models.

use lampyris_control::{csr::CsrBlock, decode::Decode, scoreboard::Scoreboard};
use lampyris_isa::insn::INSNS;
use lampyris_isa::{Insn, csr};
use rust_hdl::prelude::*;
use verilator_sys::{Build, Model, Setup};

/// Fixed sequence of pseudo-random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn verilated(top: &str) -> Model {
    let file = format!("{}/../rtl/gen/{top}.v", env!("CARGO_MANIFEST_DIR"));
    let design = Build::new(top).source(file).opt(1).build();
    let design = design.unwrap_or_else(|error| panic!("{top}: {error}"));
    design.instantiate(&Setup::default()).expect("a model")
}

/// Lets the rust-hdl simulator settle.
fn settle<B: Block>(block: &mut B) {
    assert!(simulate(block, 100), "the block does not settle");
}

fn wide(limbs: [u64; 4]) -> Bits<256> {
    let start = Bits::<256>::from(0u64);
    limbs.iter().rev().fold(start, |acc, &limb| {
        (acc << 64u64) | bit_cast::<256, 64>(Bits::from(limb))
    })
}

fn halves(limbs: [u64; 4]) -> [u32; 8] {
    std::array::from_fn(|i| (limbs[i / 2] >> (32 * (i % 2))) as u32)
}

/// An instruction with random fields, sometimes spoilt by a flipped bit or a random opcode.
fn random_word(random: &mut Random) -> [u64; 4] {
    let spec = &INSNS[random.below(INSNS.len() as u64) as usize];
    let mut word = [u64::from(spec.opcode), 0, 0, 0];
    for field in spec.fields {
        for bit in field.lsb..field.lsb + field.width {
            word[bit as usize / 64] |= (random.next() & 1) << (bit % 64);
        }
    }
    if random.once_in(3) {
        let bit = random.below(256);
        word[bit as usize / 64] ^= 1 << (bit % 64);
    }
    if random.once_in(8) {
        word[0] = word[0] & !0xff | random.below(256);
    }
    word
}

const SYS: [&str; 8] = ["halt", "fence", "alu", "loop", "jump", "call", "ret", "rdv"];

#[test]
fn decode_verilog_simulator_and_table_agree() {
    let mut random = Random(1);
    let mut block = Decode::default();
    block.connect_all();
    let mut model = verilated("lp_decode");
    let insn = model.input("insn_i", 256).unwrap();
    let legal = model.output("legal_o", 1).unwrap();
    let unit = model.output("unit_o", 3).unwrap();
    let sys = SYS.map(|name| model.output(&format!("sys_{name}_o"), 1).unwrap());
    for _ in 0..20_000 {
        let word = random_word(&mut random);
        model.set_words(insn, &halves(word));
        model.eval().unwrap();
        block.insn_i.next = wide(word);
        settle(&mut block);
        let simulated = [
            block.sys_halt_o.val(),
            block.sys_fence_o.val(),
            block.sys_alu_o.val(),
            block.sys_loop_o.val(),
            block.sys_jump_o.val(),
            block.sys_call_o.val(),
            block.sys_ret_o.val(),
            block.sys_rdv_o.val(),
        ];
        let text = format!("{word:016x?}");
        assert_eq!(model.get(legal) == 1, block.legal_o.val(), "{text}");
        assert_eq!(model.get(unit), block.unit_o.val().to_u64(), "{text}");
        for (port, value) in sys.iter().zip(simulated) {
            assert_eq!(model.get(*port) == 1, value, "{text}");
        }
        let decoded = Insn::decode(word);
        assert_eq!(model.get(legal) == 1, decoded.is_ok(), "{text}");
        if let Ok(insn) = decoded {
            assert_eq!(model.get(unit), insn.unit() as u64, "{text}");
            for (port, name) in sys.iter().zip(SYS) {
                let expected = insn.spec().mnemonic == name;
                assert_eq!(model.get(*port) == 1, expected, "{text}");
            }
        }
    }
}

/// Plain model of the scoreboard.
#[derive(Default)]
struct Semaphores([[u8; 4]; 4]);

impl Semaphores {
    /// Units that may start.
    fn grants(&self, want: u64, wait: u64) -> u64 {
        let free =
            |c: usize| (0..4).all(|p| p == c || wait >> (4 * c + p) & 1 == 0 || self.0[p][c] > 0);
        (0..4)
            .filter(|&c| want >> c & 1 == 1 && free(c))
            .fold(0, |set, c| set | 1 << c)
    }

    fn clock(&mut self, grants: u64, wait: u64, post: u64, post_mask: u64) {
        for p in 0..4 {
            for c in 0..4 {
                if p == c {
                    continue;
                }
                let take = grants >> c & 1 & wait >> (4 * c + p);
                let give = post >> p & 1 & post_mask >> (4 * p + c);
                self.0[p][c] = self.0[p][c]
                    .wrapping_add(give as u8)
                    .wrapping_sub(take as u8);
            }
        }
    }
}

#[test]
fn scoreboard_verilog_simulator_and_model_agree() {
    let mut random = Random(2);
    let mut block = Scoreboard::default();
    block.connect_all();
    let mut model = verilated("lp_scoreboard");
    let clk = model.input("clk_i", 1).unwrap();
    let ports = [("rst_ni", 1), ("clr_i", 1), ("want_i", 4), ("wait_i", 16)];
    let more = [("post_i", 4), ("post_mask_i", 16)];
    let inputs: Vec<_> = (ports.iter().chain(&more))
        .map(|&(name, width)| model.input(name, width).unwrap())
        .collect();
    let grant = model.output("grant_o", 4).unwrap();
    let mut plain = Semaphores::default();
    let mut granted = 0;
    for cycle in 0..20_000 {
        let reset = cycle < 2 || random.once_in(997);
        let clear = random.once_in(499);
        let want = random.below(16);
        let wait = random.next() & random.next() & 0xffff;
        // Phases of filling and draining, so that the counters get high and run empty.
        let post = random.below(16)
            & if cycle / 500 % 2 == 0 {
                15
            } else {
                random.below(16)
            };
        let post_mask = random.below(1 << 16) & random.below(1 << 16);
        let values = [!reset as u64, clear as u64, want, wait, post, post_mask];
        for (port, value) in inputs.iter().zip(values) {
            model.set(*port, value);
        }
        model.set(clk, 0);
        model.eval().unwrap();
        block.rst_ni.next = !reset;
        block.clr_i.next = clear;
        block.want_i.next = want.into();
        block.wait_i.next = wait.into();
        block.post_i.next = post.into();
        block.post_mask_i.next = post_mask.into();
        block.clk_i.next = Clock::from(false);
        settle(&mut block);

        let expected = plain.grants(want, wait);
        if cycle > 0 {
            assert_eq!(
                model.get(grant),
                block.grant_o.val().to_u64(),
                "cycle {cycle}"
            );
            assert_eq!(model.get(grant), expected, "cycle {cycle}");
        }
        granted += expected.count_ones();
        plain.clock(expected, wait, post, post_mask);
        if reset || clear {
            plain = Semaphores::default();
        }
        model.set(clk, 1);
        model.eval().unwrap();
        block.clk_i.next = Clock::from(true);
        settle(&mut block);
    }
    assert!(granted > 10_000, "only {granted} grants");
}

/// Inputs of the register block in one cycle.
struct CsrInputs {
    write: (bool, u64, bool, u64, u64, bool),
    read: (bool, u64, bool),
    running: bool,
    halted: bool,
    error: u64,
    res: [u64; 4],
    count: u64,
    reset: bool,
}

fn random_offset(random: &mut Random) -> u64 {
    let register = &csr::CSRS[random.below(csr::CSRS.len() as u64) as usize];
    match random.below(10) {
        0 => random.below(1 << 12),
        1 | 2 => u64::from(csr::CTRL),
        _ => u64::from(register.offset) + 4 * random.below(register.count.into()),
    }
}

fn csr_inputs(random: &mut Random, last: &CsrInputs) -> CsrInputs {
    let sticky = |random: &mut Random, value: bool| value != random.once_in(40);
    CsrInputs {
        write: (
            random.once_in(3),
            random_offset(random),
            random.once_in(3),
            random.next() & 0xffff_ffff,
            if random.once_in(3) {
                random.below(16)
            } else {
                15
            },
            random.once_in(2),
        ),
        read: (random.once_in(2), random_offset(random), random.once_in(2)),
        running: sticky(random, last.running),
        halted: sticky(random, last.halted),
        error: if random.once_in(50) {
            random.below(6)
        } else {
            last.error
        },
        res: std::array::from_fn(|_| random.next()),
        count: random.next() & 0xff_ffff,
        reset: random.once_in(4000),
    }
}

fn drive_csr(block: &mut CsrBlock, model: &mut Model, v: &CsrInputs) {
    let narrow = [
        ("rst_ni", 1, !v.reset as u64),
        ("awvalid_i", 1, v.write.0 as u64),
        ("awaddr_i", 12, v.write.1),
        ("wvalid_i", 1, v.write.2 as u64),
        ("wdata_i", 32, v.write.3),
        ("wstrb_i", 4, v.write.4),
        ("bready_i", 1, v.write.5 as u64),
        ("arvalid_i", 1, v.read.0 as u64),
        ("araddr_i", 12, v.read.1),
        ("rready_i", 1, v.read.2 as u64),
        ("config_hash_i", 32, 0x1234_5678),
        ("running_i", 1, v.running as u64),
        ("halted_i", 1, v.halted as u64),
        ("error_i", 8, v.error),
        ("halt_code_i", 16, 0xbeef),
        ("error_pc_i", 24, 0xabcdef),
        ("count_i", 24, v.count),
    ];
    for (name, width, value) in narrow {
        let port = model.input(name, width).unwrap();
        model.set(port, value);
    }
    let res = model.input("res_i", 256).unwrap();
    model.set_words(res, &halves(v.res));
    block.rst_ni.next = !v.reset;
    block.awvalid_i.next = v.write.0;
    block.awaddr_i.next = v.write.1.into();
    block.wvalid_i.next = v.write.2;
    block.wdata_i.next = v.write.3.into();
    block.wstrb_i.next = v.write.4.into();
    block.bready_i.next = v.write.5;
    block.arvalid_i.next = v.read.0;
    block.araddr_i.next = v.read.1.into();
    block.rready_i.next = v.read.2;
    block.config_hash_i.next = 0x1234_5678.into();
    block.running_i.next = v.running;
    block.halted_i.next = v.halted;
    block.error_i.next = v.error.into();
    block.halt_code_i.next = 0xbeef.into();
    block.error_pc_i.next = 0xabcdef.into();
    block.count_i.next = v.count.into();
    block.res_i.next = wide(v.res);
}

fn csr_outputs(block: &CsrBlock) -> Vec<(String, u32, u64)> {
    let bit = |value: bool| u64::from(value);
    let mut out = vec![
        ("awready_o".into(), 1, bit(block.awready_o.val())),
        ("wready_o".into(), 1, bit(block.wready_o.val())),
        ("bvalid_o".into(), 1, bit(block.bvalid_o.val())),
        ("arready_o".into(), 1, bit(block.arready_o.val())),
        ("rvalid_o".into(), 1, bit(block.rvalid_o.val())),
        ("rdata_o".into(), 32, block.rdata_o.val().to_u64()),
        ("start_o".into(), 1, bit(block.start_o.val())),
        ("soft_reset_o".into(), 1, bit(block.soft_reset_o.val())),
        ("base_low_o".into(), 32, block.base_low_o.val().to_u64()),
        ("base_high_o".into(), 32, block.base_high_o.val().to_u64()),
        ("entry_o".into(), 32, block.entry_o.val().to_u64()),
    ];
    for (i, arg) in block.arg_o.iter().enumerate() {
        out.push((format!("arg_o_{i}"), 32, arg.val().to_u64()));
    }
    out
}

#[test]
fn csr_verilog_and_simulator_agree() {
    let mut random = Random(3);
    let mut block = CsrBlock::default();
    block.connect_all();
    let mut model = verilated("lp_csr");
    let clk = model.input("clk_i", 1).unwrap();
    let mut inputs = csr_inputs(
        &mut Random(0),
        &CsrInputs {
            write: Default::default(),
            read: Default::default(),
            running: false,
            halted: false,
            error: 0,
            res: [0; 4],
            count: 0,
            reset: true,
        },
    );
    let (mut starts, mut reads) = (0, 0);
    for cycle in 0..20_000 {
        inputs = csr_inputs(&mut random, &inputs);
        inputs.reset |= cycle < 2;
        drive_csr(&mut block, &mut model, &inputs);
        model.set(clk, 0);
        model.eval().unwrap();
        block.clk_i.next = Clock::from(false);
        settle(&mut block);
        for (name, width, value) in csr_outputs(&block) {
            let port = model.output(&name, width).unwrap();
            assert_eq!(model.get(port), value, "{name} in cycle {cycle}");
        }
        starts += u32::from(block.start_o.val());
        reads += u32::from(block.rvalid_o.val() && inputs.read.2 && block.rdata_o.val().any());
        model.set(clk, 1);
        model.eval().unwrap();
        block.clk_i.next = Clock::from(true);
        settle(&mut block);
    }
    assert!(
        starts > 10 && reads > 1000,
        "{starts} starts, {reads} reads"
    );
}
