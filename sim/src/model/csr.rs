//! The model's host registers.

use super::{End, Model};
use crate::device::{CTRL_RESET, CTRL_START, Device, Limits, Outcome};
use crate::error::{Result, SimError};
use lampyris_isa::csr;
use lampyris_isa::{HwConfig, ISA_VERSION};

/// What the host reads and writes.
#[derive(Default)]
pub(super) struct HostRegisters {
    pub(super) prog_base: u64,
    pub(super) entry: u32,
    pub(super) args: [u32; 8],
    pub(super) running: bool,
    pub(super) insns: u64,
    results: [u32; 8],
    halted: bool,
    halt_code: u16,
    error: u8,
    error_pc: u32,
}

impl HostRegisters {
    pub(super) fn begin(&mut self) {
        self.running = true;
        self.halted = false;
        self.halt_code = 0;
        self.error = 0;
        self.error_pc = 0;
        self.insns = 0;
    }

    pub(super) fn halted(&mut self, code: u16, results: [u32; 8]) {
        self.running = false;
        self.halted = true;
        self.halt_code = code;
        self.results = results;
    }

    pub(super) fn raised(&mut self, code: u8, pc: u32) {
        self.running = false;
        self.error = code;
        self.error_pc = pc;
    }

    /// After an error only a reset lets programs start again.
    pub(super) fn holds_error(&self) -> bool {
        self.error != 0
    }

    fn status(&self) -> u32 {
        u32::from(self.running) | u32::from(self.halted) << 1 | u32::from(self.error) << 8
    }
}

/// The register of the table that holds `offset`, and the index in its run.
fn find(offset: u32) -> Result<(&'static csr::Csr, usize)> {
    let within = |c: &&csr::Csr| (c.offset..c.offset + 4 * c.count).contains(&offset);
    match csr::CSRS.iter().find(within) {
        Some(found) if offset.is_multiple_of(4) => {
            Ok((found, ((offset - found.offset) / 4) as usize))
        }
        _ => Err(SimError::Register {
            offset,
            problem: "no such register",
        }),
    }
}

impl Model {
    /// The counters that have a meaning without time; the others are zero.
    fn counter(&self, index: usize) -> u64 {
        let (work, config) = (&self.machine.work, &self.machine.config);
        let beat = u64::from(config.load_beat_bytes());
        match csr::COUNTERS.get(index).map(|c| c.0) {
            Some("insns") => self.host.insns,
            Some("stream_beats") => work.stream_bytes / beat,
            Some("mac_steps") => work.macs / u64::from(config.mac_lanes()),
            _ => 0,
        }
    }
}

impl Device for Model {
    fn config(&self) -> &HwConfig {
        &self.machine.config
    }

    fn read_memory(&self, addr: u64, out: &mut [u8]) -> Result<()> {
        self.machine.memory.read(addr, out)
    }

    fn write_memory(&mut self, addr: u64, data: &[u8]) -> Result<()> {
        self.machine.memory.write(addr, data)
    }

    fn read_register(&mut self, offset: u32) -> Result<u32> {
        let (register, i) = find(offset)?;
        let half = |value: u64| (value >> (32 * (i % 2))) as u32;
        Ok(match register.offset {
            csr::ID => csr::ID_VALUE,
            csr::ISA_VERSION => ISA_VERSION,
            csr::CONFIG_HASH => self.machine.config.hash(),
            csr::STATUS => self.host.status(),
            csr::HALT_CODE => self.host.halt_code.into(),
            csr::ERROR_PC => self.host.error_pc,
            csr::PROG_BASE => half(self.host.prog_base),
            csr::ENTRY => self.host.entry,
            csr::ARG => self.host.args[i],
            csr::RES => self.host.results[i],
            csr::COUNTER => half(self.counter(i / 2)),
            _ => 0,
        })
    }

    fn write_register(&mut self, offset: u32, value: u32) -> Result<()> {
        let (register, i) = find(offset)?;
        match register.offset {
            csr::PROG_BASE => {
                let shift = 32 * i as u32;
                let kept = self.host.prog_base & !(0xffff_ffff << shift);
                self.host.prog_base = kept | u64::from(value) << shift;
            }
            csr::ENTRY => self.host.entry = value,
            csr::ARG => self.host.args[i] = value,
            csr::CTRL => {
                if value & CTRL_RESET != 0 {
                    self.host.begin();
                    self.host.running = false;
                }
                if value & CTRL_START != 0 {
                    self.begin();
                }
            }
            _ => {
                return Err(SimError::Register {
                    offset,
                    problem: "read-only",
                });
            }
        }
        Ok(())
    }

    fn run(&mut self, limits: &Limits) -> Result<Outcome> {
        for _ in 0..limits.instructions {
            let step = self.step()?;
            match step.end {
                None => {}
                Some(End::Halted(code)) => return Ok(Outcome::Halted(code)),
                Some(End::Raised(code, cause)) => {
                    let text = step.insn.map_or_else(String::new, |i| format!("`{i}`: "));
                    let detail = format!("{text}{cause}");
                    return Ok(Outcome::Raised {
                        code: code as u8,
                        pc: step.pc,
                        detail,
                    });
                }
            }
        }
        Err(SimError::Limit {
            used: limits.instructions,
            unit: "instructions",
        })
    }
}
