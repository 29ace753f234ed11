//! MM against the arithmetic definition: random tiles and activations, stalls of the stream.

mod unit;

use lampyris_isa::HwConfig;
use lampyris_isa::format::{BLOCK, HEADER_BYTES, Sparsity, TILE_ROWS};
use lampyris_tests::bench::{Random, configs};
use unit::{Product, Unit};

fn weights(random: &mut Random, product: &Product) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..product.tiles() as usize * product.tile_bytes())
        .map(|_| random.bits() as u8)
        .collect();
    if random.chance(10) {
        bytes.iter_mut().for_each(|b| *b = 0x7f);
    }
    bytes
}

fn check(unit: &mut Unit, random: &mut Random, product: &Product, seq: u32, stall: u64) {
    let bytes = weights(random, product);
    let follow = unit.config.beat_bytes() as usize;
    // What follows in the stream belongs to the next instruction and must stay.
    unit.stream.extend(&bytes);
    unit.stream.extend((0..follow).map(|_| random.bits() as u8));
    unit.vmem.fill(None);
    unit.steps = 0;
    let desc = product.descriptor(random, seq);
    unit.offer(random, stall, &desc);
    assert_eq!(unit.finish(random, stall, seq), 0, "{product:?}");
    assert_eq!(
        unit.stream.len(),
        follow,
        "bytes left in the stream, {product:?}"
    );
    let mut want = vec![None; unit.vmem.len()];
    for (word, value) in product.expected(&bytes, &unit.xbuf) {
        want[word as usize] = Some(value);
    }
    if let Some(at) = (0..want.len()).find(|&i| want[i] != unit.vmem[i]) {
        panic!(
            "word {at}: got {:x?}, want {:x?}, {product:?}",
            unit.vmem[at], want[at]
        );
    }
    let steps = product.tiles() * product.tokens * 16 / u64::from(unit.config.mac_rows);
    assert_eq!(unit.steps, steps, "multiplier steps");
    unit.stream.clear();
    unit.stream_valid = false;
}

#[test]
fn products_equal_the_definition_in_every_configuration() {
    for (name, config) in configs() {
        eprintln!("{name}");
        let mut random = Random::new(11);
        let mut unit = Unit::new(&config, &mut random);
        for seq in 0..60 {
            let product = Product::random(&mut random, &config, config.xbuf_blocks.into());
            let stall = [0, 10, 60][random.below(3) as usize];
            check(&mut unit, &mut random, &product, seq, stall);
        }
    }
}

#[test]
fn limits_of_the_operands_are_exact() {
    let config = HwConfig::SMALL;
    let mut random = Random::new(12);
    let mut unit = Unit::new(&config, &mut random);
    let (words, blocks) = (u64::from(config.vmem_words), u64::from(config.xbuf_blocks));
    let legal = Product {
        x: blocks - 5,
        xstride: 3,
        y: words - 16 - 48,
        ystride: 32,
        kblocks: 2,
        groups: 2,
        tokens: 2,
        bits: 4,
        header: 0,
        sparsity: 0,
    };
    let far = 1 << 39;
    let cases = [
        (
            Product {
                bits: 5,
                tokens: 0,
                ..legal
            },
            1,
        ),
        (Product { bits: 12, ..legal }, 1),
        (Product { header: 2, ..legal }, 1),
        (
            Product {
                sparsity: 1,
                groups: 0,
                ..legal
            },
            1,
        ),
        (Product { tokens: 0, ..legal }, 5),
        (
            Product {
                tokens: u64::from(config.max_tokens) + 1,
                ..legal
            },
            5,
        ),
        (
            Product {
                tokens: far + 1,
                groups: 0,
                ..legal
            },
            5,
        ),
        (
            Product {
                kblocks: 0,
                groups: 0,
                ..legal
            },
            5,
        ),
        (
            Product {
                x: legal.x + 1,
                ..legal
            },
            3,
        ),
        (Product { x: far, ..legal }, 3),
        (
            Product {
                kblocks: far,
                ..legal
            },
            3,
        ),
        (
            Product {
                kblocks: 3,
                ..legal
            },
            3,
        ),
        (
            Product {
                y: legal.y + 8,
                ..legal
            },
            3,
        ),
        (
            Product {
                y: legal.y - 4,
                ..legal
            },
            3,
        ),
        (Product { y: far, ..legal }, 3),
        (
            Product {
                ystride: 36,
                y: 0,
                ..legal
            },
            3,
        ),
        (
            Product {
                ystride: 40,
                ..legal
            },
            3,
        ),
        (Product { groups: 3, ..legal }, 3),
        (
            Product {
                groups: far,
                ..legal
            },
            3,
        ),
    ];
    for (seq, (product, code)) in (0..).zip(cases) {
        unit.vmem.fill(None);
        let desc = product.descriptor(&mut random, seq);
        unit.offer(&mut random, 0, &desc);
        assert_eq!(unit.finish(&mut random, 0, seq), code, "{product:?}");
        (0..50).for_each(|_| unit.cycle(&mut random, 0));
        assert!(unit.vmem.iter().all(Option::is_none), "{product:?}");
        unit.soft_reset(&mut random);
    }
    check(&mut unit, &mut random, &legal, 99, 0);
    // Without groups nothing else of the addresses matters.
    check(
        &mut unit,
        &mut random,
        &Product {
            groups: 0,
            y: far + 3,
            x: far,
            ..legal
        },
        100,
        0,
    );
}

#[test]
fn soft_reset_in_the_middle_leaves_no_trace() {
    // The second takes headers and codes ahead of the steps.
    for config in [HwConfig::SMALL, HwConfig::BASE] {
        let mut random = Random::new(13);
        let mut unit = Unit::new(&config, &mut random);
        for seq in 0..25 {
            let product = Product::random(&mut random, &config, config.xbuf_blocks.into());
            let bytes = weights(&mut random, &product);
            unit.stream.extend(&bytes);
            let desc = product.descriptor(&mut random, seq);
            unit.offer(&mut random, 0, &desc);
            (0..random.below(400)).for_each(|_| unit.cycle(&mut random, 0));
            unit.soft_reset(&mut random);
            let product = Product::random(&mut random, &config, config.xbuf_blocks.into());
            check(&mut unit, &mut random, &product, 1000 + seq, 20);
        }
    }
}

/// Operands of sparse products: what the configuration lacks, and what does not divide into tiles.
#[test]
fn limits_of_sparse_operands_are_exact() {
    let config = HwConfig {
        weight_bits: 1 << 4 | 1 << 6 | 1 << 8,
        sparsity: 2,
        ..HwConfig::SMALL
    };
    let mut random = Random::new(15);
    let mut unit = Unit::new(&config, &mut random);
    let legal = Product {
        x: 8,
        xstride: 4,
        y: 0,
        ystride: 32,
        kblocks: 4,
        groups: 2,
        tokens: 2,
        bits: 4,
        header: 0,
        sparsity: 2,
    };
    let pairs = Product {
        x: 2,
        xstride: 2,
        kblocks: 2,
        sparsity: 1,
        ..legal
    };
    let cases = [
        (Product { bits: 6, ..pairs }, 0),
        (Product { bits: 2, ..legal }, 0),
        (Product { bits: 3, ..pairs }, 1),
        (Product { bits: 5, ..pairs }, 1),
        (Product { bits: 6, ..legal }, 1),
        (Product { bits: 8, ..pairs }, 1),
        (
            Product {
                sparsity: 3,
                ..legal
            },
            1,
        ),
        (
            Product {
                sparsity: 4,
                ..legal
            },
            1,
        ),
        (Product { x: 10, ..legal }, 5),
        (
            Product {
                xstride: 6,
                ..legal
            },
            5,
        ),
        (
            Product {
                kblocks: 2,
                ..legal
            },
            5,
        ),
        (Product { x: 3, ..pairs }, 5),
        (
            Product {
                xstride: 1,
                ..pairs
            },
            5,
        ),
        (
            Product {
                kblocks: 3,
                groups: 0,
                ..pairs
            },
            5,
        ),
    ];
    for (seq, (product, code)) in (0..).zip(cases) {
        if code == 0 {
            check(&mut unit, &mut random, &product, seq, 0);
            continue;
        }
        let desc = product.descriptor(&mut random, seq);
        unit.offer(&mut random, 0, &desc);
        assert_eq!(unit.finish(&mut random, 0, seq), code, "{product:?}");
        unit.soft_reset(&mut random);
    }
}

/// At its full rate the unit takes a beat a cycle, or makes a step a cycle where a beat holds more
/// than one.
#[test]
fn one_vector_runs_at_the_rate_of_beats_or_steps() {
    let packed = |mul_pack| HwConfig {
        mul_pack,
        ..HwConfig::BASE
    };
    let packed = [("packed", packed(1)), ("packed wide", packed(2))];
    for (name, config) in HwConfig::NAMED.into_iter().chain(packed) {
        let mut random = Random::new(14);
        let mut unit = Unit::new(&config, &mut random);
        for sparsity in Sparsity::ALL {
            for bits in (2..=8).filter(|&bits| config.has_tiles(sparsity, bits)) {
                let product = Product {
                    x: 0,
                    xstride: 0,
                    y: 0,
                    ystride: 0,
                    kblocks: 32,
                    groups: 6,
                    tokens: 1,
                    bits: bits as u8,
                    header: 0,
                    sparsity: sparsity as u8,
                };
                unit.beat_cycles.clear();
                check(&mut unit, &mut random, &product, 1, 0);
                let field_bits = bits + sparsity.index_bits();
                let (beat, rows) = (config.axi_bits as usize, config.mac_rows as usize);
                let together = config.rows_together(sparsity, bits);
                let steps = (16 / rows) * if together { 1 } else { 2 };
                let code_beats = TILE_ROWS * BLOCK * field_bits / beat;
                let beats = 8 * HEADER_BYTES / beat + code_beats;
                let tile = beats.max(steps);
                let cycles = &unit.beat_cycles;
                let span = cycles[cycles.len() - 1] - cycles[0] + 1;
                let most = product.tiles() * tile as u64;
                assert!(
                    span <= most,
                    "{name}, {bits} bits, {sparsity:?}: {span} cycles, {most} wanted"
                );
            }
        }
    }
}
