//! What narrower and sparser weights bring: the linear layers of one SmolLM2 layer on the
//! Verilated RTL, for every width and sparsity, against dense codes of 4 bits.
//!
//! `cargo xtask bench formats`. Weights are random tiles, because time does not depend on values;
//! each run is in lockstep with the functional model, so what is timed is also right. Bytes are
//! those that the port carries: codes, indices and headers.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lampyris_isa::format::{
    BLOCK, CHUNK_BYTES, Sparsity, TILE_ROWS, blocks, matrix_bytes, row_groups, tiles,
};
use lampyris_isa::insn::{Fence, Halt, LdV, LdW, Mm, Mv, Quant};
use lampyris_isa::{HwConfig, Insn};
use lampyris_sim::estimate::{PortTiming, estimate};
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::{Device, Limits, Memory, Model, Outcome, Start};
use lampyris_tests::bench::Random;
use lampyris_tests::figures::{Figures, Level, Target, columns};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use verilator_sys::Design;

/// Linear layers of one layer of SmolLM2-135M: rows and columns, in the order of their weights.
const LAYER: [(usize, usize); 7] = [
    (192, 576),
    (192, 576),
    (576, 576),
    (576, 576),
    (1536, 576),
    (1536, 576),
    (576, 1536),
];
/// The longest reduction.
const COLUMNS: usize = 1536;
/// What the others are compared with.
const DENSE_4: Form = Form {
    bits: 4,
    sparsity: Sparsity::Dense,
};
/// Byte address of the weights, above program and inputs.
const WEIGHTS: u64 = 1 << 24;
/// Byte address of the inputs.
const INPUTS: u64 = 1 << 20;

#[derive(Parser)]
#[command(about = "Cycles of one layer in every weight format")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Configuration: base or wide
    #[arg(long, default_value = "base")]
    config: String,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Width of a code and sparsity.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    bits: usize,
    sparsity: Sparsity,
}

impl Form {
    fn name(&self) -> String {
        match self.sparsity {
            Sparsity::Dense => format!("dense {}-bit", self.bits),
            Sparsity::S2Of4 => format!("2:4 {}-bit", self.bits),
            Sparsity::S4Of16 => format!("4:16 {}-bit", self.bits),
        }
    }

    /// Bytes of a layer, with indices and headers.
    fn bytes(&self) -> u64 {
        let bytes = |&(n, k): &(usize, usize)| matrix_bytes(n, k, self.bits, self.sparsity) as u64;
        LAYER.iter().map(bytes).sum()
    }

    /// Field `group` of the quantization that feeds such tiles.
    fn group(&self) -> u8 {
        match self.sparsity {
            Sparsity::Dense => 0,
            Sparsity::S2Of4 => 2,
            Sparsity::S4Of16 => 3,
        }
    }
}

/// What one form takes.
struct Row {
    form: Form,
    decode: u64,
    gemm: u64,
    /// Largest difference of the cycle estimator from the RTL, percent.
    estimate_error: f64,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let config = lampyris_boards::named(&args.config).with_context(|| {
        let name = &args.config;
        format!("no configuration is called `{name}`\n\nhint: use base or wide")
    })?;
    let forms = forms(&config);
    ensure!(
        forms.iter().any(|form| form.sparsity == Sparsity::S4Of16),
        "`{}` has no sparse tiles\n\nhint: use base or wide",
        args.config
    );
    let rows = measure(config, &forms)?;
    println!("{}", table(&rows, &config)?);
    let mut figures = judge(&rows)?;
    shared(config, &rows, &mut figures)?;
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        let rows = rows.iter().map(|row| {
            let (decode, gemm) = (row.decode, row.gemm);
            json!({ "format": row.form.name(), "bytes": row.form.bytes(), "decode_cycles": decode, "gemm_cycles": gemm })
        });
        let details = json!({
            "config": args.config,
            "gemm_tokens": config.max_tokens,
            "formats": rows.collect::<Vec<_>>(),
        });
        figures.write_json(file, &details)?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure(config: HwConfig, forms: &[Form]) -> Result<Vec<Row>> {
    let design = build(&default_rtl_root(), &config, Features::default())?;
    let mut rows = Vec::new();
    for &form in forms {
        eprintln!("{}", form.name());
        let (decode, decode_error) = cycles(&design, config, form, 1)?;
        let (gemm, gemm_error) = cycles(&design, config, form, config.max_tokens)?;
        rows.push(Row {
            form,
            decode,
            gemm,
            estimate_error: decode_error.max(gemm_error),
        });
    }
    Ok(rows)
}

/// The same where two rows share their multipliers, against rows with their own.
fn shared(config: HwConfig, own: &[Row], figures: &mut Figures) -> Result<()> {
    for (mul_pack, width) in [(1, "18 x 18"), (2, "27 x 18")] {
        eprintln!("with shared multipliers of {width} bits");
        let config = HwConfig { mul_pack, ..config };
        let dense = |bits| Form {
            bits,
            sparsity: Sparsity::Dense,
        };
        let sparse = Form {
            bits: 4,
            sparsity: Sparsity::S2Of4,
        };
        for row in measure(config, &[dense(4), dense(8), sparse])? {
            let theirs = find(own, row.form)?;
            let mut add = |what: &str, own: u64, shared: u64, judged: bool| {
                let form = row.form.name();
                let name = format!("{what}, {form}, shared multipliers of {width} bits");
                let (ratio, level) = (own as f64 / shared as f64, Level::RtlSimulated);
                match judged {
                    true => figures.judge(name, ratio, "x", level, Target::AtLeast(0.999)),
                    false => figures.add(name, ratio, "x", level),
                }
            };
            let dense = row.form.sparsity == Sparsity::Dense;
            // Nothing is lost by what decode reads most: weights and the cache.
            add("decode", theirs.decode, row.decode, dense);
            let whole = dense && (mul_pack == 2 || row.form.bits == 4);
            add("GEMM", theirs.gemm, row.gemm, whole);
        }
    }
    Ok(())
}

/// Everything that the configuration has.
fn forms(config: &HwConfig) -> Vec<Form> {
    let mut all = Vec::new();
    for sparsity in Sparsity::ALL {
        let widths = (2..=8).filter(|&bits| config.has_tiles(sparsity, bits));
        all.extend(widths.map(|bits| Form { bits, sparsity }));
    }
    all
}

/// Cycles of a layer's products, those of a program less those of the same without products; and how
/// far the cycle estimator is from that, percent.
fn cycles(design: &Design, config: HwConfig, form: Form, tokens: u32) -> Result<(u64, f64)> {
    let whole = program(form, tokens, products(form, tokens)?);
    let rest = program(form, tokens, Vec::new());
    let measured =
        run(design, config, form, tokens, &whole)? - run(design, config, form, tokens, &rest)?;
    let modelled = |program: &[Insn]| {
        let timing = PortTiming::FIXED;
        estimate(program, &Start::default(), &config, timing).map(|e| e.cycles)
    };
    let modelled = modelled(&whole)? - modelled(&rest)?;
    let error = 100.0 * (modelled / measured as f64 - 1.0);
    Ok((measured, error.abs()))
}

fn program(form: Form, tokens: u32, products: Vec<Insn>) -> Vec<Insn> {
    let mut program = prologue(form, tokens);
    program.extend(products);
    program.push(Halt { code: 1 }.into());
    program
}

fn run(
    design: &Design,
    config: HwConfig,
    form: Form,
    tokens: u32,
    program: &[Insn],
) -> Result<u64> {
    let image = image(program, form, tokens)?;
    let model = Model::new(config, image.clone())?;
    let rtl = RtlDevice::new(design, config, image, &RtlOptions::default())?;
    let mut both = Lockstep::new(model, rtl)?;
    both.start(&Start::default())?;
    let outcome = both.run(&Limits::default())?;
    ensure!(
        outcome == Outcome::Halted(1),
        "the program ended with {outcome:?}"
    );
    Ok(both.counters()?.get("cycles"))
}

/// Inputs of all vectors, quantized; ends when they are there.
fn prologue(form: Form, tokens: u32) -> Vec<Insn> {
    let load = LdV {
        addr: INPUTS,
        count: COLUMNS as u32 * tokens,
        rows: 1,
        post: 8,
        ..LdV::default()
    };
    let quant = Quant {
        wait: 1,
        xstride: blocks(COLUMNS) as u16,
        n: COLUMNS as u32,
        rows: tokens as u16,
        astride: COLUMNS as u32,
        group: form.group(),
        ..Quant::default()
    };
    vec![load.into(), quant.into(), Fence { units: 15 }.into()]
}

/// Each matrix streamed and multiplied with the vectors; results lie behind the inputs.
fn products(form: Form, tokens: u32) -> Result<Vec<Insn>> {
    let mut out: Vec<Insn> = Vec::new();
    let mut addr = WEIGHTS;
    for (rows, columns) in LAYER {
        let bytes = matrix_bytes(rows, columns, form.bits, form.sparsity);
        let load = LdW {
            addr,
            count: u32::try_from(bytes / CHUNK_BYTES)?,
            rows: 1,
            ..LdW::default()
        };
        addr += bytes as u64;
        let kblocks = (tiles(columns, form.sparsity) * form.sparsity.span()) as u16;
        let (groups, y) = (row_groups(rows) as u16, COLUMNS as u32 * tokens);
        let (bits, sparsity) = (form.bits as u8, form.sparsity as u8);
        let product: Insn = if tokens == 1 {
            Mv {
                y,
                kblocks,
                groups,
                bits,
                sparsity,
                ..Mv::default()
            }
            .into()
        } else {
            Mm {
                xstride: blocks(COLUMNS) as u16,
                y,
                ystride: rows as u32,
                kblocks,
                groups,
                tokens: tokens as u8,
                bits,
                sparsity,
                ..Mm::default()
            }
            .into()
        };
        out.extend([load.into(), product]);
    }
    out.push(Fence { units: 15 }.into());
    Ok(out)
}

/// Program, inputs between -1 and 1, and tiles of random fields with scales near 1/64.
fn image(program: &[Insn], form: Form, tokens: u32) -> Result<Memory> {
    let mut random = Random::new(1);
    let mut memory = Memory::new();
    let code = program.iter().flat_map(|insn| insn.to_bytes()).collect();
    memory.add_data("program", 0, code)?;
    let inputs = (0..COLUMNS as u32 * tokens)
        .flat_map(|_| (random.below(2001) as f32 / 1000.0 - 1.0).to_le_bytes());
    memory.add_data("inputs", INPUTS, inputs.collect())?;
    let field_bits = form.bits + form.sparsity.index_bits();
    let mut weights = Vec::new();
    while (weights.len() as u64) < form.bytes() {
        for _ in 0..TILE_ROWS {
            let scale = 0x2400 | random.below(1 << 10) as u16;
            weights.extend(scale.to_le_bytes());
            weights.extend((scale | 0x8000).to_le_bytes());
        }
        let fields = TILE_ROWS * BLOCK * field_bits / 64;
        weights.extend((0..fields).flat_map(|_| random.bits().to_le_bytes()));
    }
    memory.add_data("weights", WEIGHTS, weights)?;
    Ok(memory)
}

fn find(rows: &[Row], form: Form) -> Result<&Row> {
    let row = rows.iter().find(|row| row.form == form);
    row.with_context(|| format!("the configuration lacks {}", form.name()))
}

fn table(rows: &[Row], config: &HwConfig) -> Result<String> {
    let dense = find(rows, DENSE_4)?;
    let gemm = format!("GEMM of {}, cycles", config.max_tokens);
    let head = [
        "format",
        "bytes",
        "of dense 4-bit",
        "decode, cycles",
        "speed-up",
        &gemm,
        "speed-up",
    ]
    .map(str::to_owned);
    let lines = rows.iter().map(|row| {
        let share = row.form.bytes() as f64 / dense.form.bytes() as f64;
        [
            row.form.name(),
            row.form.bytes().to_string(),
            format!("{share:.3}"),
            row.decode.to_string(),
            format!("{:.3}", dense.decode as f64 / row.decode as f64),
            row.gemm.to_string(),
            format!("{:.3}", dense.gemm as f64 / row.gemm as f64),
        ]
    });
    Ok(columns(std::iter::once(head).chain(lines)))
}

fn judge(rows: &[Row]) -> Result<Figures> {
    let dense = find(rows, DENSE_4)?;
    let sparse = |sparsity| find(rows, Form { bits: 4, sparsity });
    let (pairs, fours) = (sparse(Sparsity::S2Of4)?, sparse(Sparsity::S4Of16)?);
    let mut figures = Figures::default();
    let mut at_least = |name: &str, base: u64, value: u64, limit| {
        let ratio = base as f64 / value as f64;
        let target = Target::AtLeast(limit);
        figures.judge(name, ratio, "x", Level::RtlSimulated, target);
    };
    at_least(
        "decode, 2:4 against dense 4-bit",
        dense.decode,
        pairs.decode,
        1.25,
    );
    at_least(
        "decode, 4:16 against dense 4-bit",
        dense.decode,
        fours.decode,
        1.9,
    );
    at_least("GEMM, 2:4 against dense 4-bit", dense.gemm, pairs.gemm, 1.8);
    let off = rows
        .iter()
        .fold(0f64, |most, row| most.max(row.estimate_error));
    figures.judge(
        "largest difference of the cycle estimator",
        off,
        "%",
        Level::Modelled,
        Target::AtMost(3.0),
    );
    Ok(figures)
}
