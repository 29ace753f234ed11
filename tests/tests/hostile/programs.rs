//! Programs that nobody would write: random bytes, random operands, endless loops. The functional
//! model executes them, raises the hardware's error, or refuses them.

use crate::assert_little_memory;
use lampyris_isa::asm::parse_program;
use lampyris_isa::insn::INSNS;
use lampyris_isa::{HwConfig, Insn};
use lampyris_sim::{Check, Limits, Memory, Model, Outcome, SimError, Start};
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    instructions: 300,
    cycles: 0,
};

/// A model with `code` at 0 and some data; what it does with the code.
fn run(code: Vec<u8>, args: [u32; 8], check: Check, limits: &Limits) -> Result<Outcome, SimError> {
    let mut memory = Memory::new();
    memory.add_data("program", 0, code).expect("a segment");
    memory
        .add_data("data", 0x10_0000, (0..=255).cycle().take(1 << 16).collect())
        .expect("a segment");
    let mut model = Model::new(HwConfig::SMALL, memory).expect("a legal configuration");
    model.set_check(check);
    model.run_to_halt(
        &Start {
            args,
            ..Start::default()
        },
        limits,
    )
}

fn run_text(text: &str, args: [u32; 8], limits: &Limits) -> Result<Outcome, SimError> {
    let program = parse_program(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    run(
        program.iter().flat_map(|i| i.to_bytes()).collect(),
        args,
        Check::Off,
        limits,
    )
}

/// Refusals say where and what to do.
fn judge(result: &Result<Outcome, SimError>) {
    if let Err(e) = result {
        let message = e.to_string();
        assert!(message.contains("\nhint: "), "{message}");
        assert!(
            matches!(e, SimError::Program { .. } | SimError::Limit { .. }),
            "{message}"
        );
    }
}

/// A legal encoding with operands of all sizes; small ones mostly, so that some are accepted.
fn insn() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        4 => Just(0u64),
        4 => 0..9u64,
        2 => (0..64u64).prop_map(|v| v * 64),
        1 => Just(0x10_0000),
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ];
    (0..INSNS.len(), prop::collection::vec(value, 32)).prop_map(|(which, values)| {
        let spec = &INSNS[which];
        let mut insn = Insn::parse(spec.mnemonic).expect("fields default to zero");
        for (field, value) in spec.fields.iter().zip(values) {
            let value = value & (u64::MAX >> (64 - field.width));
            insn = insn
                .with_field(field.name, value)
                .expect("a field of the table");
        }
        insn.to_bytes().to_vec()
    })
}

fn any_check() -> impl Strategy<Value = Check> {
    prop_oneof![Just(Check::Off), Just(Check::Schedule), Just(Check::Races)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn random_bytes_end(code in prop::collection::vec(any::<u8>(), 0..256), check in any_check()) {
        judge(&run(code, [0; 8], check, &LIMITS));
    }

    #[test]
    fn random_operands_end(
        program in prop::collection::vec(insn(), 1..24),
        args in any::<[u32; 8]>(),
        check in any_check(),
    ) {
        judge(&run(program.concat(), args, check, &LIMITS));
    }

    #[test]
    fn flipped_bits_end(bit in 0..3 * 256usize, args in any::<[u32; 8]>()) {
        let text = "vop a=8 d=512 n=40 rows=3 astride=48 dstride=48 write=1 red=3 red_addr=1000\n\
                    quant a=8 x=2 xstride=3 n=70 rows=3 astride=80 scale_out=1 scale_addr=900\nhalt";
        let program = parse_program(text).expect("legal");
        let mut code: Vec<u8> = program.iter().flat_map(|i| i.to_bytes()).collect();
        code[bit / 8] ^= 1 << (bit % 8);
        judge(&run(code, args, Check::Off, &LIMITS));
    }
}

#[test]
fn memory_stays_small() {
    let args = [u32::MAX; 8];
    for which in INSNS {
        let mut insn = Insn::parse(which.mnemonic).expect("fields default to zero");
        for field in which
            .fields
            .iter()
            .filter(|f| !["wait", "post"].contains(&f.name))
        {
            insn = insn
                .with_field(field.name, 1)
                .expect("a field of the table");
        }
        judge(&run(insn.to_bytes().repeat(3), args, Check::Races, &LIMITS));
    }
    assert_little_memory();
}

#[test]
fn endless_programs_meet_the_limit() {
    for text in [
        "jump offset=0",
        "jump offset=1\njump offset=-1",
        "loop imm=0xffffff body=1\nalu rd=1 rs=1 use_imm=1 imm=1\nhalt",
        "call offset=1\njump offset=-1",
    ] {
        match run_text(
            text,
            [0; 8],
            &Limits {
                instructions: 10_000,
                cycles: 0,
            },
        ) {
            Err(SimError::Limit {
                used: 10_000,
                unit: "instructions",
            }) => {}
            // Calls that never return exhaust their stack first.
            Ok(Outcome::Raised { code: 2, .. }) => assert!(text.starts_with("call"), "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn one_instruction_cannot_take_for_ever() {
    // r1 times r1 rows, all of them the same one.
    let rows = "alu rd=1 rs=1 rt=1 func=2\n";
    for text in [
        "vop a=8 n=8 rrows=1",
        "vop a=8 n=8 rrows=1 s1_mem=1 mul=2",
        "quant a=8 n=8 rrows=1",
    ] {
        let result = run_text(&format!("{rows}{text}\nhalt"), [0xffff; 8], &LIMITS);
        let message = result.expect_err(text).to_string();
        assert!(
            message.contains("4294836225 rows of 8 elements"),
            "{message}"
        );
    }
}

#[test]
fn loads_that_nobody_consumes_are_refused() {
    let text = "loop imm=0xffffff body=1\nld.w addr=0x100000 count=1 rows=4095 stride=0\nhalt";
    let message = run_text(
        text,
        [0; 8],
        &Limits {
            instructions: 1 << 20,
            cycles: 0,
        },
    );
    let message = message.expect_err("a stream without end").to_string();
    assert!(
        message.contains("`ld.w") && message.contains("wait in the weight stream"),
        "{message}"
    );
    // Each waiting run that a store changes would be copied.
    let text = "loop imm=40 body=1\nld.w addr=0x100000 count=1000 rows=255 stride=0\n\
                st.v addr=0x100000 count=1\nhalt";
    let message = run_text(text, [0; 8], &LIMITS)
        .expect_err("copies without end")
        .to_string();
    assert!(
        message.contains("`st.v") && message.contains("wait in the weight stream"),
        "{message}"
    );
    assert_little_memory();
}
