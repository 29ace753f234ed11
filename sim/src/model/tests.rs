//! Small programs with results worked out by hand.

use super::*;
use lampyris_isa::asm::parse_program;

const DATA: u64 = 0x1_0000;
const OUT: u64 = 0x2_0000;

/// A model with a program at 0, `data` at [`DATA`] and a zeroed page at [`OUT`].
fn model(text: &str, data: Vec<u8>) -> Model {
    let program = parse_program(text).unwrap();
    let mut memory = Memory::new();
    let code = program.iter().flat_map(|i| i.to_bytes()).collect();
    memory.add_data("program", 0, code).unwrap();
    memory.add_data("data", DATA, data).unwrap();
    memory.add_zeroed("out", OUT, 4096).unwrap();
    let mut model = Model::new(HwConfig::SMALL, memory).unwrap();
    model.set_check(Check::Races);
    model
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn run(text: &str, data: Vec<u8>) -> (Model, Outcome) {
    let mut model = model(text, data);
    let outcome = model
        .run_to_halt(&Start::default(), &Limits::default())
        .unwrap();
    (model, outcome)
}

#[test]
fn load_add_store_round_trip() {
    let text = "ld.v post=8 addr=0x10000 count=3 rows=1\n\
                vop wait=1 post=2 mul=2 s1=0x40000000 add=1 b=0 a=0 d=8 n=3 rows=1 write=1 red=1 red_addr=100\n\
                st.v wait=8 addr=0x20004 count=3 src=8\nhalt code=1";
    let (model, outcome) = run(text, floats(&[1.0, -2.0, 0.5]));
    assert_eq!(outcome, Outcome::Halted(1));
    assert_eq!(
        model.memory().slice(OUT + 4, 12).unwrap(),
        floats(&[3.0, -6.0, 1.5])
    );
    assert_eq!(f32::from_bits(model.vmem()[100]), -1.5);
}

#[test]
fn matrix_vector_product_with_key_cache_round_trip() {
    // Quantize 32 values, store them as row 3 of a key tile, multiply the tile with the block.
    let text = "ld.v post=8 addr=0x10000 count=32 rows=1\n\
                quant wait=1 post=6 a=0 n=32 rows=1 f16_range=1\n\
                alu rd=1 use_imm=1 imm=3\n\
                st.k wait=8 post=1 addr=0x20000 rrow=1 blocks=1\n\
                ld.w wait=2 addr=0x20000 count=9 rows=1\n\
                mv wait=8 post=8 y=64 kblocks=1 groups=1 bits=8\n\
                vop wait=4 a=64 n=16 rows=1 red=3 red_addr=200\nhalt";
    let mut values = [0f32; 32];
    values[0] = 127.0;
    values[5] = -3.0;
    let (model, outcome) = run(text, floats(&values));
    assert_eq!(outcome, Outcome::Halted(0));
    assert_eq!(model.xbuf()[0].codes[..6], [127, 0, 0, 0, 0, -3]);
    let product = 127.0 * 127.0 + 9.0;
    assert_eq!(f32::from_bits(model.vmem()[64 + 3]), product);
    assert_eq!(model.vmem()[64], 0);
    assert_eq!(
        (f32::from_bits(model.vmem()[200]), model.vmem()[201]),
        (product, 3)
    );
}

#[test]
fn weights_loaded_before_a_store_keep_their_value() {
    let text = "ld.v post=8 addr=0x10000 count=32 rows=1\nquant wait=1 post=4 a=0 n=32 rows=1\n\
                ld.w post=2 addr=0x20000 count=8 rows=1\n\
                st.v wait=1 addr=0x20000 count=1 src=0\n\
                mv wait=8 y=64 kblocks=1 groups=1 bits=8 header=1\nhalt";
    // The load retires only when its bytes are in the stream, so the store is ordered after it.
    let (model, _) = run(text, floats(&[1.0; 32]));
    assert_eq!(model.vmem()[64], 0);
    assert_eq!(model.memory().slice(OUT, 4).unwrap(), 1f32.to_le_bytes());
}

#[test]
fn value_cache_column_lands_transposed() {
    let text = "ld.v post=8 addr=0x10000 count=32 rows=1\nquant wait=1 post=2 a=0 n=32 rows=1\n\
                alu rd=1 use_imm=1 imm=33\n\
                st.t wait=8 addr=0x20000 rrow=1 blocks=1 stride=1024\nhalt";
    let values: Vec<f32> = (0..32).map(|i| 127.0 - i as f32).collect();
    let (model, _) = run(text, floats(&values));
    for e in 0..32u64 {
        let at = OUT + 1024 * (e / 16) + 32 * (e % 16) + 1;
        assert_eq!(
            model.memory().slice(at, 1).unwrap(),
            [127 - e as u8],
            "element {e}"
        );
    }
}

#[test]
fn dequantize_codes_of_both_widths() {
    // Words 0..4: 32 codes of 4 bits; word 8: scale 2, minimum -1.
    let text = "ld.v post=8 addr=0x10000 count=9 rows=1\n\
                deq wait=1 a=0 scales=8 d=16 n=32 bits=4\nhalt";
    let mut data = vec![0u8; 36];
    data[0] = 0xf3;
    data[32..36].copy_from_slice(&[0x00, 0x40, 0x00, 0xbc]);
    let (model, _) = run(text, data);
    let got: Vec<f32> = model.vmem()[16..19]
        .iter()
        .map(|&w| f32::from_bits(w))
        .collect();
    assert_eq!(got, [5.0, 29.0, -1.0]);
}

#[test]
fn hardware_errors_name_the_operand() {
    for (text, code, word) in [
        ("ld.w addr=0x10020 count=1 rows=1", 3, "`addr`"),
        ("ld.v addr=0x90000 count=1 rows=1", 4, "not mapped"),
        ("st.v addr=0x20000 count=2 src=16383", 3, "`src`"),
        ("mv kblocks=0 groups=1 bits=4", 5, "at least 1"),
        ("mm tokens=3 kblocks=1 groups=1 bits=4", 5, "1 to 2"),
        ("mv kblocks=1 groups=1 bits=5", 1, "bits 5"),
        ("mv kblocks=1 groups=1 bits=4 y=4", 3, "`y`"),
        ("vop a=0 n=1 rows=1 func=5", 1, "func"),
        ("vop a=0 n=1 rows=2 astride=4", 3, "`astride`"),
        ("vop a=16376 n=9 rows=1", 3, "`a`"),
        ("quant a=0 x=127 n=33 rows=1", 3, "`x`"),
        ("deq a=0 n=31 bits=8", 5, "31"),
        (
            "alu rd=1 func=4 rs=1 use_imm=1 imm=1\njump offset=100000",
            4,
            "not mapped",
        ),
    ] {
        let (_, outcome) = run(text, vec![0; 64]);
        let Outcome::Raised {
            code: got, detail, ..
        } = outcome
        else {
            panic!("{text}")
        };
        assert_eq!(got, code, "{text}: {detail}");
        assert!(detail.contains(word), "{text}: {detail}");
    }
}

#[test]
fn zero_work_retires_without_checks_of_ranges() {
    let text = "ld.w addr=1 count=0 rows=1\nld.v addr=1 count=1 rows=0\nst.v addr=1\nst.k addr=1\n\
                mv kblocks=1 groups=0 bits=4 y=1\nvop a=1 n=0 rows=1\nquant a=1 n=1 rows=0\n\
                deq a=1 n=0 bits=4\nhalt code=9";
    assert_eq!(run(text, vec![]).1, Outcome::Halted(9));
}

#[test]
fn rules_that_hardware_does_not_check_are_errors() {
    for (text, word) in [
        (
            "ld.v addr=0x10000 count=8 rows=1\nvop a=0 n=8 rows=1 write=1 d=8\nhalt",
            "race",
        ),
        ("vop wait=1 a=0 n=8 rows=1\nhalt", "not posted"),
        (
            "ld.v post=8 addr=0x10000 count=8 rows=1\nhalt",
            "(LD, SFU) is 1",
        ),
        (
            "ld.w addr=0x10000 count=1 rows=1\nhalt",
            "left in the weight stream",
        ),
        ("mv kblocks=1 groups=1 bits=4\nhalt", "needs 320 bytes"),
        (
            "vop a=0 n=8 rows=1 write=1 d=8\nhalt",
            "Vmem 0x0, which was never written",
        ),
        (
            "ld.v addr=0x10000 count=8 rows=1\nrdv rd=1 addr=0\nhalt",
            "race",
        ),
    ] {
        let mut model = model(text, vec![0; 64]);
        let result = model.run_to_halt(&Start::default(), &Limits::default());
        let text = result.expect_err(text).to_string();
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn corrupted_instruction_changes_state_and_digest() {
    let text = "ld.v addr=0x10000 count=2 rows=1\nhalt";
    let mut seen = Vec::new();
    for corrupt in [None, Some(0)] {
        let mut model = model(text, floats(&[1.0, 2.0]));
        model.set_observe(Observe::Log);
        model.corrupt_at(corrupt);
        model.start(&Start::default()).unwrap();
        seen.push((model.step().unwrap().effects, model.vmem()[0]));
    }
    assert!(!seen[0].0.same(&seen[1].0));
    assert_eq!(seen[0].1 ^ seen[1].1, 1);
    let (place, ..) = seen[0].0.first_difference(&seen[1].0).unwrap();
    assert_eq!(place, Place::Vmem(0));
}
