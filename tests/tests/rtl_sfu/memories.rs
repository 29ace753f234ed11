//! Vector memory and activation buffer: priorities, masks, latencies.

use lampyris_tests::bench::{Bench, Random};
use std::path::PathBuf;
use verilator_sys::{Build, Setup};

const LANES: usize = 4;
const WORDS: usize = 4096;
const UNITS: [(&str, u64); 3] = [("mm", 2), ("sfu", 3), ("ld", 0)];

/// Drives all ports of `vmem` at random and compares with an array.
#[test]
fn vector_memory_serves_its_ports_by_priority() {
    let files = ["prim/prim_ram_1r1w.sv", "mem/vmem.sv"];
    let params = [("SfuLanes", LANES as u32), ("VmemWords", WORDS as u32)];
    let mut bench = Bench::new("vmem", &files, &params, 5);
    let mut random = Random::new(5);
    let line_bits = (WORDS / LANES).ilog2();
    let mut memory = vec![0u32; WORDS];
    // Every word is written once before it is read.
    for line in 0..WORDS / LANES {
        write(
            &mut bench,
            &mut random,
            &mut memory,
            line as u64,
            [true, false, false],
            Some(0xf),
        );
        bench.step();
    }
    for _ in 0..20_000 {
        let line = random.below(8) << random.below(u64::from(line_bits) - 2);
        let wants = std::array::from_fn(|_| random.chance(50));
        let before = memory.clone();
        write(&mut bench, &mut random, &mut memory, line, wants, None);
        read(&mut bench, &mut random, &before);
    }
}

/// Requests writes of up to three units to neighbouring lines and applies the granted one.
fn write(
    bench: &mut Bench,
    random: &mut Random,
    memory: &mut [u32],
    line: u64,
    wants: [bool; 3],
    mask: Option<u64>,
) {
    let line_bits = (WORDS / LANES).ilog2();
    let mut granted = None;
    for (i, (name, number)) in UNITS.into_iter().enumerate() {
        let line = (line + i as u64) % (WORDS / LANES) as u64;
        let mask = mask.unwrap_or_else(|| random.below(1 << LANES));
        let mut data = [0; LANES];
        random.fill(&mut data);
        let port =
            |bench: &Bench, what: &str, width| bench.input(&format!("{name}_vwr_{what}_i"), width);
        let ports = (port(bench, "valid", 1), port(bench, "line", line_bits));
        bench.model.set(ports.0, wants[i].into());
        bench.model.set(ports.1, line);
        let ports = (
            port(bench, "mask", LANES as u32),
            port(bench, "data", 32 * LANES as u32),
        );
        bench.model.set(ports.0, mask);
        bench.set_words(ports.1, &data);
        if wants[i] && granted.is_none() {
            granted = Some((number, line, mask, data));
        }
    }
    bench.settle();
    let get = |name: &str, width| bench.model.get(bench.output(name, width));
    let mut free = 1;
    for (i, (name, _)) in UNITS.into_iter().enumerate() {
        assert_eq!(
            get(&format!("{name}_vwr_ready_o"), 1),
            free,
            "grant of {name}"
        );
        free &= u64::from(!wants[i]);
    }
    assert_eq!(get("trace_valid_o", 1), u64::from(granted.is_some()));
    let Some((unit, line, mask, data)) = granted else {
        return;
    };
    assert_eq!(get("trace_unit_o", 2), unit);
    assert_eq!(get("trace_line_o", line_bits), line);
    assert_eq!(get("trace_mask_o", LANES as u32), mask);
    assert_eq!(
        bench.words(bench.output("trace_data_o", 32 * LANES as u32)),
        data
    );
    for (lane, word) in data
        .into_iter()
        .enumerate()
        .filter(|(lane, _)| mask >> lane & 1 == 1)
    {
        memory[line as usize * LANES + lane] = word;
    }
}

/// Requests reads, steps, and compares what comes with the memory before the write.
fn read(bench: &mut Bench, random: &mut Random, memory: &[u32]) {
    let line_bits = (WORDS / LANES).ilog2();
    let lines: [u64; 2] = std::array::from_fn(|_| random.below(16) % (WORDS / LANES) as u64);
    let address = random.below(WORDS as u64);
    let wants: [bool; 3] = std::array::from_fn(|_| random.chance(50));
    let names = ["sfu_vrd", "st_vrd", "rdv"];
    for (i, name) in names.into_iter().enumerate() {
        let valid = bench.input(&format!("{name}_valid_i"), 1);
        bench.model.set(valid, wants[i].into());
        if i < 2 {
            let port = bench.input(&format!("{name}_line_i"), line_bits);
            bench.model.set(port, lines[i]);
        }
    }
    let port = bench.input("rdv_addr_i", 18);
    bench.model.set(port, address);
    bench.settle();
    let winner = (0..3).find(|&i| wants[i]);
    for (i, name) in names.into_iter().enumerate() {
        let ready = bench.model.get(bench.output(&format!("{name}_ready_o"), 1));
        let free = (0..i).all(|j| !wants[j]);
        assert_eq!(ready, u64::from(free), "grant of {name}");
    }
    bench.step();
    match winner {
        Some(i @ 0..2) => {
            let at = lines[i] as usize * LANES;
            let got = bench.words(bench.output("vrd_data_o", 32 * LANES as u32));
            assert_eq!(got, memory[at..at + LANES], "line {}", lines[i]);
        }
        Some(_) => {
            let got = bench.model.get(bench.output("rdv_data_o", 32));
            assert_eq!(got, u64::from(memory[address as usize]), "word {address}");
        }
        None => {}
    }
}

#[test]
fn activation_buffer_reads_for_the_matrix_unit_first() {
    activation_buffer(0);
}

#[test]
fn banked_activation_buffer_brings_aligned_blocks() {
    activation_buffer(1);
}

/// Drives all ports of `xbuf` at random and compares with an array.
fn activation_buffer(sparsity: u32) {
    const BLOCKS: u64 = 64;
    let reads: usize = if sparsity == 0 { 1 } else { 4 };
    let rtl = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../rtl");
    let files = [
        "core/lampyris_pkg.sv",
        "prim/prim_ram_1r1w.sv",
        "mem/xbuf.sv",
    ];
    let build = Build::new("xbuf").sources(files.map(|file| rtl.join(file)));
    let design = build
        .param("XbufBlocks", BLOCKS)
        .param("Sparsity", sparsity)
        .opt(1)
        .build()
        .expect("builds");
    let mut model = design.instantiate(&Setup::default()).expect("a model");
    let clk = model.input("clk_i", 1).expect("clk_i");
    let input = |name: &str, width| model.input(name, width).expect("an input");
    let output = |name: &str, width| model.output(name, width).expect("an output");
    let (write, at, data) = (
        input("xwr_valid_i", 1),
        input("xwr_addr_i", 6),
        input("xwr_data_i", 282),
    );
    let mm = (
        input("mm_xrd_valid_i", 1),
        input("mm_xrd_addr_i", 6),
        output("mm_xrd_ready_o", 1),
    );
    let st = (
        input("st_xrd_valid_i", 1),
        input("st_xrd_addr_i", 6),
        output("st_xrd_ready_o", 1),
    );
    let read = output("xrd_data_o", 282 * reads as u32);
    let mut random = Random::new(6);
    let mut blocks: Vec<Option<[u32; 9]>> = vec![None; BLOCKS as usize];
    for _ in 0..5_000 {
        let mut block = [0; 9];
        random.fill(&mut block);
        block[8] &= (1 << 26) - 1;
        let (writes, to) = (random.chance(50), random.below(BLOCKS));
        let wants = [random.chance(50), random.chance(50)];
        let from = [random.below(BLOCKS), random.below(BLOCKS)];
        model.set(clk, 0);
        model.set(write, writes.into());
        model.set(at, to);
        model.set_words(data, &block);
        for (i, port) in [mm, st].into_iter().enumerate() {
            model.set(port.0, wants[i].into());
            model.set(port.1, from[i]);
        }
        model.eval().expect("runs");
        assert_eq!(
            (model.get(mm.2), model.get(st.2)),
            (1, u64::from(!wants[0]))
        );
        model.set(clk, 1);
        model.eval().expect("runs");
        if let Some(port) = (0..2).find(|&i| wants[i]) {
            let from = from[port] as usize;
            let mut got = vec![0; (282 * reads).div_ceil(32)];
            model.get_words(read, &mut got);
            // Number n is there if the address is a multiple of the power of two above n.
            let there = |n: &usize| from.is_multiple_of((n + 1).next_power_of_two());
            for number in (0..reads).filter(there) {
                let Some(want) = blocks[from + number] else {
                    continue;
                };
                let bit = |words: &[u32], at: usize| words[at / 32] >> (at % 32) & 1;
                let same = (0..282).all(|i| bit(&got, 282 * number + i) == bit(&want, i));
                assert!(same, "block {number} of a read at {from}");
            }
        }
        if writes {
            blocks[to as usize] = Some(block);
        }
    }
}
